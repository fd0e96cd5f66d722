"""How words are written: what makes two spellings one word."""

import functools
import re
import unicodedata

LONG = 5  # letters from which a wrong letter is a misspelling and not another word
STRETCHED = re.compile(r"([^\W\d_])\1\1")
# Ways to write one sound, applied in this order to words without accents.
_SPELLINGS = (
    (r"([^\W\d_])\1+", r"\1"),
    (r"ph", "f"),
    (r"([grt])h(?=.)", r"\1"),
    (r"qu?|c?k|ch", "k"),
    (r"c(?=[eiy])", "s"),
    (r"c", "k"),
    (r"[ae]y$", "ei"),
    (r"y", "i"),
    (r"z", "s"),
    (r"[ao]e", "e"),
    (r"our$", "or"),
    (r"(?<=[^aeiou])re$", "er"),
    (r"(?<=...)(ie|ue|e|i)$", ""),
)
SPELLINGS = tuple((re.compile(pattern), put) for pattern, put in _SPELLINGS)


@functools.lru_cache(maxsize=100_000)
def normal_form(word: str) -> str:
    """The word's letters and digits in lower case, without accents, hyphens and dots; of a sign the sign itself."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if letter.isalnum()) or word.strip()


@functools.lru_cache(maxsize=100_000)
def skeleton(word: str) -> str:
    """What the spellings of one word have in common: "filosof" of "Philosophy" and of "Filosofie", "kolor" of "color"
    and of "colour". Other words may have it too: it proves nothing of two words that a dictionary has."""
    found = normal_form(word)
    for pattern, put in SPELLINGS:
        found = pattern.sub(put, found)
    return found


def is_stretched(word: str) -> bool:
    """Whether some letter stands three or more times in a row, as in "riiing": how sounds are written."""
    return bool(STRETCHED.search(normal_form(word)))


def one_edit(a: str, b: str) -> bool:
    """Whether one insertion, deletion, replacement or exchange of neighbours makes b of a."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[at:] == b[at + 1 :] and len(b) - len(a) == 1
    return a[at + 1 :] == b[at + 1 :] or (a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :])


def variants(one: str, other: str) -> bool:
    """Whether one may be another spelling of the other: one skeleton, or a letter too many, too few, wrong or two
    exchanged, in words of five letters or more. Numbers are only ever themselves."""
    a, b = normal_form(one), normal_form(other)
    if any(letter.isdigit() for letter in a + b):
        return a == b
    return skeleton(one) == skeleton(other) or (min(len(a), len(b)) >= LONG and one_edit(a, b))
