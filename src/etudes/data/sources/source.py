"""What is declared of a dataset: what it is, and where it can come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.data.sources.carriers import Carrier


@dataclass(frozen=True)
class Source:
    """One dataset: what it is, and where it can come from."""

    name: str
    # classification, generation, segmentation, domains, handwriting, text, sentences, names, translation, labels,
    # questions, sound, graph, table, packages, dialects, captions or lists (of pictures)
    task: str
    hub: str  # owner/name at the hub and in a mirror; "" where there is none
    revision: str  # of the hub; "" for a set that stands in mirrors alone
    licence: str
    megabytes: float  # to fetch, about
    splits: Mapping[str, int]  # official rows
    columns: tuple[str, ...]
    carrier: Carrier | None = None
    reader: Callable[[Path], Any] | None = None  # of the carrier's file: one of `formats`
    classes: tuple[str, ...] = ()  # their names, where the carrier's file has none
    identity: str = ""  # of faces: the column of whole numbers that tells people apart, in place of classes
    rows: tuple[str, str] = ("", "")  # of a table that holds several sets: the column that tells, and its value here
    side: int = 0  # of pictures of many sizes: their height and width here; 0: the shortest side in the set
    work: str = ""  # of a text: the column that tells its works apart; "": a row is a work
    verses: bool = False  # of a text: a row is a line of one work, which is cut in three
    originals: str = ""  # the name of a folder that holds it as its authors publish it
    embedded: bool = False  # in a package that is installed anyway
    gated: bool = False  # whether the hub asks for accepted terms and a token
    config: str = ""  # of the hub
    says: str = ""  # what whoever reads a result must know
    upstream: str = ""  # for a set of mirrors alone: where a mirror's files come from, and how they were chosen

    @property
    def folder(self) -> str:
        """Its folder in a mirror."""
        return self.hub or self.name
