"""Documents cut into chunks that an embedder takes whole, each an exact slice of its document."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from etudes.core.errors import Problem
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import Embedder, Span

LONGEST = 32  # characters that may go uncut: a token may be a whole line where a script has no spaces


@dataclass(frozen=True)
class Chunk:
    """A slice of a document: document.text[start:end] == text."""

    document: str
    start: int
    end: int
    text: str
    page: int = 0  # counted from 1; 0 where there are no pages


def cut_chunks(document: Document, embedder: Embedder, size: int, overlap: int) -> list[Chunk]:
    """The document's chunks, in order, at most `size` tokens each, neighbours sharing about `overlap`.

    Raises Problem for sizes that the embedder does not take.
    """
    spans = slices(document.text, embedder, size, overlap)
    return [Chunk(document.name, a, b, document.text[a:b], document.page(a)) for a, b in spans]


def slices(text: str, embedder: Embedder, size: int, overlap: int) -> list[Span]:
    """Where the chunks of a text begin and end: together they cover it, none begins after the end of the one before.

    A chunk ends where a paragraph does, else a sentence, else a word, if one does in its second half. `size` counts
    special tokens too, as the embedder's limit does.
    """
    room = min(size, embedder.limit) - embedder.count("")
    if size > embedder.limit:
        raise Problem(f"chunks of {size} tokens are more than the {embedder.limit} that {embedder.name} takes")
    if room < 4 or not 0 <= overlap <= room // 2:
        raise Problem(
            f"chunks of {size} tokens cannot overlap by {overlap}; take 8 or more tokens, and overlap at most half"
        )
    starts = sorted({start for start, _ in embedder.spans(text)})
    if not starts:
        return [(0, len(text))] if text else []
    edges = [0, *starts[1:], len(text)]  # what stands between two tokens goes with the first
    edges = [*(i for a, b in itertools.pairwise(edges) for i in range(a, b, LONGEST)), len(text)]
    strength = [_strength(text, edge) for edge in edges]
    found, a, b = [], 0, 0
    while True:
        past, b = b, _end(a, b, room, strength)
        while b > past + 1 and embedder.count(text[edges[a] : edges[b]]) > min(size, embedder.limit):
            b = max(past + 1, b - max(1, (b - a) // 8))  # a slice may fall into more tokens than it did in the whole
        found.append((edges[a], edges[b]))
        if b == len(edges) - 1:
            return found
        later = range(max(a + 1, b - overlap), max(a + 1, b - overlap // 2) + 1)
        a = max(later, key=lambda i: (strength[i], -i)) if overlap else b


def _end(a: int, past: int, room: int, strength: Sequence[int]) -> int:
    """The best edge to end a chunk that begins at edge `a`, beyond the end of the one before."""
    last = len(strength) - 1
    if a + room >= last:
        return last
    return max(range(max(past + 1, a + room // 2), a + room + 1), key=lambda i: (strength[i], i))


def _strength(text: str, edge: int) -> Literal[0, 1, 2, 3]:
    """How good a place to cut is before a character: 3 between paragraphs, 2 between sentences, 1 between words."""
    if edge in (0, len(text)):
        return 3
    k = edge
    while k > 0 and text[k - 1].isspace() and edge - k < 100:
        k -= 1
    gap = text[k:edge]
    if gap.count("\n") > 1:
        return 3
    if gap and (text[k - 1 : k] in ".!?:;…。" or text[k - 2 : k] in ('."', ".)", '?"', "?)", '!"')):
        return 2
    return 1 if gap else 0


def join_chunks(chunks: Iterable[Chunk]) -> str:
    """The document again, of all its chunks in order."""
    text, seen = "", 0
    for chunk in chunks:
        text += chunk.text[seen - chunk.start :]
        seen = chunk.end
    return text
