"""Sets as their authors publish them.

CIFAR-10 and CIFAR-100 are folders of pickles, of which nothing but numbers is read. The hub's copies are PNG, a
mirror's may be JPEG; these are the pictures themselves (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html,
the "python version" of each set). CelebA is a folder of JPEG files and lists of what is in them (Liu et al. 2015,
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html). CUB-200-2011, the ASL Alphabet and the Large-Scale Fish Dataset are
folders of pictures, one a class. Oxford-IIIT Pet is one folder of pictures, with lists (Parkhi et al. 2012,
https://www.robots.ox.ac.uk/~vgg/data/pets/).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem
from etudes.data.sources.formats import Arrays, unpickle

LAYOUTS = {  # folder -> (files of the training part, of the test part, of the names; key of the labels, of the names)
    "cifar-10-batches-py": (
        [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "batches.meta", "labels", "label_names",
    ),
    "cifar-100-python": (["train"], ["test"], "meta", "fine_labels", "fine_label_names"),
}  # fmt: skip


def read_cifar(folder: Path) -> tuple[Arrays, list[str]]:
    """The two splits of `cifar-10-batches-py` or `cifar-100-python`, and the names of the (fine) classes.

    Problem where a file is absent or damaged, or holds anything but numbers, texts and arrays.
    """
    training, testing, names, label, name = LAYOUTS[folder.name]
    labels = _entry(folder / names, name)
    return {
        split: (
            np.concatenate([_pictures(folder / file) for file in files]),
            np.concatenate([np.asarray(_entry(folder / file, label), np.int64) for file in files]),
        )
        for split, files in (("train", training), ("test", testing))
    }, list(labels)


def _pictures(path: Path) -> np.ndarray:
    """uint8 [n, 32, 32, 3]: each row of the file is a picture's red, green and blue plane."""
    rows = _entry(path, "data")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3072,):
        raise Problem(f"{path} holds no pictures of 32 x 32 pixels; unpack {path.parent.name} again")
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _entry(path: Path, key: str) -> Any:
    if not path.is_file():
        raise Problem(f"{path} is absent; unpack {path.parent.name} again, or take the folder away")
    try:
        return unpickle(path.read_bytes())[key]
    except (KeyError, TypeError, IndexError):
        raise Problem(f"{path} has no entry '{key}'; unpack {path.parent.name} again") from None
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from None


class Files(Sequence[bytes]):
    """What is in files, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: Any) -> Any:
        return Files(self.paths[i]) if isinstance(i, slice) else self.paths[i].read_bytes()


CLASS_FOLDERS = {  # folder -> a pattern of its class folders
    "CUB_200_2011": "images/*",
    "asl-alphabet": "asl_alphabet_train/asl_alphabet_train/*",
    "Fish_Dataset": "Fish_Dataset/*/*",
}
_MASKS = " GT"  # ends the names of the fish's folders with outlines in place of photos
_SUFFIXES = (".jpg", ".jpeg", ".png")
_NAMES, _SPLIT = "images.txt", "train_test_split.txt"


def read_class_folders(folder: Path) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The files of a set of class folders, those of the training part first, the class of each file of "train" and,
    where the authors name a part to test on, of "test", and the names of the classes in order.

    CUB-200-2011 says in `train_test_split.txt` what is to learn from; its folders bear numbers, which are no part of
    the names. Problem where there is no class folder, or a list does not fit the files.
    """
    places = sorted(place for place in folder.glob(CLASS_FOLDERS[folder.name]) if place.is_dir())
    places = [place for place in places if not place.name.endswith(_MASKS)]
    files = [(file, k) for k, place in enumerate(places) for file in sorted(place.iterdir()) if _is_picture(file)]
    if not files:
        raise Problem(f"{folder} holds no {CLASS_FOLDERS[folder.name]}/*.jpg or .png; unpack the set again")
    parts = _cub_parts(folder) if (folder / _SPLIT).exists() else {}
    split: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for file, k in files:
        name = file.relative_to(folder / "images").as_posix() if parts else ""
        if parts and name not in parts:
            raise Problem(f"{_NAMES} of {folder} does not name {name}; unpack the set again")
        split["train" if parts.get(name, 1) else "test"].append((file, k))
    kept = {part: rows for part, rows in split.items() if rows}
    classes = {part: np.array([k for _, k in rows], np.int64) for part, rows in kept.items()}
    labels = [place.name.split(".", 1)[-1].replace("_", " ") for place in places]
    return Files([file for rows in kept.values() for file, _ in rows]), classes, labels


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES


