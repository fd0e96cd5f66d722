"""Where the bytes of datasets come from: which there are (`declared`), and who serves one here (`reach`)."""

from etudes.data.sources.declared import SOURCES
from etudes.data.sources.reach import (
    cache_folder,
    copy_path,
    decoded_copies,
    find,
    has_access,
    hub_answers,
    mirror_folder,
    offline,
    originals_folder,
    possible,
    quiet,
    reachable,
    read_first,
    read_hub,
    read_mirror,
    unreachable,
)
from etudes.data.sources.source import Source

__all__ = [
    "SOURCES",
    "Source",
    "cache_folder",
    "copy_path",
    "decoded_copies",
    "find",
    "has_access",
    "hub_answers",
    "mirror_folder",
    "offline",
    "originals_folder",
    "possible",
    "quiet",
    "reachable",
    "read_first",
    "read_hub",
    "read_mirror",
    "unreachable",
]
