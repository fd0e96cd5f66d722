"""Pictures whose pixels have classes, and where there are any the objects that they belong to, held whole as tensors.

A set is split by what its pictures share (a patient, a slice, a slab), never by patches of one picture.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data.cells import drawn_cells
from etudes.data.images import fingerprint, resize_picture
from etudes.data.instances import components
from etudes.data.resize import resize
from etudes.data.sources import SOURCES, Source, cache_folder, find, read_first, read_mirror
from etudes.data.sources.carriers import fetch
from etudes.data.sources.formats import read_tissue

if TYPE_CHECKING:
    from datasets import Dataset

TASK = "segmentation"
GROUPS = {"nuclei": "stain", "chase-db1": "patient", "membrane": "slice"}  # the column that says what pictures share
PARTS = ("x", "y", "instances", "test_x", "test_y", "test_instances")
SLAB = 24  # slices of a brain after which the split begins again: 14 to learn from, 3 left out, 4 of test, 3 left out
Arrays = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]]  # split -> x, y, instances, groups


@dataclass(frozen=True, eq=False)
class Masks:
    """Pictures uint8 [n, c, h, w] with the class uint8 [n, h, w] of each pixel; class 0 is the background.

    `instances` int32 [n, h, w] numbers the objects of each picture from 1, 0 is none; None where the set has none.
    """

    name: str
    x: Tensor
    y: Tensor
    instances: Tensor | None
    groups: tuple[str, ...]  # of the training pictures: what those of one group share
    test_x: Tensor
    test_y: Tensor
    test_instances: Tensor | None
    test_groups: tuple[str, ...]
    classes: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of the whole arrays)

    def take(self, rows: Tensor) -> "Masks":
        """The same set with its training part restricted to the rows."""
        groups = tuple(self.groups[i] for i in rows.tolist())
        instances = None if self.instances is None else self.instances[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], instances=instances, groups=groups)

    def resize(self, side: int) -> "Masks":
        """The same set in squares of `side` pixels: pictures resized smoothly, classes and objects by the nearest."""
        changed = {}
        for name in PARTS:
            part = getattr(self, name)
            if part is not None:
                changed[name] = resize(part, side) if name.endswith("x") else _nearest_square(part, side)
        return replace(self, **changed)

    def binary(self, name: str = "object") -> "Masks":
        """The same set with all classes but the background merged into one."""
        one = {key: (getattr(self, key) > 0).to(torch.uint8) for key in ("y", "test_y")}
        return replace(self, classes=(self.classes[0], self.classes[1] if len(self.classes) == 2 else name), **one)


@lru_cache(maxsize=4)
def masks(name: str, group: str = "") -> Masks:
    """The pictures and masks of a declared name; with `group` those of one group alone, such as a stain.

    Pictures of many sizes are resized to one shortest side, the declared one or else the smallest, and cropped at the
    centre; masks go the same way by the nearest pixel, so that no class comes up that was not drawn. Raises Problem for
    an unknown name or group, for a set of another task, and where no source can be reached or one is damaged.
    """
    source = find(name)
    if source.task != TASK:
        known = ", ".join(s.name for s in SOURCES.values() if s.task == TASK)
        raise Problem(f"'{name}' is a {source.task} set, no segmentation set; masks() reads {known}")

    def read(kind: str) -> Masks:
        if kind == "embedded":
            dark = source.name == "drawn-cells-dark"
            return _assemble(source, kind, "", drawn_cells(int(dark), dark), group)
        if kind == "carrier":
            assert source.carrier is not None
            arrays = _slabs(*read_tissue(fetch(source.carrier, cache_folder())))
            return _assemble(source, kind, source.carrier.says, arrays, group)
        if kind == "mirror":
            tables = read_mirror(source)
            lacking = {"image", "mask"} - {*next(iter(tables.values())).column_names}
            if lacking or not {"train", "test"} <= {*tables}:
                raise Problem(f"{source.folder} needs splits train and test with columns image and mask; copy it again")
            return _assemble(source, kind, source.folder, _decode(source, tables, group), group)
        raise Problem(f"masks are not read from the {kind}")

    return read_first(source, read)


def _assemble(source: Source, kind: str, origin: str, arrays: Arrays, group: str) -> Masks:
    parts = {}
    for split, (x, y, instances, groups) in arrays.items():
        before = "" if split == "train" else "test_"
        kept = [i for i, other in enumerate(groups) if group in ("", other)]
        if not kept:
            there = ", ".join(sorted(set(groups)))
            raise Problem(f"{source.name} has no pictures of group '{group}' in its part '{split}'; there are {there}")
        parts[before + "groups"] = tuple(groups[i] for i in kept)
        parts[before + "x"] = torch.from_numpy(x[kept]).permute(0, 3, 1, 2)
        parts[before + "y"] = torch.from_numpy(y[kept])
        parts[before + "instances"] = None if instances is None else torch.from_numpy(instances[kept])
    counts = f"{len(parts['x']):,} + {len(parts['test_x']):,} pictures"
    says = ", ".join(filter(None, [origin, counts, group and f"{group} alone", source.says]))
    about = {"dataset": source.name, "kind": kind, "says": says}
    about["fingerprint"] = fingerprint(*(parts[key] for key in PARTS if parts[key] is not None))
    return Masks(source.name, classes=source.classes, source=about, **parts)


def nearest(mask: np.ndarray, h: int, w: int) -> np.ndarray:
    """The array [..., h, w] of the values [..., height, width] nearest to the centres of the new pixels."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((h, w), mask.shape[-2:], strict=True)
    )
    return mask[..., rows[:, None], columns[None, :]]


