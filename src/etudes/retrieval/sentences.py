"""Texts cut into what can be quoted: sentences, items of lists, rows of tables; and what is but a heading."""

import re

MOST = 400  # characters of a piece: what has no sentences is cut at a space, or anywhere
NARROW = 60  # characters of a line that is short whatever the others are
FULL = 0.8  # of the longest line: what a line with no room for the next word has at least
_STOP = re.compile(r"[.!?…。！？]+[\"”’»)\]]*(?=\s)(?!\s+[a-zà-ÿ])|[。！？]")
_SHORT = re.compile(r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|M|MM|Mme|No|e\.g|i\.e|etc|approx|p|pp|cf|fig|vol)\.$")
_ITEM = re.compile(r"[ \t]*(?:[-*•–]|\d{1,2}[.)])[ \t]+")

Span = tuple[int, int]


def sentences(text: str) -> list[Span]:
    """Where the sentences, items and rows of a text stand, in order: at most MOST characters each, none empty."""
    found: list[Span] = []
    for a, b in _lines(text):
        start = a + (mark.end() if (mark := _ITEM.match(text[a:b])) else 0)
        for stop in _STOP.finditer(text, start, b):
            if not _SHORT.search(text[max(a, stop.end() - 8) : stop.end()]):
                found.append((start, stop.end()))
                start = stop.end()
        found.append((start, b))
    trimmed = [(a + len(text[a:b]) - len(text[a:b].lstrip()), a + len(text[a:b].rstrip())) for a, b in found]
    return [piece for a, b in trimmed if a < b for piece in _pieces(text, a, b)]


def is_heading(text: str) -> bool:
    """Whether a piece is but a title, or a table's head: a few words that no mark or number makes a statement."""
    return len(text.split()) <= 12 and not re.search(r"[.!?;:…。]|\d", text)


def _lines(text: str) -> list[Span]:
    """The text's parts between empty lines, before items, and between lines that ended before they were full."""
    ends = [match.start() for match in re.finditer("\n", text)] + [len(text)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    full = max([NARROW, *(b - a for a, b in zip(starts, ends, strict=True) if b - a <= 120)])
    found, begin = [], 0
    for (a, b), (c, d) in zip(zip(starts, ends, strict=True), zip(starts[1:], ends[1:], strict=True), strict=False):
        after = text[c:d]
        word = len(after.split(maxsplit=1)[0]) if after.strip() else 0
        if not word or not text[a:b].strip() or _ITEM.match(after) or b - a + 1 + word <= FULL * full:
            found.append((begin, b))
            begin = c
    return [*found, (begin, len(text))]


def _pieces(text: str, a: int, b: int) -> list[Span]:
    found = []
    while b - a > MOST:
        cut = text.rfind(" ", a + MOST // 2, a + MOST)
        cut = cut if cut > 0 else a + MOST
        found.append((a, cut))
        a = cut + 1 if text[cut] == " " else cut
    return [*found, (a, b)]
