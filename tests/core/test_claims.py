import math

import pytest

from etudes.core.claims import (
    Claim,
    Interval,
    above,
    alike,
    at_least,
    below,
    between,
    difference,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.errors import Problem

TRIAL = {"a": {"test/error": 0.5, "train/error": 0.1}, "b": {"test/error": 0.25, "train/error": 0.4}}


def test_a_difference_is_of_one_metric_under_one_seed():
    assert difference("a", "b")(TRIAL) == 0.25
    assert difference("b", "a", "train/error")(TRIAL) == pytest.approx(0.3)
    assert difference("a", ("a", "train/error"))(TRIAL) == 0.4
    assert difference(("a", "train/error"), ("b", "test/error"), of="nowhere")(TRIAL) == pytest.approx(-0.15)


@pytest.mark.parametrize(
    ("claim", "number", "inside", "outside", "words"),
    [
        (lower("a", "b", "sec. 1"), 0.25, -1e-9, 0.0, "test/error: a minus b"),
        (higher("a", "b", "sec. 1"), 0.25, 1e-9, 0.0, "test/error: a minus b"),
        (lower("a", "b", "", of="train/error"), -0.3, -1.0, 1.0, "train/error: a minus b"),
        (lower("a", ("b", "train/error"), ""), 0.1, -1.0, 1.0, "test/error of a minus train/error of b"),
        (alike("a", "b", 0.1, "sec. 1"), 0.25, -0.1, 0.11, "test/error: a minus b"),
        (between("a", 0.4, 0.6, "sec. 1"), 0.5, 0.4, 0.39, "test/error of a"),
        (between(("b", "train/error"), -math.inf, 0.6, ""), 0.4, 0.59, 0.6, "train/error of b"),
        (between("b", 0.2, math.inf, ""), 0.25, 0.21, 0.2, "test/error of b"),
    ],
)
def test_a_claim_computes_its_number_expects_it_somewhere_and_says_it_in_words(claim, number, inside, outside, words):
    assert claim.measure(TRIAL) == pytest.approx(number)
    assert inside in claim.expect
    assert outside not in claim.expect
    assert claim.number == words


def test_what_the_paper_says_and_what_matters_stay_with_the_claim():
    for claim in (
        lower("a", "b", "table 2", paper=0.1, matters=0.01),
        higher("a", "b", "table 2", paper=0.1, matters=0.01),
        between("a", 0, math.inf, "table 2", paper=0.1, matters=0.01),
    ):
        assert (claim.where, claim.paper, claim.matters) == ("table 2", 0.1, 0.01)
    assert alike("a", "b", 0.1, "table 2", paper=0.1).paper == 0.1
    plain = lower("a", "b", "")
    assert math.isnan(plain.paper)
    assert math.isnan(plain.matters)
    own = Claim(lambda trial: trial["a"]["test/error"] ** 2, above(0), "eq. 1", number="the square of the error")
    assert (own.measure(TRIAL), own.number) == (0.25, "the square of the error")


def test_an_interval_has_its_ends_or_not_and_tells_itself():
    said = {
        above(0): "above 0",
        below(-0.5): "below -0.5",
        at_least(0): "at least 0",
        Interval(high=2.5): "at most 2.5",
        within(0, 1): "between 0 and 1",
        positive: "above 0",
    }
    assert {interval: str(interval) for interval in said} == said
    assert 0 not in above(0)
    assert 0 in at_least(0)
    assert 0 not in positive
    assert 1 in within(0, 1)
    assert math.nan not in Interval()


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"expect": within(0, 1), "matters": 0.1}, "has a margin already"),
        ({"expect": above(0), "matters": 0.0}, "matters must be above 0"),
        ({"expect": above(0), "matters": math.inf}, "matters must be above 0"),
        ({"expect": Interval()}, "give it an end"),
        ({"expect": within(1, 0)}, "give it an end, and the lower one first"),
        ({"expect": above(-1), "kind": "ratio"}, "ratios are above 0"),
        ({"expect": above(1), "kind": "correlation"}, "correlations are between -1 and 1"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(claim, words):
    with pytest.raises(Problem, match=words):
        Claim(lambda trial: 0.0, where="", **claim)
