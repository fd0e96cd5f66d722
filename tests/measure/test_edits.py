import functools

import numpy
import pytest

from etudes.core.errors import Problem
from etudes.measure.edits import character_error_rate, confusions, errors_by_kind, word_error_rate


def distance(a, b):
    """Levenshtein's by its definition."""

    @functools.cache
    def least(i, j):
        if not i or not j:
            return i + j
        return min(least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return least(len(a), len(b))


def test_the_rate_is_that_of_the_definition():
    chance = numpy.random.default_rng(0)
    texts = [["".join(chance.choice(list("abc"), size=chance.integers(1, 9))) for _ in range(40)] for _ in range(2)]
    known = sum(map(distance, *texts)) / sum(map(len, texts[1]))
    assert character_error_rate(*texts) == pytest.approx(known)
    assert sum(errors_by_kind(*texts).values()) == pytest.approx(known)


def test_it_is_no_mean_of_rates():
    read, references = ["", "abcdefghi"], ["a", "abcdefghi"]
    assert character_error_rate(read, references) == pytest.approx(0.1)  # the mean of the two rates is 0.5


def test_kinds_and_confusions_by_hand():
    assert errors_by_kind(["kitten"], ["sitting"]) == pytest.approx(
        {"substituted": 2 / 7, "deleted": 1 / 7, "inserted": 0}
    )
    assert confusions(["kitten"], ["sitting"]) == {("s", "k"): 1, ("i", "e"): 1, ("g", ""): 1}
    assert confusions(["aab"], ["ab"]) == {("", "a"): 1}


def test_words():
    assert word_error_rate(["the cat sat", "no"], ["the cat  sat down", "no"]) == pytest.approx(1 / 5)


def test_agrees_with_a_peer():
    jiwer = pytest.importorskip("jiwer")
    read, references = ["le chat dort", "un deux"], ["le chien dort bien", "un trois deux"]
    assert character_error_rate(read, references) == pytest.approx(jiwer.cer(references, read))
    assert word_error_rate(read, references) == pytest.approx(jiwer.wer(references, read))


def test_bad_input_is_refused():
    with pytest.raises(Problem, match="2 texts"):
        character_error_rate(["a", "b"], ["a"])
    with pytest.raises(Problem, match="without a character"):
        character_error_rate(["a"], [""])
