"""Names of people with the languages that they come from, split so that no name is both learnt from and asked about."""

import collections
import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, Source, read_first, read_mirror
from etudes.data.text import SPLITS

STROKES = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})
FAMILIES = {  # by descent; Chinese, Korean and Vietnamese are one by loan: their surnames come from Chinese
    "Arabic": "Semitic",
    "Chinese": "Chinese surnames",
    "Czech": "Slavic",
    "Dutch": "Germanic",
    "English": "Germanic",
    "French": "Romance",
    "German": "Germanic",
    "Greek": "Hellenic",
    "Irish": "Celtic",
    "Italian": "Romance",
    "Japanese": "Japonic",
    "Korean": "Chinese surnames",
    "Polish": "Slavic",
    "Portuguese": "Romance",
    "Russian": "Slavic",
    "Scottish": "Germanic",  # as Scots and English are; most of these surnames stand in both lists
    "Spanish": "Romance",
    "Vietnamese": "Chinese surnames",
}

Row = tuple[str, str]  # a name and its language


@dataclass(frozen=True, eq=False)
class Names:
    """Names with languages, in the order of the set, with all its repetitions."""

    name: str
    rows: tuple[Row, ...]
    languages: tuple[str, ...]  # in the order of the alphabet
    families: dict[str, str]  # the family of each language
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all rows)

    def distinct(self) -> tuple[Row, ...]:
        """The rows without repetitions: of each `plain` name the first spelling in each of its languages."""
        first: dict[Row, Row] = {}
        for name, language in self.rows:
            first.setdefault((plain(name), language), (name, language))
        return tuple(first.values())


@functools.lru_cache(2**16)  # asked for each name many times
def plain(name: str) -> str:
    """The name in small letters without accents, strokes and needless spaces: by this two names are the same.

    >>> plain(" Śliwa  Núñez")
    'sliwa nunez'
    """
    apart = unicodedata.normalize("NFKD", name.casefold().translate(STROKES))
    return " ".join("".join(c for c in apart if not unicodedata.combining(c)).split())


def names(name: str) -> Names:
    """The names of a declared set. Raises Problem for another name, a damaged mirror, or where it cannot be had."""
    source = SOURCES.get(name)
    if source is None or source.task != "names":
        raise unknown("set of names", name, [s.name for s in SOURCES.values() if s.task == "names"])
    return read_first(source, lambda kind: _read(source, kind))


def split_names(
    rows: Sequence[Row], validation: float, test: float, rng: np.random.Generator, together: bool = True
) -> dict[str, list[Row]]:
    """{"train", "validation", "test"}: the rows, all those of one `plain` name in one split, in a drawn order.

    `validation` and `test` are shares of the names of each language, rounded, a name of several languages counting for
    the rarest of them. Without `together` every row goes by itself, as if no name were repeated. Raises Problem where a
    language is too small to have a name in every split.
    """
    if min(validation, test) <= 0 or validation + test >= 1:
        raise Problem(f"{validation:g} and {test:g} of the names cannot be held out; take shares that leave some")
    sizes = collections.Counter(language for _, language in rows)
    of_name: dict[str, list[Row]] = {}
    for i, row in enumerate(rows):
        of_name.setdefault(plain(row[0]) if together else str(i), []).append(row)
    of_language: dict[str, list[str]] = {language: [] for language in sorted(sizes)}
    for key, found in of_name.items():
        of_language[min((language for _, language in found), key=lambda one: (sizes[one], one))].append(key)
    parts: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for language, keys in of_language.items():
        order = [keys[i] for i in rng.permutation(len(keys))]
        held = [round(len(order) * share) for share in (validation, test)]
        if min(held) < 1 or sum(held) >= len(order):
            raise Problem(f"{language} has {len(order)} names of its own, too few to be split; leave it out")
        cuts = {"validation": order[: held[0]], "test": order[held[0] : sum(held)], "train": order[sum(held) :]}
        for split, chosen in cuts.items():
            parts[split] += [row for key in chosen for row in of_name[key]]
    return {split: [part[i] for i in rng.permutation(len(part))] for split, part in parts.items()}


@functools.cache
def drawn_names() -> tuple[Row, ...]:
    """1,060 names of six made-up languages, two a family: a1, a2, b1 ... always the same.

    A family has twelve syllables of its own, and four endings that both its languages use; each language has four
    endings more. A name is one to three of the syllables and an ending. The languages have 500, 250, 120, 80, 60 and 50
    rows, so that names are repeated and shared.
    """
    rng = np.random.default_rng(0)
    consonants, vowels = np.array(list("bdfgklmnprstvz")), np.array(list("aeiou"))
    rows: list[Row] = []
    sizes = iter((500, 250, 120, 80, 60, 50))
    for family in "abc":
        few = rng.permutation(consonants)[:6]  # a family has no other consonants
        syllables = [rng.choice(few) + rng.choice(vowels) for _ in range(12)]
        shared = [rng.choice(vowels) + rng.choice(few) for _ in range(4)]
        for number in (1, 2):
            endings = [*shared, *(rng.choice(vowels) + rng.choice(few) for _ in range(4))]
            for _ in range(next(sizes)):
                stem = "".join(rng.choice(syllables) for _ in range(rng.integers(1, 4)))
                rows.append((f"{stem}{rng.choice(endings)}".capitalize(), f"{family}{number}"))
    return tuple(rows)


def _read(source: Source, kind: str) -> Names:
    if kind == "embedded":
        rows = drawn_names()
        return _assemble(source, kind, rows, {language: language[0] for _, language in rows})
    table = read_mirror(source)["train"]
    if not {*source.columns} <= {*table.column_names}:
        raise Problem(f"{source.folder} needs the columns name and language; copy the set into the mirror again")
    return _assemble(source, kind, tuple(zip(table["name"][:], table["language"][:], strict=True)), FAMILIES)


def _assemble(source: Source, kind: str, rows: tuple[Row, ...], families: dict[str, str]) -> Names:
    languages = tuple(sorted({language for _, language in rows}))
    if strange := [language for language in languages if language not in families]:
        raise Problem(f"{source.folder} has the language {strange[0]}, which is in no family; copy the set again")
    if not all(plain(name) for name, _ in rows):
        raise Problem(f"{source.folder} has a row without a name; copy the set into the mirror again")
    digest = hashlib.sha256("\n".join(f"{name}\t{language}" for name, language in rows).encode()).hexdigest()
    found = Names(source.name, rows, languages, {language: families[language] for language in languages}, {})
    several = collections.Counter(plain(name) for name, _ in found.distinct())
    shared = sum(count > 1 for count in several.values())
    says = f"{len(rows):,} rows, {len(several):,} names, {shared:,} of them in several languages; {source.says}"
    found.source.update({"dataset": source.name, "kind": kind, "says": says, "fingerprint": digest})
    return found
