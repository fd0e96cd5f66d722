"""Sentences with one class each, and how many of their judges agreed on it; split so that near copies stay together."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, Source, mirror_folder, originals_folder, unreachable
from etudes.data.text import split_of

AGREEMENTS = {"50": 50, "66": 66, "75": 75, "all": 100}  # how a file of the phrase bank is called -> per cent
SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}


@dataclass(frozen=True)
class Sentence:
    """A sentence, the number of its class, and the per cent of its judges that agreed at least."""

    text: str
    label: int
    agreement: int


@dataclass(frozen=True, eq=False)
class Sentences:
    """Labelled sentences in three splits; those that differ in their numbers alone are in one split."""

    name: str
    classes: tuple[str, ...]
    train: tuple[Sentence, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all sentences, their classes and agreements)


def sentences(name: str, agreement: int = 50) -> Sentences:
    """The sentences of a declared set with at least this per cent of agreement.

    A sentence is in the same split at every agreement. "financial-phrasebank" is had from the authors' own files, else
    from the mirror; "drawn-sentences" is made up, for where neither is, and all agree on it. Raises
    Problem for another name, another agreement than 50, 66, 75 or 100, and where its files are absent or damaged.
    """
    source = SOURCES.get(name)
    if source is None or source.task != "sentences":
        raise unknown("set of sentences", name, [s.name for s in SOURCES.values() if s.task == "sentences"])
    if agreement not in AGREEMENTS.values():
        raise Problem(f"{name} has no agreement of {agreement} per cent; take 50, 66, 75 or 100")
    if source.embedded:
        return assemble(source, "embedded", {100: drawn_sentences(source.classes)}, agreement)
    if folder := originals_folder(source):
        return assemble(source, "originals", read_phrasebank(folder, source.classes), agreement)
    if folder := mirror_folder(source):
        return assemble(source, "mirror", _read_tables(folder), agreement)
    raise unreachable(source, {})


def read_phrasebank(folder: Path, classes: tuple[str, ...]) -> dict[int, list[tuple[str, int]]]:
    """The authors' four files Sentences_50Agree.txt to Sentences_AllAgree.txt: (sentence, class) by agreement.

    Each line is a sentence, "@" and its class, in Latin-1.
    """
    found: dict[int, list[tuple[str, int]]] = {}
    for name, agreement in AGREEMENTS.items():
        path = folder / f"Sentences_{name.capitalize()}Agree.txt"
        if not path.exists():
            raise Problem(f"{folder} lacks {path.name}; unpack FinancialPhraseBank-v1.0.zip there")
        rows = []
        for count, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
            text, _, label = line.rpartition("@")
            if label.strip() not in classes or not text.strip():
                raise Problem(f"line {count} of {path} does not end in @ and one of {', '.join(classes)}")
            rows.append((text, classes.index(label.strip())))
        found[agreement] = rows
    return found


def _read_tables(folder: Path) -> dict[int, list[tuple[str, int]]]:
    """The same of a mirror: a folder of Parquet files for each agreement."""
    import pyarrow.parquet

    found: dict[int, list[tuple[str, int]]] = {}
    for name, agreement in AGREEMENTS.items():
        files = sorted((folder / f"sentences_{name}agree").glob("*.parquet"))
        if not files:
            raise Problem(f"{folder} lacks sentences_{name}agree; copy the set into the mirror again")
        found[agreement] = []
        for file in files:
            try:
                columns = pyarrow.parquet.read_table(file, columns=["sentence", "label"]).to_pydict()
            except (OSError, ValueError, KeyError):
                raise Problem(f"{file} is damaged; copy it into the mirror again, or unset ETUDES_MIRROR") from None
            found[agreement] += zip(columns["sentence"], columns["label"], strict=True)
    return found


def assemble(source: Source, kind: str, rows: Mapping[int, Iterable[tuple[str, int]]], agreement: int) -> Sentences:
    """The Sentences of what was read.

    A sentence's agreement is the highest list that it stands in. One that stands there under two classes is left out.
    """
    highest: dict[str, tuple[int, set[int]]] = {}
    for level in sorted(rows):
        for text, label in rows[level]:
            plain = " ".join(text.split())
            known, labels = highest.get(plain, (level, set()))
            highest[plain] = (level, labels | {label} if known == level else {label})
    parts: dict[str, list[Sentence]] = {split: [] for split in SHARES}
    for text, (level, labels) in sorted(highest.items()):
        if level >= agreement and len(labels) == 1:
            parts[_split_of(text)].append(Sentence(text, *labels, level))
    digest = hashlib.sha256()
    for split, part in parts.items():
        for sentence in part:
            digest.update(f"{split}\t{sentence.text}\t{sentence.label}\t{sentence.agreement}\n".encode())
    counts = ", ".join(f"{split} {len(part):,}" for split, part in parts.items())
    says = f"{source.says}; at least {agreement} % agreed: {counts}"
    about = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": digest.hexdigest()}
    kept = {split: tuple(part) for split, part in parts.items()}
    return Sentences(source.name, source.classes, **kept, source=about)


GOOD, BAD = ("sales", "profit", "orders", "income"), ("losses", "costs", "debts", "complaints")
UP, DOWN = ("rose", "grew", "increased", "went up"), ("fell", "shrank", "decreased", "went down")
CALM = ("makes", "sells", "has offices in", "will publish", "is listed in")


def drawn_sentences(classes: tuple[str, ...], count: int = 1500) -> list[tuple[str, int]]:
    """Made-up sentences and their classes, the same at each call: neutral is half of them.

    Good things that rise and bad things that fall are positive: no word alone tells the class.
    """
    rng = np.random.default_rng(20140714)

    def name() -> str:
        return "".join(rng.choice(list("bdfklmnprst")) + rng.choice(list("aeiou")) for _ in range(3)).capitalize()

    found = []
    for _ in range(count):
        if rng.random() < 0.5:
            found.append((f"{name()} {rng.choice(CALM)} {name()} .", classes.index("neutral")))
            continue
        good, up = rng.random() < 0.5, rng.random() < 0.5
        what, how = rng.choice(GOOD if good else BAD), rng.choice(UP if up else DOWN)
        text = f"The {what} of {name()} {how} by {rng.integers(2, 60)} % in {rng.integers(1999, 2013)} ."
        found.append((text, classes.index("positive" if good == up else "negative")))
    return found


def _split_of(text: str) -> str:
    """The split of a sentence by its words: numbers, case and marks do not tell sentences apart."""
    return split_of(" ".join(re.findall(r"[^\W\d_]+", text.lower())), SHARES)
