"""What else a number depends on: the code, the machine and the libraries, as recorded in a run's env.json."""

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "numpy", "scipy", "accelerate", "datasets")


@functools.cache
def environment() -> dict[str, Any]:
    """Facts of this process that do not change while it lives."""
    return {
        "commit": commit(),
        "host": f"{cpu()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := version(name))},
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def sources() -> str:
    """The first 8 digits of the sha256 over the package's files, by which the nodes of a cluster compare theirs."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def commit() -> str:
    """The git commit of the checkout that holds the package, with "+" after it where files were changed.

    Of an installed package its version; "+" where git does not answer.
    """
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return f"etudes {version('etudes')}"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "+"
    return done.stdout.strip() or "+"


def cpu() -> str:
    """The processor's name. Never the host's: results are published."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
