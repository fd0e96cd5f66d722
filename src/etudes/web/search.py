"""The words of the studies, and which of them have what is asked for.

The gallery searches in the browser (static/site.js) as the server does here, over the same index.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

Index = Mapping[str, Sequence[Sequence[int]]]
WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
NUMBER = re.compile(r"\d{1,3}|\d{5,}")  # that nobody looks for, as years are looked for
MAIN, MORE = 2, 1  # what a word is worth in the main part of a text, and what in the rest


def words(text: str) -> list[str]:
    """The words of a text in lower case, without accents; a compound is one word, so that "U-Net" is "unet"."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return [word.replace("-", "") for word in WORD.findall(plain)]


def index(texts: Sequence[tuple[str, str]]) -> dict[str, list[list[int]]]:
    """{word: [the texts that have it in their main part, those that have it in the rest alone]}, by their places.

    The parts of a compound are words too.
    """
    found: dict[str, list[list[int]]] = {}
    for place, parts in enumerate(texts):
        main, more = ({*words(part), *words(part.replace("-", " "))} for part in parts)
        for which, kept in enumerate((main, more - main)):
            for word in kept:
                if not NUMBER.fullmatch(word):
                    found.setdefault(word, [[], []])[which].append(place)
    return dict(sorted(found.items()))


def find(among: Index, asked: str, count: int) -> list[int]:
    """The places of those of `count` texts that have, for each word asked for, one that begins so; the best first."""
    scores = dict.fromkeys(range(count), 0)
    for wanted in words(asked):
        worth: dict[int, int] = {}
        for word, (main, more) in among.items():
            if word.startswith(wanted):
                worth = dict.fromkeys(more, MORE) | worth | dict.fromkeys(main, MAIN)
        scores = {place: score + worth[place] for place, score in scores.items() if place in worth}
    return sorted(scores, key=lambda place: -scores[place])


def script(among: Index) -> str:
    """The index as a script: a page that is opened from a disk may load one, and fetch nothing."""
    return f"const INDEX = {json.dumps(among, separators=(',', ':'))};\n"
