"""What is kept of lines of text: their words, their meaning by rules, their style."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from etudes.measure.translation import bleu
from etudes.measure.writing import marks

NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|nowhere|neither|nor|cannot|without|non)\b|n't\b|\bunable\b"
)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*|\b(?:two|three|four|five|six|seven|eight|nine|ten|twenty|hundred|thousand)\b")
# The commonest words of English that have no content of their own, by which authors are told apart (Mosteller and
# Wallace 1964, Inference and Disputed Authorship, table 2.5); without negations, which are measured apart.
_COMMON = """
a all also an and any are as at be been but by can do down even every for from had has have her his if in into is it its
may more must my now of on one only or our should so some such than that the their then there things this to up upon was
were what when which who will with would your you i he she they we me him them
"""
FUNCTION_WORDS = frozenset(_COMMON.split())
GRAM = 3  # characters


def tokens(text: str) -> list[str]:
    """The text's words, numbers and marks in small letters."""
    return marks(text.lower())


def overlap(ours: str, theirs: str) -> float:
    """The F1 of the words of two texts as bags, in [0, 1]: 2 shared / (words of both); 1 where neither has any."""
    a, b = Counter(tokens(ours)), Counter(tokens(theirs))
    return 2 * (a & b).total() / (a.total() + b.total()) if a or b else 1.0


def is_negated(text: str) -> bool:
    """Whether the text holds a word of negation, by `NEGATION`: a rule, which knows nothing of scope or irony.

    >>> [is_negated(text) for text in ("I don't know.", "Nothing is lost", "a knot")]
    [True, True, False]
    """
    return bool(NEGATION.search(text.lower().replace("’", "'")))


def number_words(text: str) -> Counter[str]:
    """The text's numbers, in digits or among the commonest words for them."""
    return Counter(NUMBER.findall(text.lower()))


def style_distances(ours: Sequence[str], theirs: Sequence[str]) -> tuple[float, float]:
    """How far the writing of two sets of texts is from each other, in [0, 1], 0 for none: by how often each function
    word occurs among all words, and by how often each run of three characters does.

    Each is the total variation distance of two distributions, half the sum of their absolute differences. All words
    that are no function words count as one.
    """
    return _variation(*map(_function_words, (ours, theirs))), _variation(*map(_grams, (ours, theirs)))


def _function_words(texts: Sequence[str]) -> Counter[str]:
    return Counter(word if word in FUNCTION_WORDS else "" for text in texts for word in tokens(text))


def _grams(texts: Sequence[str]) -> Counter[str]:
    return Counter(text[i : i + GRAM] for text in texts for i in range(len(text) - GRAM + 1))


def _variation(a: Counter[str], b: Counter[str]) -> float:
    if not a or not b:
        return float(bool(a) != bool(b))
    return sum(abs(a[key] / a.total() - b[key] / b.total()) for key in a.keys() | b.keys()) / 2


def share(flags: Sequence[bool]) -> float:
    """The share that is true; 0 of nothing."""
    return sum(flags) / max(1, len(flags))


def text_metrics(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, float]:
    """What reconstructions keep of the lines: see the study's `words` and card for each number."""
    pairs = list(zip(ours, theirs, strict=True))
    by_function, by_grams = style_distances(ours, theirs)
    negated = [is_negated(a) for a, b in pairs if is_negated(b)]
    plain = [is_negated(a) for a, b in pairs if not is_negated(b)]
    numbered = [number_words(a) != number_words(b) for a, b in pairs if number_words(b)]
    return {
        "exact": share([a == b for a, b in pairs]),
        "f1": float(np.mean([overlap(a, b) for a, b in pairs])),
        "bleu": bleu([" ".join(tokens(a)) for a in ours], [" ".join(tokens(b)) for b in theirs]),
        "negation-lost": 1 - share(negated) if negated else 0.0,
        "negation-added": share(plain),
        "numbers-changed": share(numbered),
        "function-words": by_function,
        "trigrams": by_grams,
    }
