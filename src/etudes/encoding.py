"""Letters for a terminal that has not all of them, such as one without UTF-8: the nearest ones, never an error."""

import codecs
import unicodedata
from typing import TextIO

NEAREST = {
    "−": "-", "–": "-", "—": "-", "±": "+-", "∞": "inf", "×": "x", "·": "-", "…": "...", "→": "->", "≤": "<=",
    "≥": ">=", "“": '"', "”": '"', "‘": "'", "’": "'", "œ": "oe", "Œ": "OE", "ß": "ss",
}  # fmt: skip


def nearest(letter: str) -> str:
    """ASCII for one letter: the minus sign as "-", "é" as "e", and what has nothing near it as "?"."""
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return NEAREST.get(letter) or bare or "?"


def settle(*streams: TextIO) -> None:
    """Let the streams that are not in UTF-8 write the nearest letters where theirs lack some."""
    codecs.register_error("nearest", _replace)
    for stream in streams:
        if (stream.encoding or "").lower().replace("-", "") != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nearest")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(nearest, error.object[error.start : error.end])), error.end
