"""The rule of judgement: what a verdict is, and when there is none. Its statistics are tested in test_inference."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coins import make_study
from etudes.core.claims import Claim, above, below, higher, lower, within
from etudes.core.errors import Problem
from etudes.core.record import Record, load
from etudes.core.run import execute
from etudes.core.spec import REPLICATION, TUNING, Scale, Variant
from etudes.core.verdicts import judge

PLAIN, SHIFTED = [2.0, 0.0, 4.0, 5.0], [-1.0, -1.2, -0.9, -1.1]
LOOKS = (5, 8, 12, 20)
NEAR = [0.1, -0.12, 0.07, -0.05, 0.02, 0.11, -0.09, 0.01, 0.03, -0.1, 0.06, -0.04]


def study_of(*claims, looks=LOOKS, **changed):
    """A study whose claims are about the score of its variants a, b and c."""
    smoke = Scale({"steps": 2}, seeds=2, minutes=0.1, judges=False)
    return make_study(
        variants=tuple(Variant(name, {"shift": float(i)}) for i, name in enumerate("abc")),
        scales={"smoke": smoke, "laptop": Scale({}, seeds=looks, minutes=0.1)},
        claims={f"claim {i}": claim for i, claim in enumerate(claims)},
        **changed,
    )


def records(study, numbers, scale="laptop", **how):
    """Records of the plan whose metric is numbers[variant][i] under its i-th seed."""
    plan = study.plan(scale, variants=list(numbers), seeds=max(map(len, numbers.values())), **how)
    first = plan[0].seed
    return [
        Record(s, {"test/score": numbers[s.variant][s.seed - first]}, {}, Path())
        for s in plan
        if s.seed - first < len(numbers[s.variant])
    ]


def score(expect=None, **more):
    return Claim(lambda t: t["a"]["test/score"], expect or below(0), "sec. 1", **more)


def verdict_of(claim, values, looks=LOOKS):
    study = study_of(claim, looks=looks)
    return judge(study, records(study, {"a": values}))[0]


def test_a_verdict_follows_the_paired_differences():
    plain = [0.0, 10.0, 20.0, 30.0]
    found = []
    for shifted in ([x - 1 - x / 100 for x in plain], [x + 1 + x / 100 for x in plain], [1.0, 9.0, 21.0, 29.0]):
        study = make_study()
        found += judge(study, records(study, {"plain": plain, "shifted": shifted}))
    assert [v.verdict for v in found] == ["supported", "refuted", "undecided"]
    assert [v.agree for v in found] == [4, 0, 2]
    assert found[0].reads == [("shifted", "test/score"), ("plain", "test/score")]


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=20), st.sampled_from([below(0), above(0), within(-1, 1)]))
def test_the_interval_shown_says_what_the_verdict_says(values, expect):
    found = verdict_of(score(expect), values)
    if found.low == -math.inf:  # not judged, or two clusters that wait for more seeds
        return
    inside = expect.low < found.low and found.high < expect.high
    outside = found.high < expect.low or found.low > expect.high
    assert (found.verdict == "supported", found.verdict == "refuted") == (inside, outside)
    assert found.low < found.mean < found.high
    assert len(found.values) in LOOKS


def test_more_claims_ask_for_more():
    values = [-1.0, -0.7, -1.4, -0.6, -1.1]
    assert verdict_of(score(), values, looks=5).verdict == "supported"
    many = study_of(score(), *(score(above(9 + i)) for i in range(40)), looks=5)
    one = judge(many, records(many, {"a": values, "b": values}))[0]
    assert one.p == pytest.approx(41 * verdict_of(score(), values, looks=5).p, rel=1e-6) or one.p > 0.05


def test_holm_spends_what_the_surer_claims_leave():
    sure, fair = [-1.0, -1.01, -0.99, -1.02, -1.0], [-1.0, -0.3, -1.5, -0.6, -1.1]
    alone = study_of(score(), Claim(lambda t: t["b"]["test/score"], below(0), ""), looks=5)
    both = judge(alone, records(alone, {"a": sure, "b": fair}))
    none = judge(alone, records(alone, {"a": fair, "b": fair}))
    assert both[1].p == pytest.approx(none[1].p / 2)


def test_a_look_uses_exactly_its_seeds_and_those_between_never_count():
    far = [-1.0, -1.3, -0.8, -1.1, -0.9]
    five = verdict_of(score(), far)
    seven = verdict_of(score(), [*far, 50.0, 60.0])
    assert seven == replace(five, claim=seven.claim)
    eight = verdict_of(score(), [*far, 50.0, 60.0, 70.0])
    assert eight.verdict == five.verdict == "supported"  # decided before: a later look takes nothing back
    assert (len(eight.values), eight.next_look) == (5, 0)
    beyond = verdict_of(score(), [*NEAR, *NEAR, *NEAR])
    assert len(beyond.values) == 20


def test_the_next_look_is_named_until_the_last():
    values = [x - 0.03 for x in NEAR] + [x - 0.03 for x in NEAR]
    assert [verdict_of(score(), values[:n]).next_look for n in (5, 8, 12, 20)] == [8, 12, 20, 0]
    assert [verdict_of(score(), values[:n]).is_open for n in (5, 8, 12, 20)] == [True, True, True, False]


def test_going_on_is_not_worth_it_where_the_mean_is_all_but_on_the_end():
    values = [1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -2.9]
    stopped = verdict_of(score(), values)
    assert (stopped.verdict, stopped.is_open) == ("undecided", False)
    assert "all but on the end" in stopped.reason
    assert verdict_of(score(), values[:5]).is_open  # five seeds are too few to give up
    assert not verdict_of(score(matters=1.0), values).is_open  # nor could so small a margin be seen
    assert verdict_of(score(matters=5.0), values).is_open is False  # it is seen already
    assert verdict_of(score(matters=2.0), values).is_open


def test_a_margin_makes_a_small_difference_negligible_and_a_decided_one_small():
    found = verdict_of(score(matters=0.5), NEAR)
    assert (found.verdict, found.is_small) == ("negligible", False)
    assert -0.5 < found.low < found.high < 0.5
    assert verdict_of(score(), NEAR).verdict == "undecided"
    both = verdict_of(score(matters=0.5), [-0.2, -0.21, -0.22, -0.19, -0.2])
    assert (both.verdict, both.is_small) == ("supported", True)
    large = verdict_of(score(matters=0.1), [-0.2, -0.21, -0.22, -0.19, -0.2])
    assert (large.verdict, large.is_small) == ("supported", False)


def test_negligible_is_corrected_for_the_claims_with_a_margin_alone():
    study = study_of(score(matters=0.5), *(score() for _ in range(9)))
    alone = verdict_of(score(matters=0.5), NEAR)
    assert judge(study, records(study, {"a": NEAR}))[0].p == pytest.approx(alone.p)


def test_looks_that_contradict_each_other_are_told():
    values = [-1.0, -1.001, -0.999, -1.0, -1.002] + [30.0, 30.1, 29.9] * 5
    found = verdict_of(score(), values)
    assert (found.verdict, found.reason, found.is_open) == ("undecided", "its looks contradict each other", False)


def test_ratios_are_judged_as_logarithms_and_correlations_by_fishers_z():
    values = [0.4, 0.5, 0.3, 0.55, 0.45]
    ratio = verdict_of(score(below(1), kind="ratio"), values)
    logs = verdict_of(score(), [math.log(x) for x in values])
    assert (ratio.verdict, ratio.p) == (logs.verdict, pytest.approx(logs.p))
    assert (ratio.mean, ratio.high) == pytest.approx((math.exp(logs.mean), math.exp(logs.high)))
    correlation = verdict_of(score(above(0.1), kind="correlation"), values)
    z = verdict_of(score(above(math.atanh(0.1))), [math.atanh(x) for x in values])
    assert (correlation.p, correlation.low) == (pytest.approx(z.p), pytest.approx(math.tanh(z.low)))


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("ratio", [1.0, 0.0, 2.0], "its ratio is 0 under seed 1"),
        ("ratio", [1.0, 2.0, -3.0], "its ratio is -3 under seed 2"),
        ("correlation", [1.0, 0.5, 0.2], "its correlation is 1 under seed 0"),
    ],
)
def test_a_ratio_or_correlation_that_cannot_be_one_is_not_judged(kind, values, reason):
    found = verdict_of(score(below(0.9), kind=kind), values, looks=3)
    assert (found.verdict, found.reason) == ("not judged", reason)
    assert math.isnan(found.mean)


def test_the_same_number_under_all_seeds_is_not_judged():
    found = verdict_of(score(), [-0.3, 0.1 - 0.4, -0.3, -0.3, -0.3])
    assert (found.verdict, found.reason) == (
        "not judged",
        "the seed has no effect: its number is -0.3 under all of them",
    )


def test_two_clusters_ask_for_eight_seeds_and_are_told():
    values = [0.0, -9.0, -9.1, -9.2, -9.1, -9.0, -9.3, -9.1]
    found = verdict_of(score(), values[:5])
    assert (found.verdict, found.reason) == ("undecided", "its numbers fall into two clusters, which asks for 8 seeds")
    assert found.is_open
    assert "two clusters" in verdict_of(score(), values).warnings[0]
    assert verdict_of(score(), values[1:6]).warnings == []


def test_a_look_that_two_clusters_skipped_is_not_the_next_one():
    found = verdict_of(score(), [0.05, -0.1, 0.07, 0.02, 9.0, 9.1], looks=(4, 6, 12))
    assert (found.verdict, len(found.values), found.next_look) == ("undecided", 4, 12)


def test_skewed_numbers_are_told():
    values = [math.exp(x * 40) for x in NEAR]
    assert "skewed" in verdict_of(score(), values).warnings[0]
    assert verdict_of(score(below(1), kind="ratio"), values).warnings == []


def test_what_could_have_been_seen_shrinks_with_the_seeds():
    found = verdict_of(score(), [x - 0.07 for x in NEAR[:5]])
    assert found.verdict == "undecided"
    assert found.sees > 2 * found.last_sees > 0


def test_the_noise_that_shared_seeds_take_away():
    study = study_of(lower("a", "b", "", of="test/score"), score())
    base = [0.0, 3.0, -2.0, 5.0, 1.0]
    paired, raw = judge(study, records(study, {"a": [x - 1 + y for x, y in zip(base, NEAR, strict=False)], "b": base}))
    assert 0 < paired.noise < 0.01
    assert math.isnan(raw.noise)


def test_a_seed_counts_for_a_claim_when_it_has_what_that_claim_reads():
    study = study_of(lower("a", "b", "", of="test/score"), higher("c", "b", "", of="test/score"))
    numbers = {"a": [x - 1 for x in NEAR[:8]], "b": [x * 2 for x in NEAR[:8]], "c": NEAR[:5]}
    first, second = judge(study, records(study, numbers))
    assert (len(first.values), len(second.values)) in ((5, 5), (8, 5))
    assert first.verdict == "supported"
    assert second.next_look == 8


def test_a_measure_over_all_variants_waits_for_all_of_them():
    study = study_of(Claim(lambda t: sum(m["test/score"] for m in t.values()), above(0), ""))
    found = judge(study, records(study, {"a": NEAR, "b": NEAR, "c": NEAR[:5]}))[0]
    assert len(found.values) == 5
    assert {variant for variant, _ in found.reads} == {"a", "b", "c"}


def test_a_missing_seed_is_waited_for():
    study = study_of(score())
    made = [r for r in records(study, {"a": [x - 1 for x in NEAR]}) if r.spec.seed != 3]
    found = judge(study, made)[0]
    assert (found.verdict, found.reason) == ("not judged", "it is judged from 5 seeds on, and 3 are complete")


def test_a_seed_that_diverged_is_not_left_out():
    made = records(study_of(score()), {"a": [-1.0, -1.1, -0.9, -1.2, -1.0]})
    made[2] = replace(made[2], metrics={}, diverged="loss is nan at step 3")
    found = judge(study_of(score()), made)[0]
    assert (found.verdict, found.reason) == ("not judged", "a diverged under seed 2")
    counted = judge(study_of(score(worst=0.5)), made)[0]
    assert counted.values == [-1.0, -1.1, 0.5, -1.2, -1.0]


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (lambda t: t["plain"]["test/score"] / 0, "cannot be computed under seed 0 (ZeroDivisionError: float division"),
        (lambda t: 1 / t["plain"]["test/score"], "cannot be computed under seed 1 (ZeroDivisionError: float division"),
        (lambda t: math.log(-1), "cannot be computed under seed 0 (ValueError"),
        (lambda t: math.exp(1e9), "cannot be computed under seed 0 (OverflowError"),
        (lambda t: t["plain"]["test/score"] - "x", "cannot be computed under seed 0 (TypeError"),
        (lambda t: [][0], "cannot be computed under seed 0 (IndexError"),
        (lambda t: t["plain"]["test/score"] + math.nan, "its number is nan under seed 0"),
        (lambda t: -math.inf, "its number is -inf under seed 0"),
        (lambda t: None, "cannot be computed under seed 0 (TypeError"),
    ],
)
def test_a_number_that_cannot_be_computed_is_not_judged_for_a_reason_and_the_others_are(measure, reason):
    sound = Claim(lambda t: t["shifted"]["test/score"], below(0), "")
    study = make_study(claims={"odd": Claim(measure, below(0), ""), "shifted is low": sound})
    odd, other = judge(study, records(study, {"plain": PLAIN, "shifted": SHIFTED}))
    assert (odd.verdict, odd.values) == ("not judged", [])
    assert reason in odd.reason
    assert math.isnan(odd.mean)
    assert (other.verdict, other.reason) == ("supported", "")


def test_a_metric_that_was_not_finite_is_the_reason():
    study = make_study()
    made = records(study, {"plain": PLAIN, "shifted": SHIFTED})
    at = next(i for i, r in enumerate(made) if (r.spec.seed, r.spec.variant) == (2, "shifted"))
    made[at] = replace(made[at], metrics={}, absent=["test/score"])
    found = judge(study, made)[0]
    assert (found.verdict, found.reason) == ("not judged", "test/score of shifted is not finite under seed 2")


def test_a_claim_on_a_number_that_no_run_has_is_named():
    study = make_study(claims={"typo": Claim(lambda t: t["plain"]["test/scroe"], below(0), "")})
    with pytest.raises(Problem, match=r"claim 'typo' of coins asks for 'test/scroe'"):
        judge(study, records(study, {"plain": [0.0], "shifted": [0.0]}))


def test_a_variant_that_was_not_run_is_the_reason_and_the_others_are_judged():
    level = Claim(lambda t: t["plain"]["test/score"], below(0), "")
    study = make_study(claims={**make_study().claims, "the score is below 0": level})
    shifts, other = judge(study, records(study, {"plain": [-1.0, -1.1, -1.2, -1.05]}))
    assert (shifts.verdict, shifts.reason, shifts.values) == ("not judged", "shifted was not run", [])
    assert other.verdict == "supported"


def test_tuning_seeds_and_scales_too_small_never_judge_and_a_replication_does():
    numbers = {"plain": PLAIN, "shifted": [n - 9 for n in SHIFTED]}
    study = make_study()
    assert judge(study, records(study, numbers))[0].verdict == "supported"
    assert judge(study, records(study, numbers, tune=True))[0].verdict == "not judged"
    assert judge(study, records(study, numbers, "smoke"))[0].verdict == "not judged"
    assert judge(study, records(study, numbers, replicate=True))[0].verdict == "supported"
    mixed = [*records(study, numbers), *records(study, numbers, replicate=True)]
    assert judge(study, mixed)[0].verdict == "not judged"
    assert judge(study, [])[0].verdict == "not judged"
    assert {spec.seed for spec in study.plan(replicate=True)} == set(range(REPLICATION, REPLICATION + 4))
    assert {spec.seed for spec in study.plan(tune=True)} == {TUNING}


def test_a_setting_that_was_changed_is_explored_and_not_judged():
    study = make_study()
    numbers = {"plain": PLAIN, "shifted": [n - 9 for n in SHIFTED]}
    assert judge(study, records(study, numbers, steps=7))[0].verdict == "not judged"


def test_a_claim_may_be_about_the_seconds_that_runs_took(tmp_path):
    study = make_study(claims={"it is quick": Claim(lambda t: t["plain"]["seconds"], below(60), "")})
    for spec in study.plan():
        execute(study, spec, tmp_path)
    found = judge(study, load(study.plan(), tmp_path))[0]
    assert found.reads == [("plain", "seconds")]
    assert found.agree == len(found.values) == 4


def test_a_run_that_diverges_is_a_record_and_the_next_one_in_its_place_is_not(tmp_path):
    def fall(cfg, run):
        run.log(1, loss=math.nan if run.spec.variant == "shifted" and cfg.steps == 5 else 1.0)
        run.result(**{"test/score": 1.0})

    study = make_study(program=fall)
    for spec in study.plan():
        if spec.variant == "shifted":
            with pytest.raises(Problem, match="loss is nan at step 1"):
                execute(study, spec, tmp_path)
        else:
            execute(study, spec, tmp_path)
    found = load(study.plan(), tmp_path)
    assert [bool(r.diverged) for r in found] == [False, True] * 4
    assert judge(study, found)[0].reason == "shifted diverged under seed 0"
