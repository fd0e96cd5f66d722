"""The datasets, each declared once, in the file of its kind.

A revision is a commit of the hub's repository. Sets without one stand under their name in mirrors alone.
"""

from etudes.data.sources.declared import (
    captioned,
    dialects,
    domains,
    graphs,
    labels,
    masks,
    names,
    pictures,
    questions,
    sentences,
    sounds,
    tables,
    texts,
)
from etudes.data.sources.source import Source

KINDS = (
    pictures,
    domains,
    masks,
    texts,
    sentences,
    names,
    tables,
    labels,
    questions,
    sounds,
    graphs,
    dialects,
    captioned,
)
SOURCES: dict[str, Source] = {source.name: source for kind in KINDS for source in kind.DECLARED}
