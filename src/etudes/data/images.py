"""Labelled pictures, held whole as uint8 tensors.

A decoded copy is kept in the cache under the hash of the bytes it was decoded from, and is itself checked when read.
"""

import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from etudes.core.errors import Problem
from etudes.data import copies
from etudes.data.resize import resize
from etudes.data.sources import (
    SOURCES,
    Source,
    cache_folder,
    copy_path,
    decoded_copies,
    find,
    mirror_folder,
    originals_folder,
    read_first,
    read_hub,
    read_mirror,
)
from etudes.data.sources.carriers import digest, fetch
from etudes.data.sources.formats import Arrays, read_digits
from etudes.data.sources.originals import LAYOUTS, PETS, read_celeba, read_cifar, read_class_folders, read_pets

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from PIL import Image

Report = Callable[[int, int], None]  # pictures decoded, pictures in all
TASKS = ("classification", "generation")  # of the sets read here; of the latter no test class is in the training part
_HELD_OUT = "every fifth of each class held out as test"
_TENSORS = ("x", "y", "test_x", "test_y")


@dataclass(frozen=True, eq=False)
class Images:
    """A set of labelled pictures: uint8 [n, c, h, w] (channels last in memory) and labels int64 [n]."""

    name: str
    x: torch.Tensor
    y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    labels: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of the four whole arrays)

    @property
    def shape(self) -> tuple[int, int, int]:
        c, h, w = self.x.shape[1:]
        return c, h, w

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean [c] of each channel over the training part, pictures in [0, 1]."""
        return self._moment(1).float()

    @cached_property
    def std(self) -> torch.Tensor:
        """The standard deviation [c] of each channel over the training part, pictures in [0, 1]."""
        return (self._moment(2) - self._moment(1) ** 2).clamp_min(0).sqrt().float()

    def _moment(self, power: int) -> torch.Tensor:
        # Counts of the 256 values: exact, and no float copy of the pictures.
        counts = torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in self.x.unbind(1)])
        values = torch.arange(256, device=self.x.device, dtype=torch.float64) / 255
        return (counts * values**power).sum(1) / counts.sum(1)

    def to(self, device: str | torch.device) -> "Images":
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})

    def take(self, index: torch.Tensor) -> "Images":
        """The same set with its training part restricted to the rows `index`."""
        return replace(self, x=self.x[index], y=self.y[index])

    def resize(self, side: int) -> "Images":
        """The same set with square pictures of `side` pixels."""
        return replace(self, x=resize(self.x, side), test_x=resize(self.test_x, side))

    @property
    def majority_error(self) -> float:
        """The test error of always saying the most frequent training class: the trivial baseline."""
        return (self.test_y != self.y.mode().values).double().mean().item()

    def tables(self) -> "DatasetDict":
        """The two splits in the hub's layout: columns image (PNG) and label."""
        import datasets
        from PIL import Image

        def png(picture: torch.Tensor) -> dict[str, bytes | None]:
            pixels = picture.permute(1, 2, 0).numpy()
            file = io.BytesIO()
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png")
            return {"bytes": file.getvalue(), "path": None}

        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(self.labels)))
        splits = {"train": (self.x, self.y), "test": (self.test_x, self.test_y)}
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict(
                    {"image": [png(picture) for picture in x], "label": y.tolist()}, features=features
                )
                for split, (x, y) in splits.items()
            }
        )


