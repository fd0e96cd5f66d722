"""Rows of a table as texts (TabLLM, Hegselmann et al. 2022, arXiv:2210.10723, sec. 3.1: the list template)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from etudes.data.tables import Table, Values

Writing = Literal["plain", "names-hidden", "words-hidden", "digits"]
WRITINGS: tuple[Writing, ...] = ("plain", "names-hidden", "words-hidden", "digits")


@dataclass(frozen=True)
class Writer:
    """How rows become texts: the names of columns, what stands for each word of a column, and the marks between."""

    names: tuple[str, ...]
    codes: tuple[dict[str, str], ...]
    digits: bool
    between: tuple[str, str] = (" ", " ")  # behind a name, and behind a value

    def write(self, row: Values, order: Sequence[int] | None = None) -> str:
        """The row as "age 41 education some college", its columns in that order; None: the table's."""
        places = range(len(row)) if order is None else order
        return self.between[1].join(f"{self.names[i]}{self.between[0]}{self.value(row, i)}" for i in places)

    def value(self, row: Values, i: int) -> str:
        """What is written for the row's value in column i."""
        value = self.codes[i].get(row[i], row[i])
        return " ".join(value) if self.digits and _is_digits(value) else value


def writer(table: Table, how: Writing, marks: bool = False) -> Writer:
    """The Writer of a table.

    names-hidden: columns are f1, f2 ...; words-hidden: the values of columns that are no numbers are v1, v2 ... in the
    order of the alphabet; digits: numbers are written digit by digit, "4 1" for 41. With marks a row is written as
    "age: 41, education: some college".
    """
    hidden = how == "names-hidden"
    names = tuple(f"f{i + 1}" if hidden else column for i, column in enumerate(table.columns))
    codes: list[dict[str, str]] = [{} for _ in names]
    if how == "words-hidden":
        for i, numeric in enumerate(table.numeric):
            words = [] if numeric else sorted({row[i] for row in table.train.values})
            codes[i] = {word: f"v{k + 1}" for k, word in enumerate(words)}
    return Writer(names, tuple(codes), how == "digits", (": ", ", ") if marks else (" ", " "))


def passages_of(table: Table) -> list[str]:
    """The training rows without their answers as texts, each in one of all ways to write it, in turn."""
    writers = [writer(table, how) for how in WRITINGS]
    return [writers[i % len(writers)].write(row) for i, row in enumerate(table.train.values)]


def _is_digits(value: str) -> bool:
    return value.replace(".", "", 1).replace("-", "", 1).isdigit()
