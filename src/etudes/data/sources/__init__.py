"""Where the bytes of datasets come from: which there are (`declared`), and who serves one here (`reach`)."""

from etudes.data.sources.declared import SOURCES
from etudes.data.sources.reach import (
    admitted,
    cache_folder,
    copy,
    decoded,
    find,
    hub_answers,
    mirror_folder,
    offline,
    originals_folder,
    possible,
    quiet,
    reachable,
    read_hub,
    read_mirror,
    served,
    unreachable,
)
from etudes.data.sources.source import Source

__all__ = [
    "SOURCES",
    "Source",
    "admitted",
    "cache_folder",
    "copy",
    "decoded",
    "find",
    "hub_answers",
    "mirror_folder",
    "offline",
    "originals_folder",
    "possible",
    "quiet",
    "reachable",
    "read_hub",
    "read_mirror",
    "served",
    "unreachable",
]
