"""A corpus made of anybody's folder of texts: licences, one spelling of marks, a language filter, nothing twice.

The folder holds one work a file, in UTF-8, and `works.csv`, which has a line a work:

    file,language,licence
    belli-1831.txt,roa,public domain

What is made of it is split by work. Three things that spoil corpora of small languages are taken out and counted:
lines in another language, such as a commentary; lines that stand there twice; and training lines that share 13 words
in a row with what is held out (the measure of GPT-3, Brown et al. 2020, arXiv:2005.14165, app. C).
"""

import csv
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem
from etudes.data.text import SPLITS, split_of

LIST = "works.csv"
COLUMNS = ("file", "language", "licence")
SHARES = {"train": 0.8, "validation": 0.08, "test": 0.12}
SHORT = 20  # characters: a shorter line is too little to be identified, and may well be said twice
WORDS = 13  # in a row that no two parts may share
MARGIN = 10.0  # nats by which a line must be likelier in another language
BUCKETS = 1 << 17  # into which runs of characters are hashed
ORDERS = (1, 2, 3, 4)  # how many characters a run has
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’ʼʹ´`′", "'") | dict.fromkeys("“”„«»", '"'))


@dataclass(frozen=True)
class Work:
    """One text: a play, a book of poems, an article."""

    name: str
    language: str  # a code of its own or of ISO 639
    licence: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Works in three parts; no work is in two of them."""

    train: tuple[Work, ...]
    validation: tuple[Work, ...]
    test: tuple[Work, ...]
    lines: int  # of all works, before any was left out
    foreign: int  # lines left out as they are in another language
    repeated: int  # lines left out as they stood there before
    overlapping: int  # training lines left out as they share 13 words in a row with what is held out


def read_folder(folder: Path) -> list[Work]:
    """The works of a folder, in the order of its works.csv.

    Raises Problem where that is absent or lacks a column, a work has no licence or no text, or a text is not listed.
    """
    folder = Path(folder)
    try:
        with open(folder / LIST, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        raise Problem(
            f"{folder} has no {LIST}; write one with the columns {', '.join(COLUMNS)}, a line a text"
        ) from None
    found = []
    for number, row in enumerate(rows, start=2):
        values = {column: (row.get(column) or "").strip() for column in COLUMNS}
        empty = [column for column, value in values.items() if not value]
        if empty:
            raise Problem(f"line {number} of {folder / LIST} has no {empty[0]}; no text is used without one")
        try:
            text = (folder / values["file"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise Problem(f"{folder / values['file']} cannot be read as UTF-8; mend it or its line in {LIST}") from None
        found.append(Work(values["file"], values["language"], values["licence"], text))
    listed = {work.name for work in found}
    stray = sorted(path.name for path in folder.glob("*.txt") if path.name not in listed)
    if stray:
        raise Problem(f"{folder / stray[0]} does not stand in {LIST}; add it with its licence, or take it away")
    return found


def plain(line: str) -> str:
    """The line in composed characters, with one kind of apostrophe, one of quotation marks, and single spaces.

    Accents stay, though writers of a dialect differ in them: they tell words apart.

    >>> plain("l’è  ‘na roba")
    "l'è 'na roba"
    """
    return " ".join(unicodedata.normalize("NFC", line).translate(_APOSTROPHES).split())


class Identifier:
    """Tells languages by runs of one to four characters: naive Bayes, as in Lui and Baldwin 2012 (langid.py).

    >>> Identifier({"it": ["il gatto dorme nella casa"], "vec": ["el gato dorme inte la caxa"]}).language("inte la")
    'vec'
    """

    def __init__(self, known: Mapping[str, Iterable[str]]) -> None:
        """`known`: lines of each language, best as many of each. Raises Problem on fewer than two languages."""
        if len(known) < 2:
            raise Problem(f"languages are told apart by text of two or more, not {len(known)}")
        self.languages = tuple(known)
        counts = np.stack([np.bincount(_runs("\n".join(lines)), minlength=BUCKETS) for lines in known.values()]) + 0.1
        self._log = np.log(counts) - np.log(counts.sum(1, keepdims=True))

    def scores(self, line: str) -> np.ndarray:
        """log p(line | language) of each language, float64 [languages]."""
        return np.asarray(self._log[:, _runs(plain(line))].sum(1))

    def language(self, line: str) -> str:
        return self.languages[int(self.scores(line).argmax())]

    def is_foreign(self, line: str, language: str, margin: float = MARGIN) -> bool:
        """Whether a language other than `language` makes the line likelier by more than `margin` nats."""
        scores = self.scores(line)
        return bool(scores.max() - scores[self.languages.index(language)] > margin)


def _runs(text: str) -> np.ndarray:
    """The buckets of all runs of characters of the text, int64 [n]."""
    codes = np.frombuffer(f" {text.casefold()} ".encode("utf-32-le"), np.uint32).astype(np.uint64)
    found, hashed = [], np.zeros(len(codes), np.uint64)
    for order in ORDERS:
        if len(codes) < order:
            break
        hashed = hashed[: len(codes) - order + 1] * np.uint64(1_000_003) + codes[order - 1 :] + np.uint64(order)
        found.append((hashed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - 17))
    return np.concatenate(found).astype(np.int64)


def split_works(works: Iterable[Work]) -> dict[str, list[Work]]:
    """The works in three parts by their names' hashes; the largest part lends the others one where they have none.

    Raises Problem on fewer than three works.
    """
    parts: dict[str, list[Work]] = {split: [] for split in SPLITS}
    for work in works:
        parts[split_of(work.name, SHARES)].append(work)
    if sum(map(len, parts.values())) < 3:
        raise Problem("a corpus is split by work into three parts; give three works or more, a file each")
    for split in SPLITS:
        if not parts[split]:
            parts[split].append(max(parts.values(), key=len).pop())
    return parts


def build(parts: Mapping[str, Sequence[Work]], language: str, identifier: Identifier | None = None) -> Corpus:
    """The corpus of one language: of the works in it, made plain, what is neither foreign nor repeated nor overlapping.

    Without an identifier no line is foreign. What is held out goes first, so that of a line that stands in two parts
    the training part loses it. Raises Problem where a part has no text left.
    """
    seen: set[str] = set()
    counts = dict.fromkeys(("lines", "foreign", "repeated", "overlapping"), 0)
    held_out: set[int] = set()
    kept: dict[str, tuple[Work, ...]] = {}
    for split in reversed(SPLITS):
        works = []
        for work in (work for work in parts[split] if work.language == language):
            lines = _lines(work, language, identifier, seen, counts)
            if split == "train":
                clean = [line for line in lines if not held_out.intersection(word_runs(line))]
                counts["overlapping"] += len(lines) - len(clean)
                lines = clean
            if lines:
                works.append(Work(work.name, language, work.licence, "\n".join(lines)))
        if not works:
            raise Problem(
                f"no text in '{language}' is left of the part '{split}'; add works, or look at what was dropped"
            )
        if split != "train":
            held_out.update(run for work in works for line in work.text.split("\n") for run in word_runs(line))
        kept[split] = tuple(works)
    return Corpus(**kept, **counts)


def _lines(
    work: Work, language: str, identifier: Identifier | None, seen: set[str], counts: dict[str, int]
) -> list[str]:
    """The work's lines that are neither foreign nor seen; what is left out is counted."""
    found = []
    for line in filter(None, map(plain, work.text.split("\n"))):
        counts["lines"] += 1
        long, key = len(line) >= SHORT, line.casefold()
        if long and key in seen:
            counts["repeated"] += 1
        elif long and identifier is not None and identifier.is_foreign(line, language):
            counts["foreign"] += 1
        else:
            found.append(line)
        seen.add(key)
    return found


def word_runs(text: str, n: int = WORDS) -> set[int]:
    """The hashes of all runs of n words of the text, in small letters; none where it has fewer."""
    words = text.casefold().split()
    return {hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1)}
