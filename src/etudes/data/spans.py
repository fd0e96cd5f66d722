"""Span corruption: pieces of a text are taken out, and to be written again; what T5 is pretrained on.

Paper: Raffel et al. 2019, arXiv:1910.10683, sec. 3.1.4, 3.3.2 and 3.3.4; as in its code, the number of tokens and
spans that are taken out follows from the text's length, and chance only says where.
"""

from collections.abc import Sequence

import numpy as np

from etudes.core.errors import Problem


def span_mask(length: int, rate: float, mean: float, rng: np.random.Generator) -> np.ndarray:
    """Which of `length` tokens are taken out, bool [length]: round(rate * length) of them, in spans of `mean` tokens on
    average, with at least one token before each. Raises Problem where that cannot be.
    """
    if length < 2 or not 0 < rate < 1 or mean < 1:
        raise Problem(
            "spans are taken out of a text of at least 2 tokens, at a rate between 0 and 1 and of 1 token or more on "
            f"average, not of {length}, at {rate:g} and of {mean:g}"
        )
    taken = min(max(round(length * rate), 1), length - 1)
    spans = min(max(round(taken / mean), 1), length - taken)
    kept, gone = (_parts(count, spans, rng) for count in (length - taken, taken))
    return np.repeat(np.tile([False, True], spans), np.stack([kept, gone], 1).ravel())


def _parts(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """`total` cut into so many whole numbers of at least 1, int [parts], every way as likely as every other."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=total)


def corrupt(tokens: Sequence[int], mask: np.ndarray, first: int, end: int) -> tuple[list[int], list[int]]:
    """What is read and what is to be written: where span i = 0, 1, ... was, the text has the token first + i, and the
    answer has that token and then the span. Both end in `end`.

    >>> corrupt([7, 8, 9, 10], np.array([False, True, True, False]), 100, 1)
    ([7, 100, 10, 1], [100, 8, 9, 1])
    """
    tokens = np.asarray(tokens)
    begins = mask & ~np.concatenate([[False], mask[:-1]])
    marks = first + np.cumsum(begins) - 1
    text = np.where(begins, marks, tokens)[begins | ~mask]
    places = np.flatnonzero(mask)
    answer = np.insert(tokens[places], np.flatnonzero(begins[places]), marks[begins])
    return [*text.tolist(), end], [*answer.tolist(), end]


def drop(tokens: Sequence[int], mask: np.ndarray, gap: int, end: int) -> tuple[list[int], list[int]]:
    """As corrupt, but nothing says where a span was: the text goes on without it, and asks with one `gap` at its end
    for all that is missing ("drop corrupted tokens" in the paper's table 3, there without a gap).

    >>> drop([7, 8, 9, 10], np.array([False, True, False, True]), 100, 1)
    ([7, 9, 100, 1], [100, 8, 10, 1])
    """
    tokens = np.asarray(tokens)
    return [*tokens[~mask].tolist(), gap, end], [gap, *tokens[mask].tolist(), end]


def restore(tokens: Sequence[int], mask: np.ndarray, gap: int, end: int) -> tuple[list[int], list[int]]:
    """As drop, but the whole text is to be written, what was left of it too (the paper's "BERT-style", table 3).

    >>> restore([7, 8, 9, 10], np.array([False, True, False, True]), 100, 1)
    ([7, 9, 100, 1], [100, 7, 8, 9, 10, 1])
    """
    return drop(tokens, mask, gap, end)[0], [gap, *np.asarray(tokens).tolist(), end]
