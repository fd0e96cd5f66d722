"""The words that a game is played with: English nouns and clues by a written-down rule, or a made-up language.

The lists are not those of any printed game.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from etudes.data.synonyms import STOP
from etudes.data.words import glove
from etudes.games.just_one import Language
from etudes.games.lexicon import Lexicon, english

THINGS = {  # lexnames(5WN) of what can be pointed at, eaten, or met
    "05": "animal",
    "06": "artifact",
    "08": "body",
    "13": "food",
    "17": "object",
    "18": "person",
    "19": "phenomenon",
    "20": "plant",
    "27": "substance",
}
NOUNS, VOCABULARY = 700, 4_000


@dataclass(frozen=True)
class WordList:
    """The words to guess, in two parts that share no family, the words that clues are taken from, and their language.

    What is chosen is chosen on the validation nouns.
    """

    validation: tuple[str, ...]
    test: tuple[str, ...]
    vocabulary: tuple[str, ...]
    language: Language
    vectors: dict[str, np.ndarray] = field(repr=False, compare=False)  # of GloVe, or the meanings of made-up words

    @functools.cached_property
    def nouns(self) -> tuple[str, ...]:
        """All words to guess, in alphabetical order: what a guesser chooses among."""
        return tuple(sorted(self.validation + self.test))

    def source(self) -> dict[str, str]:
        """What a run notes of its data."""
        made_up = isinstance(self.language, MadeUp)
        text = "\n".join([*self.validation, "", *self.test, "", *self.vocabulary])
        return {
            "dataset": f"{len(self.nouns)} {'made-up words' if made_up else 'English nouns'}",
            "kind": "embedded" if made_up else "carrier",
            "says": "made up by rule" if made_up else "of WordNet, GloVe and CMUdict, by rule",
            "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
        }


def split(nouns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(validation, test): every third noun is one to choose on."""
    return tuple(nouns[::3]), tuple(noun for i, noun in enumerate(nouns) if i % 3)


@functools.cache
def english_words() -> WordList:
    """700 nouns and a vocabulary of 4,000, most frequent first. Raises Problem where a source cannot be had."""
    lexicon = english()
    single = {word for kind in ("noun", "verb", "adj") for word in lexicon.entries(kind)}
    vectors = glove(word for word in single if word.isalpha() and word.isascii() and len(word) > 2)
    known = [word for word in vectors if word not in STOP]  # GloVe's order is that of frequency
    return WordList(*split(nouns(lexicon, known, NOUNS)), tuple(known[:VOCABULARY]), lexicon, vectors)


def nouns(lexicon: Lexicon, ordered: Sequence[str], count: int) -> list[str]:
    """The first `count` of the ordered words, of 3 to 10 letters, whose first sense is a thing, that have most senses
    as a noun, are not inflected, and are related to none before them."""
    found: list[str] = []
    families: set[str] = set()
    for word in ordered:
        fits = 3 <= len(word) <= 10 and lexicon.category(word) in THINGS and lexicon.mainly_noun(word)
        if fits and lexicon.bases(word) == {word} and not lexicon.family(word) & families:
            families |= lexicon.family(word)
            found.append(word)
        if len(found) == count:
            break
    return found


class MadeUp:
    """A language of made-up words, each of which may end in an s."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = frozenset(words)

    def knows(self, word: str) -> bool:
        return word.removesuffix("s") in self.words

    def names(self, word: str) -> bool:
        return False

    def joins(self, whole: str, part: str) -> bool:
        return whole != part and part in whole

    def family(self, word: str) -> frozenset[str]:
        return frozenset({word.removesuffix("s")})

    def homophones(self, one: str, other: str) -> bool:
        return False


@functools.cache
def made_up_words(nouns: int = 60, vocabulary: int = 200, width: int = 12) -> WordList:
    """Words of two or three syllables with normal vectors as meanings; always the same."""
    rng = np.random.default_rng(0)
    syllables = [c + v for c in "bdfgklmnprt" for v in "aeiou"]
    words: list[str] = []
    while len(words) < nouns + vocabulary:
        word = "".join(rng.choice(syllables, size=int(rng.integers(2, 4))))
        if not any(word in other or other in word for other in words):
            words.append(word)
    vectors = {word: rng.normal(size=width).astype(np.float32) for word in words}
    return WordList(*split(words[:nouns]), tuple(words[nouns:]), MadeUp(words), vectors)


def word_list(language: str) -> WordList:
    """The words of "english" or of the language "made-up"."""
    return made_up_words() if language == "made-up" else english_words()