def unit(x: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [n, c, h, w] as float32 in [0, 1], channels last in memory; float pictures as they are."""
    if x.is_floating_point():
        return x
    return x.to(torch.float32, memory_format=torch.channels_last).div_(255)


def images(name: str, report: Report = lambda done, total: None) -> Images:
    """The labelled pictures of a declared name, or of a mirror's folder owner/name with a picture and a class column.

    Its kinds of source are tried in order. Sets without a test part hold out every fifth picture of each class.
    Pictures of several sizes are resized to one shortest side (the declared one, else the smallest in the set) and
    cropped at the centre.
    Problem for an unknown name, a set of another task, a damaged mirror, or when no source can be reached.
    """
    source = find(name)
    if source.task not in TASKS:
        known = ", ".join(s.name for s in SOURCES.values() if s.task in TASKS)
        raise Problem(f"'{name}' is a {source.task} set, no classification set; images() reads {known}")
    readers = {
        "originals": _originals,
        "mirror": _mirror,
        "cache": _cache,
        "hub": _hub,
        "carrier": _carrier,
        "embedded": _embedded,
    }
    return read_first(source, lambda kind: readers[kind](source, report))


def _originals(source: Source, report: Report) -> Images:
    folder = originals_folder(source)
    assert folder is not None
    if folder.name in LAYOUTS:
        arrays, labels = read_cifar(folder)
        return _assemble(source, "originals", f"the pickles of {folder.name}", arrays, labels)
    path = copy_path(source, "originals", digest(folder))
    return _load(path, source, "originals") or _save(path, _files(source, folder, report))


def _files(source: Source, folder: Path, report: Report) -> Images:
    read = read_pets if folder.name == PETS else read_class_folders
    files, classes, labels = (*read_celeba(folder), ()) if source.identity else read(folder)
    return _decoded(source, "originals", f"the files of {folder.name}", files, classes, labels, report)


def _mirror(source: Source, report: Report) -> Images:
    folder = mirror_folder(source)
    assert folder is not None
    # Every byte is hashed before an older decoded copy is believed: a file damaged since then has another hash.
    path = copy_path(source, "mirror", digest(folder))
    return _load(path, source, "mirror") or _save(path, _tables(source, "mirror", read_mirror(source), report))


def _cache(source: Source, report: Report) -> Images:
    for path in decoded_copies(source):
        if found := _load(path, source, "cache"):
            return found
    raise Problem("the decoded copies there are damaged")


def _hub(source: Source, report: Report) -> Images:
    found = _tables(source, "hub", read_hub(source), report)
    return _save(copy_path(source, "hub", source.revision), found)


def _carrier(source: Source, report: Report) -> Images:
    assert source.carrier is not None
    assert source.reader is not None
    arrays = source.reader(fetch(source.carrier, cache_folder()))
    found = _assemble(source, "carrier", source.carrier.says, arrays, source.classes)
    return _save(copy_path(source, "carrier", source.carrier.sha256), found)


def _embedded(source: Source, report: Report) -> Images:
    return _assemble(source, "embedded", "scikit-learn's digits, 0..16 scaled to 0..255", read_digits(), source.classes)


def _assemble(source: Source, kind: str, origin: str, arrays: Arrays, labels: Sequence[str], more: str = "") -> Images:
    """The Images of split -> arrays, with a test part held out where there is none."""
    x, y = arrays["train"]
    test = next((arrays[split] for split in ("test", "validation") if split in arrays), None)
    ours = test is None or source.splits.keys() == {"train"}  # a mirror may hold the split made here
    if test is None:
        away = every_fifth(y)
        test, x, y = (x[away], y[away]), x[~away], y[~away]
    says = [origin, f"{len(x):,} + {len(test[0]):,} pictures", more, _HELD_OUT if ours else "", source.says]
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in (x, y, *test)]
    tensors[0], tensors[2] = (tensors[i].permute(0, 3, 1, 2) for i in (0, 2))
    about = {"dataset": source.name, "kind": kind, "says": ", ".join(filter(None, says))}
    about["fingerprint"] = fingerprint(*tensors)
    return Images(source.name, *tensors, classes=len(labels), labels=tuple(labels), source=about)


def every_fifth(y: np.ndarray) -> np.ndarray:
    """Which rows [n] are the fifth, tenth, fifteenth ... of their class, in order."""
    away = np.zeros(len(y), bool)
    for label in np.unique(y):
        away[np.flatnonzero(y == label)[4::5]] = True
    return away


def fingerprint(*tensors: torch.Tensor) -> str:
    """The sha256, in hex, of the arrays: of each its shape, type and bytes, pictures in the order n, h, w, c."""
    total = hashlib.sha256()
    for tensor in tensors:
        array = (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).contiguous().numpy()
        total.update(f"{array.shape} {array.dtype}".encode())
        total.update(array.data)
    return total.hexdigest()


# Decoded copies


def _save(path: Path, found: Images) -> Images:
    tensors = {name: getattr(found, name) for name in _TENSORS}
    stored = {k: t.permute(0, 2, 3, 1) if t.ndim == 4 else t for k, t in tensors.items()}
    about = {"labels": json.dumps(found.labels)} | {key: found.source[key] for key in ("says", "fingerprint")}
    copies.save(path, found.name, stored, about)
    return found


def _load(path: Path, source: Source, kind: str) -> Images | None:
    def make(tensors: list[torch.Tensor], about: copies.About) -> Images | None:
        tensors[0], tensors[2] = (tensors[i].permute(0, 3, 1, 2) for i in (0, 2))
        if fingerprint(*tensors) != about["fingerprint"]:
            return None
        labels = tuple(json.loads(about["labels"]))
        told = {"dataset": source.name, "kind": kind, "says": about["says"], "fingerprint": about["fingerprint"]}
        return Images(source.name, *tensors, classes=len(labels), labels=labels, source=told)

    return copies.load(path, _TENSORS, make)


# Decoding


def _tables(source: Source, kind: str, tables: Mapping[str, "Dataset"], report: Report) -> Images:
    """The Images of hub-style splits: the first picture column, the first class column."""
    tables = {"validation" if split == "valid" else split: table for split, table in tables.items()}
    splits = [split for split in ("train", "test", "validation") if split in tables]
    if "test" in splits:
        splits = [split for split in splits if split != "validation"]
    if "train" not in splits:
        raise Problem(f"{source.folder} has no split 'train' but {', '.join(tables)}; images() needs one")
    tables = {split: _own_rows(source, tables[split]) for split in splits}
    picture, label, labels = _columns(source, tables["train"])
    encoded = list(itertools.chain(*(_bytes(tables[split], picture) for split in splits)))
    classes = {split: np.asarray(tables[split][label], dtype=np.int64) for split in splits}
    origin = f"{source.hub or source.name} at {source.revision[:8]}" if kind == "hub" else source.folder
    return _decoded(source, kind, origin, encoded, classes, labels, report)


def _decoded(
    source: Source,
    kind: str,
    origin: str,
    encoded: Sequence[bytes],
    classes: Mapping[str, np.ndarray],
    labels: Sequence[str],
    report: Report,
) -> Images:
    """The Images of the encoded pictures of all splits, one after another, and the classes [n] of each split; where
    these have no `labels` they are people by number."""
    pictures, changed = _decode(encoded, source, report)
    parts = np.split(pictures, np.cumsum([len(y) for y in classes.values()])[:-1])
    arrays = {split: (x, y) for (split, y), x in zip(classes.items(), parts, strict=True)}
    if not labels:
        labels = [f"person {k}" for k in range(1 + max(int(y.max(initial=0)) for y in classes.values()))]
    for split, (_, y) in arrays.items():
        if len(y) and not (y.min() >= 0 and y.max() < len(labels)):
            raise Problem(f"{source.folder} has rows without a class in split '{split}'; images() needs one a row")
    formats = sorted({_format(data) for data in encoded})
    size = f"resized to a shortest side of {pictures.shape[1]} px and cropped at the centre" if changed else ""
    more = ", ".join(filter(None, [" and ".join(formats) + " copies", size]))
    return _assemble(source, kind, origin, arrays, labels, more)


def _own_rows(source: Source, table: "Dataset") -> "Dataset":
    """The rows that belong to the set, where a table holds several."""
    column, value = source.rows
    if not column:
        return table
    if column not in table.features:
        raise Problem(f"{source.folder} has no column '{column}' among {', '.join(table.features)}; fetch it again")
    return table.select(np.flatnonzero(np.asarray(table[column]) == value))


def _columns(source: Source, table: "Dataset") -> tuple[str, str, list[str]]:
    import datasets

    picture = next((name for name, kind in table.features.items() if isinstance(kind, datasets.Image)), None)
    label = next((name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if picture and source.identity in table.features:
        return picture, source.identity, []
    if picture is None or label is None:
        lacks = "picture" if picture is None else "class"
        raise Problem(
            f"{source.folder} is no classification set: it has no {lacks} column among {', '.join(table.features)}"
        )
    return picture, label, table.features[label].names


def _bytes(table: "Dataset", column: str) -> list[bytes]:
    import datasets

    rows = table.cast_column(column, datasets.Image(decode=False)).with_format("arrow")[:].column(column)
    return [row["bytes"] or b"" for row in rows.to_pylist()]


def _format(data: bytes) -> str:
    return "JPEG" if data[:2] == b"\xff\xd8" else "PNG" if data[:4] == b"\x89PNG" else "other"


def _decode(encoded: Sequence[bytes], source: Source, report: Report) -> tuple[np.ndarray, bool]:
    """Pictures uint8 [n, h, w, c] and whether any was resized; grey (c = 1) only where all are."""
    from PIL import Image

    side, changed = source.side, False

    def one(i: int) -> np.ndarray:
        nonlocal changed
        try:
            with Image.open(io.BytesIO(encoded[i])) as file:
                picture = file if file.mode in ("L", "RGB") else file.convert("RGB")
                if side and file.size != (side, side):
                    picture, changed = resize_picture(picture, side), True
                return np.asarray(picture)
        except (OSError, SyntaxError, ValueError):  # what Pillow raises for bytes that are no picture
            raise Problem(f"picture {i} of {source.folder} is damaged; fetch the set again") from None

    def some(start: int) -> list[np.ndarray]:
        return [one(i) for i in range(start, min(start + chunk, len(encoded)))]

    chunk, arrays = 1000, []
    with ThreadPoolExecutor(2) as pool:  # Pillow's decoders let go of the interpreter: a fifth faster than one
        for done in pool.map(some, range(0, len(encoded), chunk)):
            arrays += done
            report(len(arrays), len(encoded))
    if len({array.shape[:2] for array in arrays}) > 1:
        side, changed = min(min(array.shape[:2]) for array in arrays), True
        arrays = [np.asarray(resize_picture(Image.fromarray(array), side)) for array in arrays]
    if any(array.ndim == 3 for array in arrays):
        arrays = [array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2) for array in arrays]
        return np.stack(arrays), changed
    return np.stack(arrays)[..., None], changed


def read_picture(file: Path | io.BytesIO, damaged: str) -> "Image.Image":
    """The picture in a file, in RGB. Raises Problem, in the words `damaged`, where it is absent or no picture."""
    from PIL import Image

    try:
        with Image.open(file) as found:
            return found.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for bytes that are no picture
        raise Problem(damaged) from None


def resize_picture(picture: "Image.Image", side: int) -> "Image.Image":
    """The PIL picture with its shortest side resized to `side` (bilinear, antialiased), then cropped at the centre."""
    from PIL import Image

    scale = side / min(picture.size)
    w, h = (max(side, math.floor(length * scale + 0.5)) for length in picture.size)
    if (w, h) != picture.size:
        picture = picture.resize((w, h), Image.Resampling.BILINEAR)
    left, top = (w - side) // 2, (h - side) // 2
    return picture.crop((left, top, left + side, top + side))
