"""What every agent saw and did, a line of JSON each, in a file that survives a kill to the byte."""

import json
import os
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem


def first_game(path: Path) -> str:
    """The lines of a journal's first game: those before the second that says which game begins."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if "game" in json.loads(line)]
    return "".join(lines[: [*begins, len(lines)][1]])


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, each with the fields that were written. Raises Problem where one is not whole."""
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except ValueError:
        raise Problem(f"{path} is not whole; delete {path.parent} and run the study again") from None


class Journal:
    """A file of JSON lines as a part of `fit`: its state is its length, to which a resumed run cuts it back."""

    def __init__(self, path: Path) -> None:
        self.path, self.length = path, 0
        self._lines: list[bytes] = []

    def write(self, **fields: Any) -> None:
        """Add a line, on disk at the next `flush`."""
        self._lines.append(json.dumps(fields, ensure_ascii=False).encode() + b"\n")

    def flush(self) -> None:
        """Put what was written on disk, after the lines that are known to be there."""
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.truncate(self.length)
            file.seek(self.length)
            file.write(b"".join(self._lines))
            self.length = file.tell()
        self._lines = []

    def state_dict(self) -> dict[str, int]:
        self.flush()
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
        return {"length": self.length}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises Problem where the file is shorter than it was."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < state["length"]:
            raise Problem(f"{self.path} is not whole; delete {self.path.parent} to start this run again")
        self.length, self._lines = state["length"], []
        os.truncate(self.path, self.length)
