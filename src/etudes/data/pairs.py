"""Sentences in two languages, split so that no sentence is both learnt from and asked about."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, cache_folder, mirror_folder, read_mirror
from etudes.data.text import SPLITS, split_of

TATOEBA = SOURCES["tatoeba-eng-fra"]
FILE = "fra.txt"  # of manythings.org's archive

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Pairs:
    """(English, French) sentences; no sentence of either language is in two splits."""

    name: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all pairs)


def pairs(name: str) -> Pairs:
    """The pairs of the one declared set, "tatoeba-eng-fra": from the mirror, else from fra.txt in the cache.

    Raises Problem for another name, where neither has it, and where a file does not hold what it should.
    """
    if name != TATOEBA.name:
        raise unknown("set of pairs", name, [TATOEBA.name])
    own = cache_folder() / FILE
    if mirror_folder(TATOEBA):
        rows = read_mirror(TATOEBA)["train"]
        if not {"en", "fr"} <= {*rows.column_names}:
            raise Problem(f"{mirror_folder(TATOEBA)} needs the columns en and fr; copy the set into the mirror again")
        return split_pairs(zip(rows["en"][:], rows["fr"][:], strict=True), "mirror")
    if own.exists():
        return split_pairs(read_lines(own), "cache")
    raise Problem(
        f"{name} cannot be had: set ETUDES_MIRROR to a folder that holds {TATOEBA.folder}, put {FILE} of fra-eng.zip "
        f"of https://www.manythings.org/anki/ at {own}, or leave out the variants that translate (--variants)"
    )


def read_lines(path: Path) -> list[Pair]:
    """The pairs of a file with a line each: English, a tab, French, and perhaps a tab and who wrote them."""
    found = []
    for count, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise Problem(f"line {count} of {path} has no tab between two sentences; get the file again")
        found.append((columns[0], columns[1]))
    return found


def split_pairs(found: Iterable[Pair], kind: str) -> Pairs:
    """The pairs, spaces of all kinds made plain and repetitions left out, split by the English sentence.

    A French sentence can stand beside several English ones; a pair whose French sentence is in an earlier split is left
    out of the later one.
    """
    plain = dict.fromkeys((" ".join(english.split()), " ".join(french.split())) for english, french in found)
    parts: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for pair in plain:
        parts[split_of(pair[0])].append(pair)
    met: set[str] = set()
    for split in SPLITS:
        parts[split] = [pair for pair in parts[split] if pair[1] not in met]
        met |= {french for _, french in parts[split]}
    kept = {split: tuple(part) for split, part in parts.items()}
    if not all(kept.values()):
        raise Problem(f"{TATOEBA.name} has too few pairs here to be split; get the whole set")
    digest = hashlib.sha256("\n".join(f"{s}\t{e}\t{f}" for s, part in kept.items() for e, f in part).encode())
    counts = ", ".join(f"{split} {len(part):,}" for split, part in kept.items())
    says = f"{TATOEBA.folder}: pairs {counts}; {TATOEBA.says}"
    told = {"dataset": TATOEBA.name, "kind": kind, "says": says, "fingerprint": digest.hexdigest()}
    return Pairs(TATOEBA.name, **kept, source=told)
