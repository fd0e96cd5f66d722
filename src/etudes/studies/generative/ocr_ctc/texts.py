"""What drawn lines say, and the fonts that they are drawn in."""

from collections.abc import Sequence

import numpy

FONTS = {  # to learn from
    "print": (
        *("sans", "serif", "dejavu", "old-standard", "lato"),
        *("garamond", "inconsolata", "italic", "cantarell", "comfortaa"),
    ),
    "hand": ("breip", "dancing", "delphine", "dkg", "ecolier", "joscelyn", "steve"),
}
UNSEEN = {"print": ("caladea", "open-sans", "quicksand"), "hand": ("femke", "kaushan", "kristi")}  # to test on


def drawn_texts(rng: numpy.random.Generator, sentences: list[str], n: int, most: int) -> list[str]:
    """n pieces of sentences, of whole words and three to `most` letters."""
    found: list[str] = []
    while len(found) < n:
        words = sentences[int(rng.integers(len(sentences)))].split()
        first = int(rng.integers(len(words)))
        piece = words[first]
        for word in words[first + 1 :]:
            if len(piece) + 1 + len(word) > most:
                break
            piece += f" {word}"
        if 3 <= len(piece) <= most:
            found.append(piece)
    return found


def plain_sentences(sentences: Sequence[str]) -> list[str]:
    """Those of the sentences, in small letters and without the mark at their end, that are words of a to z alone."""
    small = (sentence.rstrip(" .!?").lower() for sentence in sentences)
    return [sentence for sentence in small if sentence.isascii() and sentence.replace(" ", "").isalpha()]
