"""The pictures, texts and sounds that runs left in their folders, as a report keeps and shows them."""

import base64
import hashlib
import io
import struct
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.spec import Study
from etudes.reports import game
from etudes.reports.look import WIDTH

# Bytes at most: a report holds a file twice and must stay small. A sound so large lasts 9 seconds at 16 kHz.
MOST = {".png": 300_000, ".gif": 300_000, ".txt": 20_000, ".wav": 300_000}
FOLDERS = {".png": "pictures", ".gif": "pictures", ".txt": "texts", ".wav": "sounds"}  # within the report's folder
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".gif": b"GIF8"}


@dataclass(frozen=True)
class Exhibit:
    """A picture, film, page of text or sound that the run of one variant and seed left; or the problem that keeps it
    from being shown."""

    variant: str
    seed: int
    file: str
    content: bytes = field(repr=False)
    problem: str = ""
    says: str = ""  # the variant's own words

    @property
    def kind(self) -> str:
        """ ".png", ".gif", ".txt" or ".wav"."""
        return Path(self.file).suffix

    @property
    def path(self) -> Path:
        """Where it stands in the report's folder: no variant has a dot, so no two files share a name."""
        return Path(FOLDERS[self.kind], f"{self.variant}.{self.file}")

    @property
    def caption(self) -> str:
        return f"{self.variant}, seed {self.seed}{': ' if self.says else ''}{self.says}"

    @property
    def text(self) -> str:
        """The page's text; "" of what is none."""
        return self.content.decode() if self.kind == ".txt" else ""

    @property
    def cards(self) -> game.Table | None:
        """A played game as the table of its cards; None of what is none."""
        return game.cards(self.text) if self.kind == ".txt" else None

    @property
    def size(self) -> tuple[int, int]:
        """A picture's own width and height in pixels, as its head tells them."""
        gif = self.kind == ".gif"
        width, height = (self.content[6:8], self.content[8:10]) if gif else (self.content[16:20], self.content[20:24])
        order: Literal["little", "big"] = "little" if gif else "big"
        return int.from_bytes(width, order), int.from_bytes(height, order)

    @property
    def wide(self) -> bool:
        """Whether a picture is wider than a chart: one to be read in its own pixels."""
        return self.size[0] > WIDTH

    @property
    def width(self) -> int:
        """The pixels to show a picture in: the largest whole multiple of its own that is no wider than a chart."""
        own, _ = self.size
        return own * max(1, WIDTH // own)

    @property
    def address(self) -> str:
        """The picture or sound itself as an address, for a page that needs nothing but itself."""
        medium = "audio" if self.kind == ".wav" else "image"
        return f"data:{medium}/{self.kind[1:]};base64,{base64.b64encode(self.content).decode()}"

    def json(self) -> dict[str, Any]:
        """What report.json says of it."""
        known = {"variant": self.variant, "seed": self.seed, "file": self.file, "problem": self.problem}
        return known | {"sha256": hashlib.sha256(self.content).hexdigest() if self.content else ""}


@dataclass(frozen=True)
class Exhibition:
    """What a chart of files draws: exhibits of one name under a title."""

    title: str
    exhibits: Sequence[Exhibit]


def collect(study: Study, records: Sequence[Record]) -> list[Exhibit]:
    """The files that the study's charts show: each variant's, of its first seed that has the file."""
    found = []
    for variant, file in _selection(study):
        seeds = sorted((r for r in records if r.spec.variant == variant), key=lambda r: r.spec.seed)
        record = next((r for r in seeds if (r.folder / file).is_file()), None)
        if record:
            content, problem = _look(record.folder / file, f"{record.spec.key}/{file}")
            found.append(Exhibit(variant, record.spec.seed, file, content, problem, _says(study)[variant]))
    return found


def restore(study: Study, saved: Sequence[Mapping[str, Any]], folder: Path, remedy: str) -> list[Exhibit]:
    """The exhibits of a report that was written in `folder`, those that the study's charts still show.

    Raises Problem, ending in `remedy`, where a file is absent or another than was written.
    """
    selection, found = _selection(study), []
    for entry in saved:
        if (entry["variant"], entry["file"]) not in selection:
            continue
        says = _says(study)[entry["variant"]]
        bare = Exhibit(entry["variant"], entry["seed"], entry["file"], b"", entry["problem"], says)
        path = folder / bare.path
        content = path.read_bytes() if path.is_file() and not bare.problem else b""
        exhibit = Exhibit(bare.variant, bare.seed, bare.file, content, bare.problem, says)
        if exhibit.json() != entry:
            raise Problem(f"{path} is not there as the report was written; {remedy}")
        found.append(exhibit)
    return found


def _selection(study: Study) -> list[tuple[str, str]]:
    """(variant, file) of each file of the runs that a chart of the study shows."""
    names = [variant.name for variant in study.variants]
    pairs = [(name, c.file) for c in study.charts if c.file for name in names if name in (c.variants or names)]
    return list(dict.fromkeys(pairs))


def _says(study: Study) -> dict[str, str]:
    return {variant.name: variant.says for variant in study.variants}


def _look(path: Path, name: str) -> tuple[bytes, str]:
    """The file's bytes and ""; or no bytes, and why it cannot be shown."""
    size, most = path.stat().st_size, MOST[path.suffix]
    if size > most:
        return b"", f"{name} has {size:,} bytes, but a report shows files of at most {most:,}; save a smaller one"
    content = path.read_bytes()
    problem = CHECKS[path.suffix](content)
    return (b"", f"{name} {problem}") if problem else (content, "")


def _text_problem(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError:
        return "is no text in UTF-8; save it as that"
    return ""


def _picture_problem(content: bytes, suffix: str) -> str:
    from PIL import Image

    kind = suffix[1:].upper()
    if not content.startswith(SIGNATURES[suffix]):
        return f"is no {kind} file; save it as one"
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as picture:
            for frame in range(getattr(picture, "n_frames", 1)):
                picture.seek(frame)
                picture.load()
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):  # of damaged files
        return "is damaged; delete the run's folder and run it again"
    return ""


def _sound_problem(content: bytes) -> str:
    try:
        with wave.open(io.BytesIO(content)) as sound:
            frames = sound.getnframes()
            size = frames * sound.getnchannels() * sound.getsampwidth()
            whole = size == len(sound.readframes(frames))
    except (wave.Error, EOFError, struct.error):
        return "is no WAV file of plain samples (PCM), or is damaged; save it by etudes.exhibits.sound"
    if not whole:
        return "holds fewer samples than it says; delete the run's folder and run it again"
    return "" if size else "holds no samples; save some"


CHECKS = {
    ".png": lambda content: _picture_problem(content, ".png"),
    ".gif": lambda content: _picture_problem(content, ".gif"),
    ".txt": _text_problem,
    ".wav": _sound_problem,
}
