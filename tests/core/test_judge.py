import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from coins import make_study
from etudes.core.claims import Claim, above, below, within
from etudes.core.errors import Problem
from etudes.core.record import Record, load
from etudes.core.run import execute
from etudes.core.verdicts import decide, interval, judge

finite = st.floats(-1e3, 1e3)


def records(study, numbers, scale="laptop"):
    """Records of the plan whose metric is numbers[variant][seed]."""
    plan = study.plan(scale, variants=list(numbers), seeds=max(map(len, numbers.values())))
    return [
        Record(s, {"test/score": numbers[s.variant][s.seed]}, {}, Path())
        for s in plan
        if s.seed < len(numbers[s.variant])
    ]


@given(st.lists(finite, min_size=2, max_size=9, unique=True), st.floats(0.001, 0.5))
def test_the_interval_is_scipys(values, alpha):
    low, high = interval(values, alpha)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(1 - alpha)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=1e-6, abs=1e-6)


def test_without_spread_the_interval_is_a_point_and_without_values_everything():
    assert interval([2.0, 2.0, 2.0], 0.05) == (2.0, 2.0)
    assert interval([2.0], 0.05) == (-math.inf, math.inf)


@given(finite, finite, finite, finite)
def test_a_decision_is_exclusive_and_symmetric(a, b, c, d):
    (low, high), (start, end) = sorted((a, b)), sorted((c, d))
    verdict = decide(low, high, within(start, end))
    assert verdict == decide(-high, -low, within(-end, -start))
    assert (verdict == "supported") == (start < low and high < end)
    assert (verdict == "refuted") == (high < start or low > end)


def test_an_exact_tie_supports_nothing():
    study = make_study()
    tied = judge(study, records(study, {"plain": [1.0] * 4, "shifted": [1.0] * 4}))[0]
    assert (tied.verdict, tied.low, tied.high) == ("undecided", 0, 0)


def test_verdicts_follow_the_paired_differences():
    study = make_study()
    plain = [0.0, 10.0, 20.0, 30.0]
    lower = judge(study, records(study, {"plain": plain, "shifted": [x - 1 - x / 100 for x in plain]}))[0]
    higher = judge(study, records(study, {"plain": plain, "shifted": [x + 1 + x / 100 for x in plain]}))[0]
    mixed = judge(study, records(study, {"plain": plain, "shifted": [1.0, 9.0, 21.0, 29.0]}))[0]
    assert [v.verdict for v in (lower, higher, mixed)] == ["supported", "refuted", "undecided"]
    assert lower.agree == 4
    assert lower.sign_p == stats.binomtest(4, 4).pvalue == 0.125
    assert mixed.sign_p == 1.0


def test_nothing_is_judged_below_three_complete_seeds_or_at_a_scale_too_small():
    study = make_study()
    few = {"plain": [0.0, 1.0, 2.0], "shifted": [-1.0, 0.1]}
    assert judge(study, records(study, few))[0].verdict == "not judged"
    enough = {"plain": [0.0, 1.0, 2.0], "shifted": [-1.0, 0.1, 0.9]}
    assert judge(study, records(study, enough))[0].verdict == "supported"
    assert judge(study, records(study, enough, "smoke"))[0].verdict == "not judged"
    assert judge(study, [])[0].verdict == "not judged"


def test_a_claim_about_variants_that_were_not_run_is_not_judged_and_the_others_are():
    level = Claim(lambda t: t["plain"]["test/score"], below(0), "")
    study = make_study(claims={**make_study().claims, "the score is below 0": level})
    shifts, level = judge(study, records(study, {"plain": [-1.0, -1.1, -1.2]}))
    assert (shifts.verdict, shifts.values) == ("not judged", [])
    assert level.verdict == "supported"


def test_a_claim_may_be_about_the_seconds_that_runs_took(tmp_path):
    study = make_study(claims={"it is quick": Claim(lambda t: t["plain"]["seconds"], below(60), "")})
    for spec in study.plan():
        execute(study, spec, tmp_path)
    assert judge(study, load(study.plan(), tmp_path))[0].verdict == "supported"


def test_several_claims_share_the_confidence():
    ((sentence, claim),) = make_study().claims.items()
    two = make_study(claims={sentence: claim, "the other": Claim(claim.measure, above(0), "")})
    numbers = {"plain": [0.0, 0.0, 0.0], "shifted": [-1.0, -2.0, -3.5]}
    one = judge(make_study(), records(make_study(), numbers))[0]
    first, second = judge(two, records(two, numbers))
    assert (first.low, first.high) == interval([-1.0, -2.0, -3.5], 0.025)
    assert first.high - first.low > one.high - one.low
    assert (first.low, first.high) == (second.low, second.high)


def test_a_claim_on_a_number_that_no_run_has_is_named():
    study = make_study(claims={"typo": Claim(lambda t: t["plain"]["test/scroe"], below(0), "")})
    with pytest.raises(Problem, match=r"claim 'typo' of coins asks for 'test/scroe'"):
        judge(study, records(study, {"plain": [0.0], "shifted": [0.0]}))


def test_hundreds_of_seeds_are_judged():
    study, plain = make_study(), [float(x) for x in range(1000)]
    shifted = [x - 1 - (i % 7) / 100 if i % 3 else x + 0.5 for i, x in enumerate(plain)]
    verdict = judge(study, records(study, {"plain": plain, "shifted": shifted}))[0]
    assert verdict.agree == sum(i % 3 > 0 for i in range(1000))
    assert verdict.sign_p == pytest.approx(stats.binomtest(verdict.agree, 1000).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (lambda t: t["plain"]["test/score"] / 0, "cannot be computed under seed 0 (ZeroDivisionError: float division"),
        (lambda t: math.log(-1), "cannot be computed under seed 0 (ValueError"),
        (lambda t: math.exp(1e9), "cannot be computed under seed 0 (OverflowError"),
        (lambda t: t["plain"]["test/score"] - "x", "cannot be computed under seed 0 (TypeError"),
        (lambda t: [][0], "cannot be computed under seed 0 (IndexError"),
        (lambda t: math.nan, "its number is nan under seed 0"),
        (lambda t: -math.inf, "its number is -inf under seed 0"),
        (lambda t: None, "cannot be computed under seed 0 (TypeError"),
    ],
)
def test_a_claim_that_cannot_be_computed_is_not_judged_for_a_reason(measure, reason):
    claims = {**make_study().claims, "it can be computed": Claim(measure, below(0), "")}
    study = make_study(claims=claims)
    shifts, odd = judge(study, records(study, {"plain": [0.0, 1.0, 2.0], "shifted": [-1.0, 0.1, 0.9]}))
    assert shifts.verdict == "supported"
    assert odd.verdict == "not judged"
    assert reason in odd.reason


def test_tuning_seeds_never_judge():
    study = make_study()
    plan = study.plan("laptop", tune=True, seeds=4)
    found = [Record(s, {"test/score": s.config["shift"] + s.seed % 3 / 10}, {}, Path()) for s in plan]
    assert judge(study, found)[0].verdict == "not judged"
