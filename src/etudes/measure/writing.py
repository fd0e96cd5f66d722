"""Generated texts as writing: are the words spelt as words are, how varied is it, does it go round in circles?"""

import re
from collections.abc import Iterable, Sequence

from etudes.core.errors import Problem

# Letters, with apostrophes inside; a hyphen or an underscore divides two words.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
MARK = re.compile(rf"{WORD.pattern}|\d+|[^\w\s]|_")


def words(text: str) -> list[str]:
    """The words of two letters or more, in small letters.

    A word is a run of letters in which apostrophes may stand (o'clock, l'heure); hyphens, underscores and digits divide
    words, so that a new compound of known words is none of its own. Single letters are left out: nearly all of them
    are words somewhere, so they would count as correct however a text was made.
    """
    return [word.casefold().replace("’", "'") for word in WORD.findall(text) if len(word) > 1]


def spelling(texts: Iterable[str], lexicon: frozenset[str]) -> float:
    """The share of the texts' words, in [0, 1], that are in the lexicon; 0 where there is no word.

    A human text has less than 1, as it has words that the lexicon lacks: measure one beside.
    """
    found = [word in lexicon for text in texts for word in words(text)]
    return sum(found) / len(found) if found else 0.0


def marks(text: str) -> list[str]:
    """The text's words, numbers and punctuation marks in their order, without white space."""
    return MARK.findall(text)


def distinct(sequences: Iterable[Sequence[str]], n: int) -> float:
    """The share of different n-grams among all n-grams of the sequences, in [0, 1]; 0 where there is none.

    Distinct-n of Li et al. 2016 (arXiv:1510.03055). It falls with the amount of text: compare equal amounts alone.
    """
    if n < 1:
        raise Problem(f"an n-gram has one part or more, not {n}")
    grams = [tuple(s[i : i + n]) for s in sequences for i in range(len(s) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def circles(sequence: Sequence[str], least: int = 2, times: int = 3) -> bool:
    """Whether the sequence ends in a phrase of `least` parts or more that stands there `times` times in a row.

    So Holtzman et al. 2020 (arXiv:1904.09751, fig. 9) define a repetition: a phrase of minimum length 2 that repeats at
    least three times at the end of the generation. (The script that they published instead takes the phrase with the
    most repeats, and asks for three parts and two times.)
    """
    if least < 1 or times < 2:
        raise Problem(f"a repetition is a phrase of one part or more, twice or more, not {least} and {times}")
    for n in range(least, len(sequence) // times + 1):
        if all(sequence[-1 - i] == sequence[-1 - i - n] for i in range((times - 1) * n)):
            return True
    return False


def repetition(texts: Iterable[str]) -> float:
    """The share of the texts, in [0, 1], that end in `circles` of words and marks.

    What follows a text's last white space is left out: a text of a given length breaks off in the middle of a word.
    Raises Problem where there is no text.
    """
    found = [circles(marks(re.sub(r"\S*\Z", "", text))) for text in texts]
    if not found:
        raise Problem("the share of repetitions needs one text or more")
    return sum(found) / len(found)
