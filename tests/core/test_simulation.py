"""What docs/verdicts.md promises, in simulated studies; `etudes bench verdicts` draws them and writes its tables."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from etudes.core import inference

PATH = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
STUDIES = 1000
BOUND = 0.05 + 2 * math.sqrt(0.05 * 0.95 / STUDIES)


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_of_verdicts", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def simulate(bench, monkeypatch):
    """(the share of studies with a false verdict of each kind, what was decided) of a scenario.

    The first studies are judged by `judge` too: `simulate` of the benchmark raises where it decides otherwise.
    """

    def simulated(scenario, judged=10):
        monkeypatch.setattr(bench, "JUDGED", judged)
        outcomes = bench.simulate(scenario, STUDIES)
        return bench.false(scenario, outcomes).mean(1), outcomes

    return simulated


def test_each_kind_of_false_verdict_is_rare_and_a_difference_of_one_deviation_is_seen(bench, simulate):
    found, outcomes = simulate(bench.ERRORS[0], judged=STUDIES)
    assert max(found) <= BOUND
    assert bench.power(outcomes, 1.0) > 0.85
    assert outcomes.seeds.mean() < 14.5


def test_each_kind_is_rare_where_all_claims_are_on_the_end(bench, simulate):
    found, _ = simulate(bench.ERRORS[2], judged=STUDIES)
    assert max(found) <= BOUND
    assert min(found[:2]) > 0.01  # it is there that the rule spends its error


@pytest.mark.parametrize("at", [1, 5], ids=["mixed", "all on the margin"])
def test_a_false_negligible_is_rare(bench, simulate, at):
    found, _ = simulate(bench.ERRORS[at], judged=25)
    assert max(found) <= BOUND
    assert found[2] > 0.001


def test_a_number_on_the_end_is_found_negligible_where_its_margin_can_be_seen(bench, simulate):
    _, outcomes = simulate(bench.MARGINS[1])
    assert outcomes.verdicts[2][:, :4].mean() > 0.7


def test_the_rule_breaks_where_the_page_says_so_and_holds_for_its_remedies(bench, simulate):
    skewed, ratios, differences, rare, _, like = (simulate(scenario)[0] for scenario in bench.FAILURES)
    assert skewed[1] > 0.3  # false refuted
    assert rare[0] > 0.5  # false supported
    assert max(*ratios, *differences, *like) <= BOUND


def test_the_shares_lose_nothing_at_two_deviations_and_win_at_one_and_a_half(bench):
    scenario = bench.ERRORS[0]
    scores = scenario.scores(10 * STUDIES, 0)
    ours, equal = (bench.rule(scenario, scores, bench.LOOKS, s) for s in (inference.shares(bench.LOOKS), [0.25] * 4))
    assert bench.power(ours, 2.0) == pytest.approx(bench.power(equal, 2.0), abs=0.005)
    assert bench.power(ours, 1.0) > bench.power(equal, 1.0)
    assert bench.power(ours, 0.5) > bench.power(equal, 0.5) + 0.02
    assert ours.seeds.mean() < 1.03 * equal.seeds.mean()


def test_the_page_has_each_table():
    page = (PATH.parents[1] / "docs" / "verdicts.md").read_text()
    for name in ("errors", "failures", "margins", "power", "shares"):
        assert page.count(f"<!-- table: {name} -->\n\n| ") == 1