def _nearest_square(mask: Tensor | np.ndarray, side: int) -> Tensor:
    """Values [..., h, w] brought to a square as `images.resize_picture` brings pictures."""
    array = np.asarray(mask)
    scale = side / min(array.shape[-2:])
    h, w = (max(side, math.floor(length * scale + 0.5)) for length in array.shape[-2:])
    top, left = (h - side) // 2, (w - side) // 2
    array = nearest(array, h, w)[..., top : top + side, left : left + side]
    return torch.from_numpy(np.ascontiguousarray(array))


# Parquet in the layout of a mirror


def _decode(source: Source, tables: dict[str, "Dataset"], group: str) -> Arrays:
    kept = {split: _of_group(source, tables[split], group) for split in ("train", "test")}
    encoded = {split: _bytes(table) for split, table in kept.items()}
    pictures = {s: [_open(source, i, row["image"]) for i, row in enumerate(rows)] for s, rows in encoded.items()}
    everything = [picture for some in pictures.values() for picture in some]
    side = source.side or min((min(picture.size) for picture in everything), default=0)
    mode = "L" if all(picture.mode == "L" for picture in everything) else "RGB"
    arrays: Arrays = {}
    for split, rows in encoded.items():
        x = [np.asarray(resize_picture(picture.convert(mode), side)) for picture in pictures[split]]
        marks = {name: [] for name in ("mask", "instances") if rows and name in rows[0]}
        for i, row in enumerate(rows):
            for name, found in marks.items():
                mask = np.asarray(_open(source, i, row[name]))
                if mask.shape != pictures[split][i].size[::-1]:
                    raise Problem(f"{name} {i} of {source.folder} is not as large as its picture; fetch the set again")
                found.append(_nearest_square(mask, side).numpy())
        y = _classes(source, np.stack(marks["mask"])) if rows else np.zeros((0, 1, 1), np.uint8)
        instances = np.stack(marks["instances"]).astype(np.int32) if marks.get("instances") else None
        if source.name == "membrane":  # whose cells are what lies between membranes
            instances = np.stack([components(picture) for picture in y])
        stacked = np.stack(x) if rows else np.zeros((0, 1, 1), np.uint8)
        stacked = stacked if stacked.ndim == 4 else stacked[..., None]
        arrays[split] = (stacked, y, instances, _group_names(source, kept[split]))
    return arrays


def _group_names(source: Source, table: "Dataset") -> list[str]:
    column = GROUPS.get(source.name)
    if column is None:
        return [source.config or source.name] * len(table)
    kind = table.features[column]
    return [kind.int2str(value) if hasattr(kind, "int2str") else str(value) for value in table[column]]


def _of_group(source: Source, table: "Dataset", group: str) -> "Dataset":
    names = _group_names(source, table)
    if group and group not in names:
        raise Problem(f"{source.name} has no pictures of group '{group}'; there are {', '.join(sorted(set(names)))}")
    return table.select([i for i, name in enumerate(names) if group in ("", name)])


def _classes(source: Source, values: np.ndarray) -> np.ndarray:
    """The classes of a mask's grey values: two are drawn in black and white, more as their numbers."""
    if len(source.classes) == 2:
        return (values > 127).astype(np.uint8)
    if values.max() >= len(source.classes):
        raise Problem(
            f"the masks of {source.folder} have the value {values.max()}; "
            f"its classes are 0 to {len(source.classes) - 1}"
        )
    return values.astype(np.uint8)


def _bytes(table: "Dataset") -> Sequence[dict[str, bytes]]:
    import datasets

    names = [name for name in ("image", "mask", "instances") if name in table.column_names]
    plain = table.select_columns(names)
    for name in names:
        plain = plain.cast_column(name, datasets.Image(decode=False))
    return [{name: row[name]["bytes"] or b"" for name in names} for row in plain.with_format("arrow")[:].to_pylist()]


def _open(source: Source, i: int, data: bytes):
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for bytes that are no picture
        raise Problem(f"picture or mask {i} of {source.folder} is damaged; fetch the set again") from None
    return picture


# A brain in slabs


def _slabs(volume: np.ndarray, classes: np.ndarray) -> Arrays:
    """Horizontal slices of a volume uint8 [slices, h, w], split by slabs with gaps, as neighbours are alike."""
    arrays: Arrays = {}
    place = np.arange(len(volume)) % SLAB
    for split, inside in (("train", place < 14), ("test", (place >= 17) & (place < 21))):
        rows = np.flatnonzero(inside & (classes > 0).any((1, 2)))
        groups = [f"slab {row // SLAB}" for row in rows]
        arrays[split] = (np.ascontiguousarray(volume[rows, ..., None]), classes[rows], None, groups)
    return arrays
