"""Tables whose last column, yes or no, is to be told from the others; values are kept as they are written."""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, Source, originals_folder, unreachable

Values = tuple[str, ...]  # of one row, a value a column
ANSWERS = ("no", "yes")
SHARES = {"train": 0.5, "validation": 0.1, "test": 0.4}
TARGETS = {"smoke-ban": "smoker", "smoker-signals": "smoking", "drawn-smokers": "smoker"}
FILES = {"smoke-ban": "SmokeBan.csv", "smoker-signals": "train.csv"}
NUMBERS_OF_ROWS = ("rownames", "id")  # columns that count rows and tell nothing
SPELT = {"no": 0, "yes": 1, "0": 0, "1": 1}  # how files write the answers


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table, and the number of each one's answer: 0 no, 1 yes."""

    values: tuple[Values, ...]
    labels: np.ndarray  # int64 [n]

    def __len__(self) -> int:
        return len(self.values)

    def at(self, places: np.ndarray) -> "Rows":
        """The rows at these places, in this order."""
        return Rows(tuple(self.values[i] for i in places), self.labels[places])


@dataclass(frozen=True, eq=False)
class Table:
    """A table in three splits. `numeric` says of each column whether all its values are numbers."""

    name: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    target: str
    train: Rows
    validation: Rows
    test: Rows
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all rows and their splits)


def table(name: str) -> Table:
    """The declared table of that name.

    "smoke-ban" and "smoker-signals" are read of the CSV files of their authors, in the mirror or the cache;
    "drawn-smokers" is made up, and the chance of each row is `drawn_chances`. Raises Problem for another name, and
    where the file is absent or damaged.
    """
    source = SOURCES.get(name)
    if source is None or source.task != "table":
        raise unknown("table", name, [s.name for s in SOURCES.values() if s.task == "table"])
    if source.embedded:
        return assemble(source, "embedded", source.columns[:-1], *draw_smokers(source.splits["all"]))
    folder = originals_folder(source)
    if folder is None:
        raise unreachable(source, {})
    path = next((place / FILES[name] for place in (folder, folder / "data") if (place / FILES[name]).is_file()), None)
    if path is None:
        raise Problem(f"{folder} lacks {FILES[name]}; put it there, or take the folder away")
    return assemble(source, "originals", *read_table(path, source))


def read_table(path: Path, source: Source) -> tuple[tuple[str, ...], list[Values], list[int]]:
    """The columns but the target and the rows' numbers, the values of every row, and the rows' answers."""
    target, wanted = TARGETS[source.name], set(source.columns)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        head = next(lines, [])
        if absent := sorted(wanted - set(head)):
            raise Problem(f"{path} has no column '{absent[0]}'; take the file as {source.upstream} has it")
        kept = [i for i, column in enumerate(head) if column in wanted - {target, *NUMBERS_OF_ROWS}]
        place, values, labels = head.index(target), [], []
        for row in lines:
            if len(row) != len(head) or row[place] not in SPELT or not all(row[i].strip() for i in kept):
                raise Problem(f"line {lines.line_num} of {path} lacks a value, or its {target} is not yes or no")
            values.append(tuple(row[i].strip() for i in kept))
            labels.append(SPELT[row[place]])
    return tuple(head[i] for i in kept), values, labels


def assemble(
    source: Source, kind: str, columns: Sequence[str], values: Sequence[Values], labels: Sequence[int]
) -> Table:
    """The Table of what was read, its rows dealt to the splits by one permutation. Raises Problem below 10 rows."""
    if len(values) < 10:
        raise Problem(f"{source.name} has {len(values)} rows, but its splits need 10; take the whole file")
    rows = Rows(tuple(values), np.asarray(labels, np.int64))
    order = np.random.default_rng(19910324).permutation(len(rows))
    bounds = np.rint(np.cumsum(list(SHARES.values()))[:-1] * len(rows)).astype(int)
    parts = {split: rows.at(places) for split, places in zip(SHARES, np.split(order, bounds), strict=True)}
    digest = hashlib.sha256()
    for split, part in parts.items():
        for row, label in zip(part.values, part.labels, strict=True):
            digest.update(("\t".join((split, *row, ANSWERS[label])) + "\n").encode())
    counts = ", ".join(f"{split} {len(part):,}" for split, part in parts.items())
    says = f"{source.says}: {counts}"
    about = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": digest.hexdigest()}
    numeric = tuple(all(_is_number(row[i]) for row in rows.values) for i in range(len(columns)))
    return Table(source.name, tuple(columns), numeric, TARGETS[source.name], **parts, source=about)


def _is_number(value: str) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False


def draw_smokers(count: int) -> tuple[list[Values], list[int]]:
    """Made-up people and whether they smoke, the same at each call. What runs through their blood goes together, as in
    real people: each column tells something of the others."""
    rng = np.random.default_rng(20231024)
    male = rng.random(count) < 0.5
    age = rng.integers(20, 81, count)
    constitution, older = rng.normal(size=count), (age - 50) / 17.5
    hemoglobin = np.rint(rng.normal(13.4 + 1.4 * male + 0.8 * constitution, 0.7)).astype(int)  # g/dl
    fat = 10 * np.rint(np.exp(rng.normal(4.7 + 0.4 * constitution + 0.3 * older, 0.25)) / 10).astype(int)  # mg/dl
    gtp = 5 * np.rint(np.exp(rng.normal(3.4 + 0.45 * constitution, 0.25)) / 5).astype(int)  # U/l
    caries = rng.random(count) < 0.3
    found: list[Values] = [
        ("male" if m else "female", str(a), str(h), str(f), str(g), "yes" if c else "no")
        for m, a, h, f, g, c in zip(male, age, hemoglobin, fat, gtp, caries, strict=True)
    ]
    return found, (rng.random(count) < drawn_chances(found)).astype(int).tolist()


def drawn_chances(values: Sequence[Values]) -> np.ndarray:
    """The chance that each row of "drawn-smokers" is a smoker's, float64 [n]: nothing can rank rows better.

    Its log odds are a sum of steps, and of one product: age counts the other way for women.
    """
    gender, age, hemoglobin, fat, gtp, caries = np.array(values).T
    male, young = gender == "male", age.astype(int) < 45
    odds: np.ndarray = -4.8 + 1.5 * male + 1.5 * (hemoglobin.astype(int) >= 15) + 1.2 * (fat.astype(int) >= 120)
    odds += 1.5 * (gtp.astype(int) >= 35) + 0.8 * (caries == "yes") + 1.5 * (male == young)
    return np.asarray(1 / (1 + np.exp(-odds)))
