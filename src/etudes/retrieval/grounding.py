"""Whether what a language model says stands in the passages that it was shown: its numbers and its names."""

import re
from collections.abc import Sequence

from etudes.retrieval.sentences import Span, sentences
from etudes.retrieval.terms import plain

_DIGITS = re.compile(r"\d+(?:[.,\u202f' ]\d{3}(?!\d))*(?:[.,:]\d+)?")
_NAME = re.compile(r"[^\W\d_][\w’'-]*")
_OTHER = re.compile(r"[\W_]+")
_COUNTED = (  # each word a step more than the one before; without one, which is an article in many languages
    (2, 1, "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"),
    (18, 1, "eighteen nineteen"),
    (2, 1, "deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit"),
    (20, 10, "twenty thirty forty fifty sixty seventy eighty ninety hundred"),
    (20, 10, "vingt trente quarante cinquante soixante"),
)
_WORDS = {word: k + i * step for k, step, words in _COUNTED for i, word in enumerate(words.split())}
_WORDS |= {"dix-neuf": 19, "twice": 2, "cent": 100, "thousand": 1000, "mille": 1000}


def numbers(text: str) -> set[float]:
    """The numbers of a text, in digits or, in English and French, in words."""
    found: set[float] = set()
    for digits in _DIGITS.findall(text):
        whole = re.sub(r"[.,\u202f' ](?=\d{3}(?!\d))", "", digits)
        found |= {float(part) for part in re.sub(",", ".", whole).split(":")}
    return found | {float(_WORDS[word]) for word in re.findall(r"[\w-]+", plain(text)) if word in _WORDS}


def names(sentence: str) -> set[str]:
    """The words of a sentence that begin with a capital; its first one where another follows at once."""
    found = list(_NAME.finditer(sentence))
    capital = [match[0][0].isupper() and match[0] != "I" for match in found]
    kept = set()
    for k, match in enumerate(found):
        follows = k + 1 < len(found) and capital[k + 1] and sentence[match.end() : found[k + 1].start()] == " "
        if capital[k] and (k > 0 or follows):
            kept.add(match[0])
    return kept


def find_unsupported(said: str, passages: Sequence[str]) -> list[tuple[Span, list[str]]]:
    """The sentences of an answer of which a number or a name stands in no passage, each with what does not."""
    known: set[float] = set().union(*map(numbers, passages))
    text = _spaced(" ".join(passages))
    found = []
    for a, b in sentences(said):
        missing = [f"{number:g}" for number in sorted(numbers(said[a:b]) - known)]
        missing += sorted(name for name in names(said[a:b]) if _spaced(name) not in text)
        if missing:
            found.append(((a, b), missing))
    return found


def _spaced(text: str) -> str:
    """The text's plain words with one space before and behind each."""
    return f" {_OTHER.sub(' ', plain(text)).strip()} "
