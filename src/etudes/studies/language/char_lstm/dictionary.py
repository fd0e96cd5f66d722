"""The words that a dictionary of English knows, whatever the text that is learnt from."""

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.measure.writing import words

# SCOWL (Atkinson), free to use and to pass on: with inflected forms, genitives, old words and common names.
CARRIER = Carrier(
    registry="debian",
    package="wbritish-large",
    version="2020.12.07-2",
    path="usr/share/dict/british-english-large",
    sha256="02f04d6521570c597c9a23f9c661d298892b325ae052e9c500eb85bcc35da6b5",
)


def english() -> frozenset[str]:
    """The dictionary's words of two letters or more, in small letters. Raises Problem where it cannot be fetched."""
    try:
        path = fetch(CARRIER, cache_folder())
    except Problem as problem:
        raise Problem(
            f"the dictionary cannot be had: {problem}. Run once where apt-get can download Debian's packages, or take "
            "--no-dictionary, by which the training text's own words stand in"
        ) from None
    return frozenset(word for line in path.read_text(encoding="utf-8").splitlines() for word in words(line))
