"""Readers of the files that carriers hold and that packages install: each takes a path and runs nothing of the file."""

import gzip
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> pictures uint8 [n, h, w, c], labels int64 [n]
Works = dict[str, list[str]]  # split -> texts, a work each
_PLAYS = {"validation": ("as-you-like-it", "richard-ii"), "test": ("macbeth", "the-tempest")}


class NumpyOnly(pickle.Unpickler):
    """Rebuilds plain numpy arrays and refuses every other global, so that loading runs no code of the file."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy's own function has moved from numpy.core to numpy._core; both names mean it.
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in Python 2's format
            return _latin1
        known = {"multiarray._reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        short = f"{module}.{name}".removeprefix("numpy.").removeprefix("core.").removeprefix("_core.")
        if module.split(".")[0] == "numpy" and short in known:
            return known[short]
        raise Problem(f"the pickle asks for {module}.{name}, but only numpy arrays are read; do not trust that file")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise Problem(f"the pickle asks for the encoding {encoding!r}; only numpy arrays are read")
    return text.encode("latin1")


def unpickle(data: bytes, reader: type[NumpyOnly] = NumpyOnly) -> Any:
    """The plain values and numpy arrays of a pickle (Python 2 ones too), and what else the reader knows. Problem for
    one that holds anything else."""
    try:
        return reader(io.BytesIO(data), encoding="latin1").load()
    except Problem:
        raise
    except Exception as error:
        raise Problem(f"the pickle is damaged ({error}); fetch it again") from None


def read_pickle(path: Path) -> Arrays:
    """MNIST of a pickle of (x, y) three times, x in k/256: training part (the first two joined) and test part."""
    parts = unpickle(gzip.decompress(path.read_bytes()))

    def pictures(x: np.ndarray) -> np.ndarray:
        return np.rint(x * 256).astype(np.uint8).reshape(-1, 28, 28, 1)

    (x0, y0), (x1, y1), (x2, y2) = parts
    train = np.concatenate([pictures(x0), pictures(x1)]), np.concatenate([y0, y1]).astype(np.int64)
    return {"train": train, "test": (pictures(x2), y2.astype(np.int64))}


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped idx file: two zero bytes, type 8, number of dimensions, big-endian sizes, data."""
    data = gzip.decompress(path.read_bytes())
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise Problem(f"{path} is no idx file of bytes; fetch it again")
    sizes = np.frombuffer(data, ">u4", count=data[3], offset=4).astype(int)
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(body) != sizes.prod():
        raise Problem(f"{path} announces {sizes.prod():,} bytes and holds {len(body):,}; fetch it again")
    return body.reshape(sizes).copy()  # writable


def read_idx_folder(path: Path) -> Arrays:
    """The two splits of a folder with the four files of MNIST's own layout."""
    names = {"train": "train", "test": "t10k"}
    return {
        split: (
            read_idx(path / f"{name}-images-idx3-ubyte.gz")[..., None],
            read_idx(path / f"{name}-labels-idx1-ubyte.gz").astype(np.int64),
        )
        for split, name in names.items()
    }


def read_csv(path: Path) -> Arrays:
    """The one split of a gzipped table: a row a square grey picture, its pixels 0..255, then its label."""
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    side = round((table.shape[1] - 1) ** 0.5)
    return {"train": (table[:, :-1].astype(np.uint8).reshape(-1, side, side, 1), table[:, -1])}


def read_faces(path: Path) -> Arrays:
    """The two splits of ORL's folders s1 .. s40 of a person each, with pictures 1.pgm .. 10.pgm: the last 8 are the
    test part, so that nobody is in both; label k - 1 is person sk. Problem where a picture is absent or damaged."""
    from PIL import Image

    def picture(file: Path) -> np.ndarray:
        try:
            with Image.open(file, formats=["PPM"]) as found:
                return np.asarray(found.convert("L"))
        except (OSError, SyntaxError, ValueError):  # what Pillow raises for absent and damaged files
            raise Problem(f"{file} is no whole picture; fetch the set again") from None

    pictures = np.stack([picture(path / f"s{k}" / f"{i}.pgm") for k in range(1, 41) for i in range(1, 11)])[..., None]
    people = np.repeat(np.arange(40), 10)
    return {"train": (pictures[:320], people[:320]), "test": (pictures[320:], people[320:])}


def read_digits() -> Arrays:
    """scikit-learn's 1,797 digits [n, 8, 8, 1], values 0..16 scaled to 0..255, from the file that it installs."""
    # Read as a file: importing scikit-learn takes over a second.
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise Problem("the digits are scikit-learn's; install scikit-learn")
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.int64)
    pictures = np.rint(table[:, :-1] * 255 / 16).astype(np.uint8)
    return {"train": (pictures.reshape(-1, 8, 8, 1), table[:, -1])}


def read_plays(path: Path) -> Works:
    """The plays of a folder of Markdown files, in the order of their names; two each are held out."""
    split = {play: part for part, plays in _PLAYS.items() for play in plays}
    works: Works = {"train": [], "validation": [], "test": []}
    for file in sorted(path.rglob("*.md"), key=lambda file: file.stem):
        lines = file.read_text(encoding="utf-8").splitlines()
        works[split.get(file.stem, "train")].append("\n".join(line.rstrip() for line in lines) + "\n")
    return works


def read_nifti(path: Path) -> np.ndarray:
    """The volume [x, y, z] of a packed NIfTI-1 file, its numbers as they are stored. Problem for any other file."""
    try:
        data = gzip.decompress(path.read_bytes())
        if data[344:348] != b"n+1\x00" or data[:4] != (348).to_bytes(4, "little"):
            raise ValueError
        shape = np.frombuffer(data, "<i2", 4, 40)[1:]
        kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[
            int(np.frombuffer(data, "<i2", 1, 70)[0])
        ]
        offset = int(np.frombuffer(data, "<f4", 1, 108)[0])
        return np.frombuffer(data, kind, int(shape.prod()), offset).reshape(shape, order="F")
    except (OSError, EOFError, ValueError, KeyError):
        raise Problem(f"{path} is no whole packed NIfTI-1 file, least byte first; fetch it again") from None


def read_tissue(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The mean of 152 brains as horizontal slices uint8 [z, h, w], front up, and the tissue of each pixel, uint8.

    0 is what lies outside of the brain (where the picture is 0), else the most probable of grey matter (1), white
    matter (2) and what is neither (3), by the folder's maps of probabilities in 255ths. Cropped to squares at the
    centre.
    """
    t1, grey, white = (
        read_nifti(path / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz") for kind in ("t1", "gm", "wm")
    )
    fluid = 255 - grey.astype(np.int16) - white
    tissue = np.where(t1 > 0, np.argmax([grey.astype(np.int16), white, fluid], 0) + 1, 0).astype(np.uint8)
    slices = [np.ascontiguousarray(volume.transpose(2, 1, 0)[:, ::-1]) for volume in (t1, tissue)]
    h, w = slices[0].shape[1:]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return tuple(s[:, top : top + side, left : left + side] for s in slices)  # type: ignore[return-value]
