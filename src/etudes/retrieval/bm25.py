"""BM25: documents ranked by the words that they share with a query.

Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond, eq. 3.15, with
idf = ln(1 + (n - df + 0.5) / (df + 0.5)), which is never negative.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

WORD = re.compile(r"\w+")
# Without them a question's "what", "is" and "the" outweigh its rare words in short texts.
_STOP = (
    "a an and are as at be but by can did do does for from had has have how i if in into is it its me my no not of on "
    "or s so than that the their them then there these they this to was we were what when where which who whom whose "
    "why will with would you your"
)
STOP = frozenset(_STOP.split())


def words(text: str) -> list[str]:
    """The words of a text in lower case, without the commonest and without the plural's and the verb's s."""
    found = (word.lower() for word in WORD.findall(text))
    return [_stem(word) for word in found if word not in STOP]


def _stem(word: str) -> str:
    """The word without an English s, as Harman 1991 takes it away ("S-stemmer")."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")) and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and len(word) > 2:
        return word[:-1]
    return word


class BM25:
    """An inverted index of texts, whose words are what `cut` makes of a text."""

    def __init__(
        self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75, cut: Callable[[str], list[str]] = words
    ) -> None:
        self.count, self._cut = len(texts), cut
        counts = [Counter(cut(text)) for text in texts]
        lengths = np.array([sum(c.values()) for c in counts], np.float64)
        norms = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9)) if len(texts) else lengths
        places: dict[str, list[int]] = defaultdict(list)
        weights: dict[str, list[float]] = defaultdict(list)
        for i, c in enumerate(counts):
            for word, times in c.items():
                places[word].append(i)
                weights[word].append(times * (k1 + 1) / (times + norms[i]))
        self._index = {
            word: (np.array(at), np.array(weights[word]) * math.log(1 + (self.count - len(at) + 0.5) / (len(at) + 0.5)))
            for word, at in places.items()
        }

    def scores(self, query: str) -> np.ndarray:
        """The score of every text, float64 [n]; 0 for those that share no word with the query."""
        found = np.zeros(self.count)
        for word in self._cut(query):
            if word in self._index:
                at, weight = self._index[word]
                found[at] += weight
        return found
