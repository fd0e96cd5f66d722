"""CIFAR-10 and CIFAR-100 as their author publishes them: folders of pickles, of which nothing but numbers is read.

The hub's copies are PNG, a mirror's may be JPEG; these are the pictures themselves (Krizhevsky 2009,
https://www.cs.toronto.edu/~kriz/cifar.html, the "python version" of each set).
"""

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
