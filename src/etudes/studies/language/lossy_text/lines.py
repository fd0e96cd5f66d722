"""Short lines of text, split so that no line is both learnt from and asked about."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.pairs import TATOEBA, pairs
from etudes.data.sources import SOURCES, Source, mirror_folder, read_mirror, unreachable
from etudes.data.text import SPLITS, split_of

DEBIAN = ("debian-depends", "debian-debtags")
NAMES = (TATOEBA.name, *DEBIAN, "templates")
WORDS, CHARACTERS = (3, 8), 60  # of a line


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of 3 to 8 words and at most 60 characters of ASCII; none is in two splits, whatever its capitals."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all lines)


@cache
def lines(name: str) -> Lines:
    """The lines of a name. Raises Problem for another one, and where they cannot be had.

    tatoeba-eng-fra                   the English side of Tatoeba's pairs, split by sentence
    debian-depends, debian-debtags    what Debian's packages say of themselves in a line, split by source package
    templates                         drawn from templates, with no download
    """
    if name not in NAMES:
        raise unknown("set of lines", name, NAMES)
    if name == "templates":
        return assemble(name, "embedded", "lines drawn from templates", drawn_lines(np.random.default_rng(13)))
    if name == TATOEBA.name:
        d = pairs(name)
        parts = {split: [english for english, _ in getattr(d, split)] for split in SPLITS}
        return assemble(name, d.source["kind"], f"the English side of {d.source['says']}", parts)
    if not mirror_folder(SOURCES[name]):
        raise unreachable(SOURCES[name], {})
    return assemble(name, "mirror", "first lines of descriptions of Debian 12's packages", synopses(SOURCES[name]))


def synopses(source: Source) -> dict[str, list[str]]:
    """The first lines of the descriptions in a table of the mirror; a source package's are in one split."""
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for table in read_mirror(source).values():
        if not {"source", "content"} <= {*table.column_names}:
            raise Problem(f"{mirror_folder(source)} needs the columns source and content; copy it again")
        for group, text in zip(table["source"][:], table["content"][:], strict=True):
            parts[split_of(group)].append(text.partition("\n")[0])
    return parts


def assemble(name: str, kind: str, origin: str, found: Mapping[str, Iterable[str]]) -> Lines:
    """The Lines of what was found for each split: those of the right length, each once, in its first split."""
    met: set[str] = set()
    parts: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        short = [line for line in (" ".join(line.split()) for line in found[split]) if is_short(line)]
        fresh = {line.lower(): line for line in reversed(short)}
        parts[split] = tuple(line for key, line in reversed(fresh.items()) if key not in met)
        met |= {*fresh}
        if not parts[split]:
            raise Problem(f"{name} has no line of {WORDS[0]} to {WORDS[1]} words in its split '{split}'; get all of it")
    digest = hashlib.sha256("\n".join(f"{s}\t{line}" for s in SPLITS for line in parts[s]).encode()).hexdigest()
    counts = ", ".join(f"{split} {len(part):,}" for split, part in parts.items())
    says = f"{origin}: lines of {WORDS[0]} to {WORDS[1]} words, {counts}"
    return Lines(name, **parts, source={"dataset": name, "kind": kind, "says": says, "fingerprint": digest})


def is_short(line: str) -> bool:
    return WORDS[0] <= len(line.split()) <= WORDS[1] and len(line) <= CHARACTERS and line.isascii()


WHO = ("the library", "a small tool", "this program", "the old server", "a fast parser", "the game", "our module")
DOES = ("reads", "writes", "checks", "shows", "needs", "keeps", "finds", "does not read", "never shows", "can not find")
WHAT = ("files", "pictures", "3 tables", "long texts", "the network", "sounds", "2 maps", "keys", "old mail", "colours")


def drawn_lines(rng: np.random.Generator) -> dict[str, list[str]]:
    """All lines "who does what" of three short lists, a seventh each for validation and for test."""
    every = [f"{who} {does} {what}" for who in WHO for does in DOES for what in WHAT]
    order = rng.permutation(len(every)).tolist()
    cut = len(every) // 7
    bounds = {"validation": (0, cut), "test": (cut, 2 * cut), "train": (2 * cut, len(every))}
    return {split: [every[i] for i in order[slice(*bound)]] for split, bound in bounds.items()}
