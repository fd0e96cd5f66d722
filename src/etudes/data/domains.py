"""Labelled pictures in several domains, such as photos and sketches of the same classes, split within each domain.

A decoded copy is kept in the cache under the hash of the bytes it was decoded from, and is itself checked when read.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem, unknown
from etudes.data import copies
from etudes.data.images import fingerprint, read_picture, resize_picture
from etudes.data.resize import resize
from etudes.data.sources import SOURCES, Source, copy_path, decoded_copies, find, mirror_folder, read_first, read_mirror
from etudes.data.sources.carriers import digest
from etudes.data.sources.formats import read_digits

if TYPE_CHECKING:
    from datasets import Dataset

TASK = "domains"
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
# The parts of ten pictures of a class and domain: five to learn from, one for validation and four to test on.
OF_TEN = (0, 2, 0, 2, 0, 1, 2, 0, 2, 0)


@dataclass(frozen=True, eq=False)
class Domains:
    """Pictures uint8 [n, 3, h, w] with the class, the domain and the part of each, int64 [n]; no two are equal."""

    name: str
    x: Tensor
    y: Tensor  # an index of `classes`
    domain: Tensor  # an index of `domains`
    part: Tensor  # an index of PARTS
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of the whole arrays)

    def rows(self, part: Part, domains: Sequence[str] = (), classes: Sequence[str] = ()) -> Tensor:
        """The rows int64 [m] of a part, of these domains and classes alone; () is all. Problem for an unknown name."""
        kept = self.part == PARTS.index(part)
        if domains:
            kept &= torch.isin(self.domain, self._indices("domain", domains, self.domains))
        if classes:
            kept &= torch.isin(self.y, self._indices("class", classes, self.classes))
        return kept.nonzero()[:, 0]

    def resize(self, side: int) -> "Domains":
        """The same set with square pictures of `side` pixels."""
        return replace(self, x=resize(self.x, side))

    def _indices(self, kind: str, names: Sequence[str], known: tuple[str, ...]) -> Tensor:
        for name in names:
            if name not in known:
                raise unknown(f"{kind} of {self.name}", name, known)
        return torch.tensor([known.index(name) for name in names])


@lru_cache(maxsize=2)
def domains(name: str) -> Domains:
    """The pictures of a declared name. Of pictures that are equal, pixel for pixel, the first is kept.

    Within each class of each domain, in the order of the rows, ten pictures are five to learn from, one for validation
    and four to test on, always the same. Problem for an unknown name, a set of another task, or when no source can be
    reached.
    """
    source = find(name)
    if source.task != TASK:
        known = ", ".join(s.name for s in SOURCES.values() if s.task == TASK)
        raise Problem(f"'{name}' is a {source.task} set, no set with domains; domains() reads {known}")
    readers = {"mirror": _mirror, "cache": _cache, "embedded": _digits}

    def read(kind: str) -> Domains:
        if kind not in readers:
            raise Problem(f"sets with domains are not read from the {kind}")
        return readers[kind](source)

    return read_first(source, read)


def parts(y: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """The part [n], an index of PARTS, of each row by its place within its class and domain."""
    found = np.zeros(len(y), np.int64)
    for group in np.unique(np.stack([domain, y]), axis=1).T:
        rows = np.flatnonzero((domain == group[0]) & (y == group[1]))
        found[rows] = np.resize(OF_TEN, len(rows))
    return found


def _assemble(
    source: Source,
    kind: str,
    origin: str,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    classes: Sequence[str],
    names: Sequence[str],
) -> Domains:
    """The Domains of pictures [n, h, w, 3], classes [n] and domains [n]."""
    hashes = [hashlib.sha256(picture.tobytes()).digest() for picture in arrays[0]]
    _, first = np.unique(hashes, return_index=True)
    x, y, domain = (array[np.sort(first)] for array in arrays)
    part = parts(y, domain)
    counts = " + ".join(f"{(part == k).sum():,}" for k in range(len(PARTS)))
    twice = f"{len(hashes) - len(x):,} left out that came twice" if len(x) < len(hashes) else ""
    says = [origin, f"{counts} pictures ({', '.join(PARTS)}), split within each class and domain", twice, source.says]
    pictures = torch.from_numpy(x).permute(0, 3, 1, 2)
    others = [torch.from_numpy(array) for array in (y, domain, part)]
    about = {"dataset": source.name, "kind": kind, "says": ", ".join(filter(None, says))}
    about["fingerprint"] = fingerprint(pictures, *others)
    return Domains(source.name, pictures, *others, classes=tuple(classes), domains=tuple(names), source=about)


def _mirror(source: Source) -> Domains:
    folder = mirror_folder(source)
    assert folder is not None
    path = copy_path(source, "mirror", digest(folder))
    return _load(path, source, "mirror") or _save(path, _decode(source, read_mirror(source)))


def _cache(source: Source) -> Domains:
    for path in decoded_copies(source):
        if found := _load(path, source, "cache"):
            return found
    raise Problem("the decoded copies there are damaged")


def _decode(source: Source, tables: "dict[str, Dataset]") -> Domains:
    import datasets

    table = tables.get("train")
    kinds = {} if table is None else table.features
    if not {"image", "domain", "label"} <= {*kinds} or not isinstance(kinds["label"], datasets.ClassLabel):
        raise Problem(
            f"{source.folder} needs a split train with columns image, domain and label (classes); copy it again"
        )
    encoded = table.cast_column("image", datasets.Image(decode=False))["image"]
    pictures = []
    for i, row in enumerate(encoded):
        damaged = f"picture {i} of {source.folder} is damaged; fetch the set again"
        pictures.append(read_picture(io.BytesIO(row["bytes"] or b""), damaged))
    side = source.side or min(min(picture.size) for picture in pictures)
    x = np.stack([np.asarray(resize_picture(picture, side)) for picture in pictures])
    names = source.classes or tuple(sorted(set(table["domain"])))
    for name in table["domain"]:
        if name not in names:
            raise unknown(f"domain of {source.name}", name, names)
    domain = np.array([names.index(name) for name in table["domain"]])
    arrays = (x, np.asarray(table["label"], np.int64), domain)
    return _assemble(source, "mirror", source.folder, arrays, kinds["label"].names, names)


def _digits(source: Source) -> Domains:
    """scikit-learn's digits, every one in a domain alone: upright, inverted in light, mirrored, or as edges."""
    grey, y = read_digits()["train"]
    domain = np.arange(len(y)) % len(source.classes)
    across = np.abs(np.diff(grey.astype(np.int64), axis=2, append=0)).astype(np.uint8)
    changed = (grey, 255 - grey, grey[:, :, ::-1], across)
    x = np.stack([changed[k][i] for i, k in enumerate(domain)])
    origin = "scikit-learn's digits, a quarter each as they are, inverted, mirrored, and as edges"
    arrays = (np.repeat(x, 3, axis=3), y, domain)
    return _assemble(source, "embedded", origin, arrays, [str(digit) for digit in range(10)], source.classes)


_TENSORS = ("x", "y", "domain", "part")


def _save(path: Path, found: Domains) -> Domains:
    tensors = {"x": found.x.permute(0, 2, 3, 1), "y": found.y, "domain": found.domain, "part": found.part}
    about = {"classes": json.dumps(found.classes), "domains": json.dumps(found.domains)}
    copies.save(path, found.name, tensors, about | {key: found.source[key] for key in ("says", "fingerprint")})
    return found


def _load(path: Path, source: Source, kind: str) -> Domains | None:
    def make(tensors: list[Tensor], about: copies.About) -> Domains | None:
        x, *others = tensors[0].permute(0, 3, 1, 2), *tensors[1:]
        if fingerprint(x, *others) != about["fingerprint"]:
            return None
        names = {key: tuple(json.loads(about[key])) for key in ("classes", "domains")}
        says = {"dataset": source.name, "kind": kind, "says": about["says"], "fingerprint": about["fingerprint"]}
        return Domains(source.name, x, *others, **names, source=says)

    return copies.load(path, _TENSORS, make)
