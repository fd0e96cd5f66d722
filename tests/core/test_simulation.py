"""What docs/verdicts.md promises, in simulated studies; `etudes bench verdicts` makes them and its tables."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from etudes.core import inference

PATH = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
STUDIES = 1000


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_of_verdicts", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.only_verdicts():
        yield module
    del sys.modules[spec.name]


def shares_of_false(bench, scenario, studies=STUDIES):
    outcomes = bench.simulate(scenario, studies)
    return bench.false(scenario, outcomes).mean(1), outcomes


def bound(studies=STUDIES):
    return 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


def test_each_kind_of_false_verdict_is_rare_and_a_difference_of_one_deviation_is_seen(bench):
    found, outcomes = shares_of_false(bench, bench.ERRORS[0])
    assert max(found) <= bound()
    assert bench.power(outcomes, 1.0) > 0.85
    assert outcomes.seeds.mean() < 14.5


def test_each_kind_is_rare_where_all_claims_are_on_the_end(bench):
    found, _ = shares_of_false(bench, bench.ERRORS[2])
    assert max(found) <= bound()
    assert min(found[:2]) > 0.01  # it is on the end that the rule spends its error


@pytest.mark.parametrize(("at", "studies"), [(1, STUDIES), (5, 400)], ids=["mixed", "all on the margin"])
def test_a_false_negligible_is_rare(bench, at, studies):
    found, outcomes = shares_of_false(bench, bench.ERRORS[at], studies)
    assert max(found) <= bound(studies)
    assert outcomes.verdicts[2].any()


def test_a_number_on_the_end_is_found_negligible_where_its_margin_can_be_seen(bench):
    outcomes = bench.simulate(bench.MARGINS[1], 200)
    assert outcomes.verdicts[2][:, :4].mean() > 0.7


def test_the_rule_breaks_where_the_page_says_so_and_holds_for_its_remedies(bench):
    skewed, ratios, differences, rare, _, like = (shares_of_false(bench, s, 200)[0] for s in bench.FAILURES)
    assert skewed[1] > 0.3  # false refuted
    assert rare[0] > 0.5  # false supported
    assert max(*ratios, *differences, *like) <= bound(200)


def test_the_rule_for_many_studies_at_once_is_the_judges(bench):
    scenario = bench.ERRORS[0]
    numbers = bench.differences(scenario, 100, seed=1)
    ours = bench.rule(numbers, bench.LOOKS, inference.shares(bench.LOOKS))
    for one, other in zip(ours, bench.simulate(scenario, 100, seed=1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_shares_lose_nothing_at_two_deviations_and_win_at_one_and_a_half(bench):
    numbers = bench.differences(bench.ERRORS[0], 10_000)
    ours, equal = (bench.rule(numbers, bench.LOOKS, s) for s in (inference.shares(bench.LOOKS), [0.25] * 4))
    assert bench.power(ours, 2.0) == pytest.approx(bench.power(equal, 2.0), abs=0.005)
    assert bench.power(ours, 1.0) > bench.power(equal, 1.0)
    assert bench.power(ours, 0.5) > bench.power(equal, 0.5) + 0.02
    assert ours.seeds.mean() < 1.03 * equal.seeds.mean()


def test_the_page_has_a_place_for_each_table():
    page = (PATH.parents[1] / "docs" / "verdicts.md").read_text()
    for name in ("errors", "failures", "margins", "power", "shares"):
        assert page.count(f"<!-- table: {name} -->\n\n| ") == 1
