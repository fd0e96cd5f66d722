"""Texts from the frames of a network trained by CTC: greedy, or by prefix beam search with a language model.

Paper: Connectionist Temporal Classification, Graves, Fernández, Gomez, Schmidhuber 2006. Class 0 is the blank. A path
becomes a text by first joining equal neighbours and then leaving out blanks, so "a_aa" is "aa".
"""

import itertools
import math
from collections.abc import Callable, Sequence

from torch import Tensor

from etudes.core.errors import Problem

BLANK = 0
Extend = Callable[[tuple[int, ...], int], float]  # prefix, next class -> the logarithm of its probability


def collapse(path: Sequence[int]) -> list[int]:
    """The classes of a path, equal neighbours joined before blanks are left out (eq. 4, the map B)."""
    return [c for i, c in enumerate(path) if c != BLANK and (i == 0 or path[i - 1] != c)]


def greedy(logits: Tensor, lengths: Tensor) -> list[list[int]]:
    """The text of the likeliest path of each of logits [n, t, classes], whose first `lengths` [n] frames count."""
    paths = logits.argmax(-1).tolist()
    return [collapse(path[:length]) for path, length in zip(paths, lengths.tolist(), strict=True)]


def beam(
    logits: Tensor,
    width: int,
    extend: Extend | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
    least: float = -math.inf,
) -> list[int]:
    """The likeliest text of logits [t, classes] among `width` prefixes, all paths of a prefix taken together.

    A prefix's score is log p_ctc + weight * log p_lm + bonus * length, with `extend` as the language model (Hannun et
    al. 2014, arXiv:1408.2873, algorithm 1). With a width of all prefixes and no model it is exact. In a frame, classes
    of a log-probability below `least` begin nothing, which saves time. Raises Problem on a width below 1.
    """
    if width < 1:
        raise Problem(f"a beam of {width} prefixes reads nothing; take 1 or more")
    steps, limit = logits.double().softmax(-1).tolist(), math.exp(least)
    # of each prefix the probability of its paths that end in a blank, and of those that end in its last class, both
    # over that of the likeliest prefix, so that none grows too small for a number
    found: dict[tuple[int, ...], list[float]] = {(): [1.0, 0.0]}
    language: dict[tuple[int, ...], float] = {(): 0.0}

    def score(prefix: tuple[int, ...]) -> float:
        total = sum(grown[prefix])
        return math.log(total) + language[prefix] if total else -math.inf

    for step in steps:
        grown: dict[tuple[int, ...], list[float]] = {}
        begun = [(c, odds) for c, odds in enumerate(step) if c != BLANK and odds >= limit]
        for prefix, (blank, other) in found.items():
            both, last = blank + other, prefix[-1] if prefix else BLANK
            cell = grown.setdefault(prefix, [0.0, 0.0])
            cell[0] += both * step[BLANK]
            cell[1] += other * step[last]
            for c, odds in begun:
                longer = (*prefix, c)
                if longer not in language:
                    language[longer] = language[prefix] + (weight * extend(prefix, c) if extend else 0.0) + bonus
                # a class that repeats the last one begins a new one behind a blank alone
                grown.setdefault(longer, [0.0, 0.0])[1] += odds * (blank if c == last else both)
        kept = sorted(grown, key=score, reverse=True)[:width]
        most = max(sum(grown[prefix]) for prefix in kept)
        found = {prefix: [each / most for each in grown[prefix]] for prefix in kept}
    return list(next(iter(found)))


def frames_needed(text: Sequence[int]) -> int:
    """The fewest frames that can say a text: one for each class, and a blank between equal neighbours."""
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))
