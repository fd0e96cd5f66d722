"""Why a claim is not judged."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from coins import make_study
from etudes.core.claims import Claim, below
from etudes.core.record import Record
from etudes.core.spec import TUNING
from etudes.core.verdicts import judge

PLAIN, SHIFTED = [2.0, 0.0, 4.0, 5.0], [-1.0, -1.2, -0.9, -1.1]


def claim(measure):
    return Claim(measure, below(0), "sec. 1")


def records(study, numbers, scale="laptop"):
    """Records of the plan whose metric is numbers[variant][seed]."""
    plan = study.plan(scale, variants=list(numbers), seeds=max(map(len, numbers.values())))
    return [
        Record(s, {"test/score": numbers[s.variant][s.seed]}, {}, Path())
        for s in plan
        if s.seed < len(numbers[s.variant])
    ]


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (
            lambda t: t["shifted"]["test/score"] / t["plain"]["test/score"],
            "its number cannot be computed under seed 1 (ZeroDivisionError: float division by zero)",
        ),
        (
            lambda t: math.log(t["plain"]["test/score"]),
            "its number cannot be computed under seed 1 (ValueError: ",
        ),
        (lambda t: t["plain"]["test/score"] + math.nan, "its number is nan under seed 0"),
        (lambda t: math.inf if t["plain"]["test/score"] else 1.0, "its number is inf under seed 0"),
        (lambda t: None, "its number cannot be computed under seed 0 (TypeError: "),
    ],
)
def test_a_number_that_cannot_be_computed_is_not_judged_for_a_reason_and_the_others_are(measure, reason):
    study = make_study(claims={"odd": claim(measure), "shifted is low": claim(lambda t: t["shifted"]["test/score"])})
    odd, sound = judge(study, records(study, {"plain": PLAIN, "shifted": SHIFTED}))
    assert (odd.verdict, odd.values) == ("not judged", [])
    assert odd.reason.startswith(reason)
    assert math.isnan(odd.mean)
    assert (sound.verdict, sound.reason) == ("supported", "")


def test_a_metric_that_was_not_finite_is_the_reason():
    study = make_study()
    made = records(study, {"plain": PLAIN, "shifted": SHIFTED})
    made = [
        replace(r, metrics={}, absent=["test/score"]) if (r.spec.seed, r.spec.variant) == (2, "shifted") else r
        for r in made
    ]
    (verdict,) = judge(study, made)
    assert verdict.verdict == "not judged"
    assert verdict.reason == "test/score of shifted is not finite under seed 2"


def test_seeds_for_tuning_never_judge():
    study = make_study()
    plan = study.plan(tune=True, seeds=5)
    assert {spec.seed for spec in plan} == set(range(TUNING, TUNING + 5))
    made = [Record(s, {"test/score": -s.seed * 1.0 * (s.variant == "shifted")}, {}, Path()) for s in plan]
    assert judge(study, made)[0].verdict == "not judged"
    judging = [replace(r, spec=replace(r.spec, seed=r.spec.seed - TUNING)) for r in made]
    assert judge(study, judging)[0].verdict == "supported"
    assert judge(study, [*judging, *made])[0].verdict == "not judged"


def test_a_variant_that_was_not_run_is_the_reason():
    (verdict,) = judge(make_study(), records(make_study(), {"plain": PLAIN}))
    assert (verdict.verdict, verdict.reason) == ("not judged", "shifted was not run")


def test_a_verdict_has_no_reason_of_its_own_where_there_is_one():
    study = make_study()
    (verdict,) = judge(study, records(study, {"plain": PLAIN, "shifted": [n - 9 for n in SHIFTED]}))
    assert (verdict.verdict, verdict.reason) == ("supported", "")
    (few,) = judge(study, records(study, {"plain": PLAIN[:2], "shifted": SHIFTED[:2]}))
    assert (few.verdict, few.reason) == ("not judged", "")  # it is about all claims: a warning of the report says it
