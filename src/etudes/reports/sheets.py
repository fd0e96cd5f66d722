"""The pictures and texts that runs left in their folders, such as samples, as a report keeps and shows them."""

import base64
import hashlib
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.spec import Study

from .look import WIDTH

MOST = {".png": 300_000, ".gif": 300_000, ".txt": 20_000}  # bytes: a report holds a file twice and must stay small
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".gif": b"GIF8"}


@dataclass(frozen=True)
class Picture:
    """A PNG or GIF, or a page of text, that the run of one variant and seed left; or the problem that keeps it from
    being shown."""

    variant: str
    seed: int
    file: str
    content: bytes = field(repr=False)
    problem: str = ""
    says: str = ""  # the variant's own words

    @property
    def path(self) -> Path:
        """Where it stands in the report's folder: no variant has a dot, so no two files share a name."""
        return Path("texts" if self.file.endswith(".txt") else "pictures", f"{self.variant}.{self.file}")

    @property
    def caption(self) -> str:
        return f"{self.variant}, seed {self.seed}{': ' if self.says else ''}{self.says}"

    @property
    def text(self) -> str:
        """The page's text; "" of a picture."""
        return self.content.decode() if self.file.endswith(".txt") else ""

    @property
    def size(self) -> tuple[int, int]:
        """A picture's own width and height in pixels, as its head tells them."""
        gif = self.file.endswith(".gif")
        width, height = (self.content[6:8], self.content[8:10]) if gif else (self.content[16:20], self.content[20:24])
        order: Literal["little", "big"] = "little" if gif else "big"
        return int.from_bytes(width, order), int.from_bytes(height, order)

    @property
    def width(self) -> int:
        """The pixels to show a picture in: the largest whole multiple of its own that is no wider than a chart."""
        own, _ = self.size
        return own * max(1, WIDTH // own)

    @property
    def address(self) -> str:
        """The picture itself as an address, for a page that needs nothing but itself."""
        return f"data:image/{Path(self.file).suffix[1:]};base64,{base64.b64encode(self.content).decode()}"

    def json(self) -> dict[str, Any]:
        """What report.json says of it."""
        known = {"variant": self.variant, "seed": self.seed, "file": self.file, "problem": self.problem}
        return known | {"sha256": hashlib.sha256(self.content).hexdigest() if self.content else ""}


@dataclass(frozen=True)
class Sheet:
    """What a chart of pictures, or of texts, draws."""

    title: str
    pictures: Sequence[Picture]

    def _repr_html_(self) -> str:
        from .render import sheet

        return sheet(self)


def collect(study: Study, records: Sequence[Record]) -> list[Picture]:
    """The pictures that the study's charts show: each variant's, of its first seed that has the file."""
    found = []
    for variant, file in _wanted(study):
        seeds = sorted((r for r in records if r.spec.variant == variant), key=lambda r: r.spec.seed)
        record = next((r for r in seeds if (r.folder / file).is_file()), None)
        if record:
            content, problem = _look(record.folder / file, f"{record.spec.key}/{file}")
            found.append(Picture(variant, record.spec.seed, file, content, problem, _says(study)[variant]))
    return found


def restore(study: Study, saved: Sequence[Mapping[str, Any]], folder: Path, remedy: str) -> list[Picture]:
    """The pictures of a report that was written in `folder`, those that the study's charts still show.

    Raises Problem, ending in `remedy`, where a file is absent or another than was written.
    """
    wanted, found = _wanted(study), []
    for entry in saved:
        if (entry["variant"], entry["file"]) not in wanted:
            continue
        says = _says(study)[entry["variant"]]
        bare = Picture(entry["variant"], entry["seed"], entry["file"], b"", entry["problem"], says)
        path = folder / bare.path
        content = path.read_bytes() if path.is_file() and not bare.problem else b""
        picture = Picture(bare.variant, bare.seed, bare.file, content, bare.problem, says)
        if picture.json() != entry:
            raise Problem(f"{path} is not there as the report was written; {remedy}")
        found.append(picture)
    return found


def _wanted(study: Study) -> list[tuple[str, str]]:
    """(variant, file) of each picture or text that a chart of the study shows."""
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
    problem = _no_text(content) if path.suffix == ".txt" else _no_picture(content, path.suffix)
    return (b"", f"{name} {problem}") if problem else (content, "")


def _no_text(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError:
        return "is no text in UTF-8; save it as that"
    return ""


def _no_picture(content: bytes, suffix: str) -> str:
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
