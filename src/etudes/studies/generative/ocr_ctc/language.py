"""A model of letters, by which a beam chooses between texts that the frames find alike."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


class Letters:
    """How probable a class is after those before it, by counts of n-grams of a training text.

    Orders are interpolated by Witten and Bell's rule, as in `etudes.measure.ngrams`, down to the uniform distribution.
    A beginning of a text is a class of its own, 0, that nothing else has.
    """

    def __init__(self, texts: Iterable[Sequence[int]], classes: int, order: int = 5) -> None:
        self.classes, self.order = classes, order
        self.counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            padded = (0, *text)
            for i in range(1, len(padded)):
                for n in range(min(order, i + 1)):
                    self.counts[padded[i - n : i]][padded[i]] += 1
        self._totals = {context: (counts.total(), len(counts)) for context, counts in self.counts.items()}
        self._kept: dict[tuple[tuple[int, ...], int], float] = {}

    def probability(self, before: tuple[int, ...], c: int) -> float:
        """Of class c after all of `before`, a text from its beginning."""
        context = (0, *before)[-(self.order - 1) :] if self.order > 1 else ()
        key = (context, c)
        if key not in self._kept:
            found = 1 / self.classes
            for n in range(len(context) + 1):
                seen = context[len(context) - n :]
                if seen not in self._totals:
                    break
                total, different = self._totals[seen]
                found = (self.counts[seen][c] + different * found) / (total + different)
            self._kept[key] = found
        return self._kept[key]

    def __call__(self, before: tuple[int, ...], c: int) -> float:
        return math.log(self.probability(before, c))
