from collections import Counter

import numpy
import pytest

from etudes.core.errors import Problem
from etudes.measure.ngrams import ngrams


def naive(train, text, vocabulary, n):
    """Probability of the last token of `text` by the rule, with counts made anew."""
    if n == 0:
        return 1 / vocabulary
    shorter = naive(train, text, vocabulary, n - 1)
    context = tuple(text[max(0, len(text) - n) : -1])
    if len(context) < n - 1:  # before the beginning of a text nothing was seen
        return shorter
    after = Counter(train[i] for i in range(1, len(train)) if i >= n - 1 and tuple(train[i - n + 1 : i]) == context)
    c, d = sum(after.values()), len(after)
    return (after[text[-1]] + d * shorter) / (c + d) if c else shorter


def test_it_is_the_naive_rule():
    rng = numpy.random.default_rng(0)
    train, test = rng.integers(3, size=80), rng.integers(4, size=30)
    found = ngrams(train, test, 4, 5)
    assert found.shape == (5, 29)
    for n in range(1, 6):
        for i in range(max(1, n - 1), 30):
            expected = naive(train.tolist(), test[: i + 1].tolist(), 4, n)
            assert found[n - 1, i - 1] == pytest.approx(expected), (n, i)


def test_probabilities_sum_to_one():
    train = numpy.array([0, 1, 2, 1, 0, 1, 2, 2, 0, 1])
    total = sum(ngrams(train, numpy.array([0, 1, 2, last]), 5, 3)[:, -1] for last in range(5))
    assert total == pytest.approx([1, 1, 1])


def test_a_context_that_was_always_followed_by_the_same_is_nearly_sure():
    train = numpy.tile([0, 1, 2, 0, 1, 3], 200)
    found = ngrams(train, numpy.array([2, 0, 1, 3, 0, 1, 2]), 4, 4)
    assert found[2, 2] < 0.6  # after 0 1 come 2 and 3
    assert found[3, 2] > 0.99  # after 2 0 1 comes 3


def test_what_cannot_be_is_told():
    with pytest.raises(Problem, match="not 0 and 3"):
        ngrams(numpy.zeros(3), numpy.zeros(3), 2, 0)
