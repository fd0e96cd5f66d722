"""Pictures that lists name, a line each with its class, and whose files are read when a step asks for them.

ImageNet-LT is three such lists for the pictures of ImageNet (Liu et al. 2019, arXiv:1904.05160, sec. 5.1).
"""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem, unknown
from etudes.data.images import read_picture, resize_picture
from etudes.data.sources import SOURCES, originals_folder, unreachable

TASK = "lists"
LISTS = {"train": "ImageNet_LT_train.txt", "validation": "ImageNet_LT_val.txt", "test": "ImageNet_LT_test.txt"}
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random crop: Szegedy et al. 2015, arXiv:1409.4842, sec. 6
MARGIN = 8 / 7  # the shortest side before a crop at the centre, over the crop's: 256 for 224


@dataclass(frozen=True, eq=False)
class Listed:
    """Files of pictures, and their classes int64 [n]."""

    files: tuple[Path, ...]
    y: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: Tensor) -> "Listed":
        """The same list restricted to the rows."""
        return Listed(tuple(self.files[i] for i in rows.tolist()), self.y[rows.to(self.y.device)])

    def read(self, rows: Sequence[int], side: int, rng: np.random.Generator | None = None) -> Tensor:
        """The rows' pictures, uint8 [n, 3, side, side]: a random part of each, mirrored by chance, drawn from `rng`; or
        without one its centre. Raises Problem where a file is absent or no picture."""
        draws = rng.random((len(rows), 5)) if rng else [None] * len(rows)
        with ThreadPoolExecutor(4) as pool:  # decoders let go of the interpreter
            arrays = list(pool.map(lambda i, draw: _decode(self.files[i], side, draw), rows, draws))
        pictures = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        return pictures.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class ListedSet:
    """Three lists of one set; what is validated and tested on is balanced."""

    name: str
    train: Listed
    validation: Listed
    test: Listed
    classes: int
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of the lists)


def picture_lists(name: str) -> ListedSet:
    """The lists of a declared set, with their pictures in a folder of one's own.

    "imagenet-lt" is read from a folder ImageNet_LT in the mirror or the cache, with the three lists and, beside them,
    ImageNet's `train` and `val` (links will do). Raises Problem for another name, and where lists are absent or bad.
    """
    source = SOURCES.get(name)
    if source is None or source.task != TASK:
        raise unknown("set of lists", name, [s.name for s in SOURCES.values() if s.task == TASK])
    folder = originals_folder(source)
    if folder is None:
        raise unreachable(source, {})
    parts = {split: read_list(folder / file, folder) for split, file in LISTS.items()}
    says = ", ".join(f"{split} {len(part):,}" for split, part in parts.items())
    total = hashlib.sha256(b"".join((folder / file).read_bytes() for file in LISTS.values()))
    about = {"dataset": name, "kind": "originals", "says": f"the lists of {folder.name}: {says}; {source.says}"}
    classes = int(parts["train"].y.max()) + 1
    return ListedSet(name, **parts, classes=classes, source=about | {"fingerprint": total.hexdigest()})


def read_list(path: Path, folder: Path) -> Listed:
    """The files, below `folder`, and classes of a list with lines "path label". Blank lines are passed over.

    Raises Problem where the list is absent or empty, a line is no such line, or a path leaves the folder.
    """
    if not path.is_file():
        raise Problem(f"{path} is absent; put the set's lists into {folder}")
    files, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        place, _, label = line.strip().rpartition(" ")
        if not place or not label.isdecimal():
            raise Problem(f"line {number} of {path} is no path and number of a class; fetch the list again")
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise Problem(f"line {number} of {path} leads out of {folder}; fetch the list again")
        files.append(folder / place)
        labels.append(int(label))
    if not files:
        raise Problem(f"{path} is empty; fetch the list again")
    return Listed(tuple(files), torch.tensor(labels))


def crop_box(width: int, height: int, draws: Sequence[float]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of a part of 8 to 100 % of a picture's area, 3:4 to 4:3 in shape.

    draws: four numbers in [0, 1), of area, shape and place. A shape that does not fit is cut to the picture.
    """
    area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * draws[0])
    ratio = math.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * draws[1])
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = int((width - w + 1) * draws[2]), int((height - h + 1) * draws[3])
    return left, top, left + w, top + h


def _decode(path: Path, side: int, draws: np.ndarray | None) -> np.ndarray:
    """uint8 [side, side, 3]."""
    from PIL import Image

    picture = read_picture(path, f"{path}, which a list names, is absent or damaged; unpack the pictures again")
    if draws is None:
        picture = resize_picture(picture, round(side * MARGIN))
        edge = (picture.width - side) // 2
        return np.asarray(picture.crop((edge, edge, edge + side, edge + side)))
    box = crop_box(*picture.size, draws[:4].tolist())
    array = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box))
    return array[:, ::-1] if draws[4] < 0.5 else array
