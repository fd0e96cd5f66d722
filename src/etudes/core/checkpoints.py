"""The checkpoints of an unfinished run: how far apart they are, and which of them progress.json lists."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from etudes.core.errors import Problem
from etudes.core.files import read_json, sha256

SAVE_SECONDS = 30.0


def save_seconds() -> float:
    """The seconds between checkpoints: $ETUDES_SAVE_SECONDS, or 30. Raises Problem where it is no such number."""
    text = os.environ.get("ETUDES_SAVE_SECONDS") or str(SAVE_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise Problem(f"ETUDES_SAVE_SECONDS is '{text}'; it must be a number of seconds, at least 0")
    return seconds


@dataclass(frozen=True)
class Checkpoint:
    """An entry of progress.json. A run's calls of `fit` are its phases, counted from 0."""

    phase: int
    step: int
    file: str
    sha256: str
    log_bytes: int
    seconds: float
    library: str  # the hash of the modules that performed the steps; several, if they changed between resumes


def entries(folder: Path) -> list[Checkpoint]:
    """All that progress.json lists. Raises Problem where that file is not whole."""
    path = folder / "progress.json"
    if not path.exists():
        return []
    try:
        return [Checkpoint(**entry) for entry in read_json(path, "delete it to start this run again")["checkpoints"]]
    except (KeyError, TypeError):
        raise Problem(f"{path} does not hold what it should; delete it to start this run again") from None


def whole(folder: Path) -> dict[int, Checkpoint]:
    """{phase: its last checkpoint that is whole}. What a phase did after it is repeated, to the same bytes."""
    found = {}
    log = folder / "log.jsonl"
    logged = log.stat().st_size if log.exists() else 0
    for c in entries(folder):
        path = folder / c.file
        if logged >= c.log_bytes and path.exists() and sha256(path) == c.sha256:
            found[c.phase] = c
        else:
            warnings.warn(f"{path} or its log is damaged; going on from the checkpoint before it", stacklevel=2)
    return found
