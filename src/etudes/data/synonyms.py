"""Words replaced by synonyms of WordNet, as in EDA: Wei and Zou 2019, arXiv:1901.11196, sec. 2."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.data.words import bare, pieces

CARRIER = Carrier(
    registry="debian",
    package="wordnet-base",
    version="1:3.0-37",
    path="usr/share/wordnet",
    sha256="acb8fd90db731b02638e8cd707ddfc83f21020652b0beac8116ad604cdc5a349",
)
# Words of the closed classes, which a text turns on more than on any other: they are never replaced.
_STOP = (
    # pronouns and determiners
    "a an the this that these those each every either neither some any no none all both few more most much many other "
    "another such own same i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his "
    "himself she her hers herself it its itself they them their theirs themselves thou thee thy thine thyself ye one "
    "who whom whose which what when where why how "
    # auxiliaries
    "be am is are was were been being art wast wert have has had having hast hath hadst do does did doing done dost "
    "doth didst will would shall should can could may might must ought wilt shalt canst couldst wouldst shouldst mayst "
    # conjunctions, prepositions and particles
    "and but or nor if because as until while though although unless lest than so yet whether of at by for with about "
    "against between among into through during before after above below to from up down in out on off over under again "
    "upon within without toward towards beneath beside beyond near till since then once here there not only very too "
    "just now ever never also even still o oh"
)
STOP = frozenset(_STOP.split())
FORMS = {  # endings of inflected words, and what a base form has in their place: morphy(7WN)
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}

Thesaurus = Mapping[str, Sequence[str]]  # a word in lower case -> what may stand in its place


def wordnet() -> "WordNet":
    """WordNet 3.0 of Debian's package. Raises Problem where it cannot be fetched."""
    try:
        return WordNet(fetch(CARRIER, cache_folder()))
    except Problem as problem:
        raise Problem(
            f"WordNet cannot be had: {problem}. Run once where apt-get can download Debian's packages, or leave out "
            "the variants that need it (--variants)"
        ) from None


class WordNet:
    """The synonyms in a folder of WordNet's own files, described in wndb(5WN). Raises Problem where they are not so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._index = {kind: self._senses(kind) for kind in FORMS}
            self._irregular = {kind: self._exceptions(kind) for kind in FORMS}
            self._data = {kind: (folder / f"data.{kind}").read_bytes() for kind in FORMS}
        except (OSError, ValueError, IndexError):
            raise Problem(f"{folder} holds no whole WordNet; delete it, and it is fetched again") from None

    def synonyms(self, word: str) -> list[str]:
        """All other words, in order, of all the sets of synonyms that the word in lower case, or a base form of it, is
        in: words of any sense and part of speech, not inflected as it is, some of them several words."""
        found = {
            other.replace("_", " ").replace("-", " ").lower()
            for kind, index in self._index.items()
            for form in self._bases(word, kind)
            for offset in index[form]
            for other in self._set(kind, offset)
        }
        return sorted(found - {word})

    def _bases(self, word: str, kind: str) -> list[str]:
        """The word and its base forms, those that the index of this part of speech has."""
        forms = self._irregular[kind].get(word)
        if forms is None:
            rules = [rule.split(":") for rule in FORMS[kind].split()]
            forms = [word.removesuffix(end) + put for end, put in rules if word.endswith(end)]
        return [form for form in dict.fromkeys([word, *forms]) if form in self._index[kind]]

    def _set(self, kind: str, offset: int) -> list[str]:
        data = self._data[kind]
        fields = data[offset : data.index(b"\n", offset)].decode().split()
        if fields[0] != f"{offset:08}":
            raise Problem(
                f"{self.folder} has no set of synonyms at {offset} of data.{kind}; delete it to fetch it again"
            )
        # An adjective may say where it stands: "galore(ip)"
        return [re.sub(r"\(\w+\)$", "", word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]

    def _senses(self, kind: str) -> dict[str, list[int]]:
        """{word: offsets of its sets in the data file}. The lines of the licence begin with a space."""
        lines = (self.folder / f"index.{kind}").read_text(encoding="utf-8").splitlines()
        fields = (line.split() for line in lines if not line.startswith(" "))
        return {f[0]: [int(offset) for offset in f[-int(f[2]) :]] for f in fields}

    def _exceptions(self, kind: str) -> dict[str, list[str]]:
        lines = (self.folder / f"{kind}.exc").read_text(encoding="utf-8").splitlines()
        return {word: forms for word, *forms in map(str.split, lines)}


def thesaurus(source: WordNet, words: Iterable[str]) -> dict[str, list[str]]:
    """{word: its synonyms among the words} of those, in lower case, that have some and are no stop words."""
    known = set(words)
    found = {word: [s for s in source.synonyms(word) if s in known] for word in sorted(known - STOP)}
    return {word: synonyms for word, synonyms in found.items() if synonyms}


def with_synonyms(line: str, share: float, synonyms: Thesaurus, rng: np.random.Generator) -> str:
    """The line with about `share` of its words replaced, at least one where one can be: n = max(1, share * words).

    n different words that have synonyms are drawn, and each gives way to one of them, drawn too, wherever it stands in
    the line (sec. 2, and the authors' code). A capital stays one.
    """
    parts = pieces(line)
    words = [bare(part) for part in parts]
    able = sorted({word for word in words if word in synonyms})
    count = max(1, int(share * sum(word[0].isalpha() for word in words)))
    chosen = [able[i] for i in rng.permutation(len(able))[:count]]
    put = {word: synonyms[word][int(rng.integers(len(synonyms[word])))] for word in chosen}
    return "".join(_as(part, put[word]) if word in put else part for part, word in zip(parts, words, strict=True))


def _as(piece: str, word: str) -> str:
    """The word with the piece's space and capital."""
    letters = piece.lstrip()
    capital = letters[:1].isupper()
    return piece[: len(piece) - len(letters)] + (word[:1].upper() + word[1:] if capital else word)
