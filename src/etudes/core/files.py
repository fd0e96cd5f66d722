"""Files that are whole or absent."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path`, whole and on disk, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(draft):
            raise type(error)(error.errno, error.strerror, str(path)) from None  # nobody asked for the draft
        if code := re.search(r"\(os error (\d+)\)", str(error)):  # of safetensors, which has errors of its own
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
        raise
    if os.name == "nt":  # where folders cannot be opened
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must outlive a power cut
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    with appearing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str, *, check: Callable[[Any], bool] = lambda value: isinstance(value, dict)) -> Any:
    """The parsed file. Raises Problem, ending in `remedy`, where it is not whole JSON or `check` refuses it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise Problem(f"{path} is not whole; {remedy}") from None
    if not check(value):
        raise Problem(f"{path} does not hold what it should; {remedy}")
    return value


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