def _cub_parts(folder: Path) -> dict[str, int]:
    """File -> 1, to learn from, or 0, to test on: `images.txt` has lines "number file", the other "number part"."""
    try:
        text = _within(folder, _NAMES).read_text(encoding="utf-8")
        names = dict(line.split() for line in text.splitlines() if line)
    except ValueError:
        raise Problem(f"{folder / _NAMES} has lines that are no number and file; unpack the set again") from None
    parts = _lines(folder / _SPLIT)
    if absent := sorted(names.keys() - parts.keys()):
        raise Problem(f"{_SPLIT} of {folder} does not say where picture {absent[0]} belongs; unpack the set again")
    return {name: parts[number] for number, name in names.items()}


_PICTURES, _PARTS, _PEOPLE = "img_align_celeba", "list_eval_partition.txt", "identity_CelebA.txt"


def read_celeba(folder: Path) -> tuple[Files, dict[str, np.ndarray]]:
    """The files of the aligned pictures, those of the training part first, and who is on those of "train" and of
    "test": numbers [n], from 1.

    The folder holds `img_align_celeba`, `list_eval_partition.txt` (lines "file part": 0 train, 1 valid, 2 test) and
    `identity_CelebA.txt` ("file person"), side by side or in folders (Img, Eval and Anno) as they are published.
    Problem where one of them or a picture is absent, or a line is no such line.
    """
    parts, people = (_lines(_within(folder, name)) for name in (_PARTS, _PEOPLE))
    pictures = _within(folder, _PICTURES)
    if absent := sorted(parts.keys() - people.keys()):
        raise Problem(f"{_PEOPLE} of {folder} does not say who is on {absent[0]}; unpack the set again")
    here = {file.name for file in pictures.iterdir()}
    if absent := sorted(parts.keys() - here):
        raise Problem(f"{pictures} lacks {absent[0]}, which {_PARTS} names; unpack the set again")
    names = {split: sorted(n for n, p in parts.items() if p == part) for split, part in (("train", 0), ("test", 2))}
    files = Files([pictures / name for split in names.values() for name in split])
    return files, {split: np.array([people[n] for n in found], np.int64) for split, found in names.items()}


PETS = "oxford-pets"  # the folder into which images.tar.gz and annotations.tar.gz are unpacked


def read_pets(folder: Path) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The files of Oxford-IIIT Pet, those of "train" (the list trainval.txt) first, the breed of each file of "train"
    and "test", and the names of the breeds in order.

    The folder holds `images` and `annotations`. A line of a list is "picture breed species number": breeds count from
    1, and the picture is named after its breed, Abyssinian_100. Problem where a list or picture is absent, or a line
    is no such line.
    """
    names, files = {}, []
    classes = {}
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        path = _within(folder, f"annotations/{file}")
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        try:
            pictures, breeds = [row[0] for row in rows if row], [int(row[1]) - 1 for row in rows if row]
        except (ValueError, IndexError):
            raise Problem(f"{path} has lines that are no picture and breed; unpack the set again") from None
        names |= {breed: picture.rsplit("_", 1)[0] for picture, breed in zip(pictures, breeds, strict=True)}
        files += [folder / "images" / f"{picture}.jpg" for picture in pictures]
        classes[split] = np.array(breeds, np.int64)
    if absent := next((file for file in files if not file.is_file()), None):
        raise Problem(f"{folder / 'images'} lacks {absent.name}, which a list names; unpack the set again")
    if sorted(names) != [*range(len(names))]:
        raise Problem(f"the lists of {folder} leave out breeds; unpack the set again")
    return Files(files), classes, [names[breed].replace("_", " ") for breed in sorted(names)]


def _within(folder: Path, name: str) -> Path:
    """The file or folder of that name in the folder or in one of its folders."""
    found = next(iter([folder / name] if (folder / name).exists() else sorted(folder.glob(f"*/{name}"))), None)
    if found is None:
        raise Problem(f"{folder} holds no {name}; unpack the set again, or take the folder away")
    return found


def _lines(path: Path) -> dict[str, int]:
    """The lines "file number" of a list."""
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {name: int(number) for name, number in rows}
    except ValueError:
        raise Problem(f"{path} has lines that are no file and number; unpack the set again") from None
