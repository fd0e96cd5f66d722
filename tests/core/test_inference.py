"""Each test of the rule against SciPy's, and what it sees against SciPy's noncentral t."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from etudes.core import inference

numbers = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=3, max_size=20).filter(
    lambda x: max(x) - min(x) > 0.01
)
ends = st.floats(-50, 50).map(lambda x: round(x, 2))


@given(numbers, ends)
def test_one_end_is_scipys_one_sided_test(values, end):
    above = inference.p_values(values, end, math.inf)
    greater = stats.ttest_1samp(values, end, alternative="greater").pvalue
    less = stats.ttest_1samp(values, end, alternative="less").pvalue
    assert above[:2] == pytest.approx((greater, less), rel=1e-6, abs=1e-12)
    below = inference.p_values(values, -math.inf, end)
    assert below[:2] == pytest.approx((less, greater), rel=1e-6, abs=1e-12)
    assert above.negligible == below.negligible == 1


@given(numbers, ends, st.floats(0.1, 20))
def test_two_ends_must_both_be_passed_and_either_refutes(values, low, width):
    high = low + width
    found = inference.p_values(values, low, high)
    inside = [stats.ttest_1samp(values, low, alternative="greater").pvalue]
    inside += [stats.ttest_1samp(values, high, alternative="less").pvalue]
    outside = [1 - p for p in inside]
    assert found.supported == pytest.approx(max(inside), rel=1e-6, abs=1e-12)
    assert found.refuted == pytest.approx(min(1, 2 * min(outside)), rel=1e-6, abs=1e-9)


@given(numbers, ends, st.floats(0.1, 20))
def test_negligible_is_two_one_sided_tests(values, end, margin):
    found = inference.p_values(values, end, math.inf, margin).negligible
    upper = stats.ttest_1samp(values, end + margin, alternative="less").pvalue
    lower = stats.ttest_1samp(values, end - margin, alternative="greater").pvalue
    assert found == pytest.approx(max(upper, lower), rel=1e-6, abs=1e-12)


def test_negligible_is_what_statsmodels_calls_equivalent():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    values = np.random.default_rng(3).normal(0.2, 1, 12)
    peer = weightstats.DescrStatsW(values).ttost_mean(-0.8, 0.8)[0]
    assert inference.p_values(list(values), 0, math.inf, 0.8).negligible == pytest.approx(peer)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_is_what_its_definition_says(p, alpha):
    adjusted, levels = inference.holm(p, alpha)
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for rank, i in enumerate(order):  # the naive step-down
        if p[i] * (len(p) - rank) > alpha:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(adjusted) if q <= alpha} == rejected
    # The level at which each was tested says the same as the corrected probability.
    assert {i for i in order if p[i] <= levels[i] * (1 + 1e-12)} == rejected or not p
    assert all(level == alpha / (len(p) - len(rejected)) for i, level in enumerate(levels) if i not in rejected)


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [0.04, 0.001, 0.012, 0.9, 0.013, 0.001]
    assert inference.holm(p, 0.05)[0] == pytest.approx(list(multitest.multipletests(p, method="holm")[1]))


@given(numbers, st.floats(0.001, 0.2))
def test_the_interval_is_scipys(values, level):
    wanted = stats.ttest_1samp(values, 0).confidence_interval(1 - 2 * level)
    assert inference.interval(values, level) == pytest.approx((wanted.low, wanted.high), rel=1e-6, abs=1e-6)


@given(numbers, ends, st.floats(0.001, 0.2))
def test_an_interval_excludes_an_end_where_the_test_at_its_level_rejects(values, end, level):
    low, high = inference.interval(values, level)
    p = inference.p_values(values, end, math.inf)
    if min(abs(p.supported - level), abs(p.refuted - level)) > 1e-9:
        assert (low > end, high < end) == (p.supported < level, p.refuted < level)


def test_an_interval_of_one_value_is_everything():
    assert inference.interval([2.0], 0.05) == (-math.inf, math.inf)


@pytest.mark.parametrize("n", [3, 5, 8, 20, 100])
@pytest.mark.parametrize("level", [0.05, 0.00125])
def test_what_n_seeds_see_is_seen_with_that_power(n, level):
    seen = inference.detectable(n, level)
    assert inference.power(seen, n, level) == pytest.approx(0.8, abs=1e-6)
    critical = stats.t.isf(level, n - 1)
    assert inference.power(seen, n, level) == pytest.approx(
        stats.nct.sf(critical, n - 1, seen * math.sqrt(n)), abs=1e-6
    )


def test_five_seeds_of_eight_claims_see_what_a_simulation_says():
    level = 0.05 / 8 / 5
    draws = np.random.default_rng(0).normal(inference.detectable(5, level), 1, (100_000, 5))
    seen = draws.mean(1) / (draws.std(1, ddof=1) / math.sqrt(5)) > inference.critical(5, level)
    assert seen.mean() == pytest.approx(0.8, abs=0.006)


def test_the_looks_share_the_error():
    assert inference.shares([5]) == [1]
    assert inference.shares([5, 8, 12, 20]) == [0.2, 0.2, 0.2, 0.4]
    assert sum(inference.shares([3, 4, 9])) == pytest.approx(1)


def test_learners_that_succeed_or_fail_altogether_are_two_clusters_and_normal_numbers_are_not():
    assert inference.two_clusters([0.1, 0.12, 9.0, 9.1, 9.3])
    assert inference.two_clusters([0.5, 0.52, 0.51, 0.5, 0.1])  # one that failed
    assert not inference.two_clusters([0.1, 0.3, 0.5])
    draws = np.random.default_rng(0).normal(size=(2000, 20)).tolist()
    assert sum(inference.two_clusters(x[:5]) for x in draws) / 2000 == pytest.approx(0.02, abs=0.01)
    assert not any(inference.two_clusters(x[:12]) for x in draws)


def test_skewed_numbers_are_told_from_normal_ones():
    rng = np.random.default_rng(0)
    normal, skewed = rng.normal(size=(1000, 20)).tolist(), rng.lognormal(sigma=1, size=(1000, 20)).tolist()
    assert sum(map(inference.is_skewed, normal)) / 1000 < 0.03
    assert sum(map(inference.is_skewed, skewed)) / 1000 > 0.7
    assert not inference.is_skewed(skewed[0][:7])


def test_numbers_that_rounding_alone_sets_apart_are_the_same():
    assert inference.is_constant([0.1 + 0.2, 0.3, 0.3])
    assert inference.is_constant([0.0, 0.0])
    assert not inference.is_constant([0.0, 1e-6])
