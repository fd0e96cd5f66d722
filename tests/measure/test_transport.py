import itertools

import numpy
import pytest
import scipy.stats
import torch

from etudes.core.errors import Problem
from etudes.measure.transport import seen_share, sliced_wasserstein, wasserstein


def clouds(n=6, d=2, seed=0):
    chance = numpy.random.default_rng(seed)
    return (torch.from_numpy(chance.normal(size=(n, d))) for _ in range(2))


def test_the_distance_is_the_least_over_all_pairings():
    a, b = clouds()
    best = min((a - b[list(order)]).norm(dim=1).mean().item() for order in itertools.permutations(range(6)))
    assert wasserstein(a, b) == pytest.approx(best)


def test_a_shift_is_as_far_as_it_is():
    a, _ = clouds(200)
    assert wasserstein(a, a + torch.tensor([3.0, 4.0])) == pytest.approx(5)
    assert wasserstein(a, a[torch.randperm(200)]) == 0


def test_in_one_dimension_all_agree_with_scipy():
    a, b = clouds(100, 1)
    known = scipy.stats.wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert wasserstein(a, b) == pytest.approx(known)
    assert sliced_wasserstein(a, b, 3, numpy.random.default_rng(0)) == pytest.approx(known)


def test_slices_are_scipys_and_at_most_the_distance():
    a, b = clouds(80, 3)
    axes = numpy.random.default_rng(5).normal(size=(3, 20))
    axes /= numpy.linalg.norm(axes, axis=0)
    known = [scipy.stats.wasserstein_distance(a.numpy() @ axis, b.numpy() @ axis) for axis in axes.T]
    found = sliced_wasserstein(a, b, 20, numpy.random.default_rng(5))
    assert found == pytest.approx(numpy.mean(known))
    assert found < wasserstein(a, b)


def test_the_distance_agrees_with_a_peer():
    ot = pytest.importorskip("ot")
    a, b = clouds(50, 4)
    weights = numpy.full(50, 1 / 50)
    assert wasserstein(a, b) == pytest.approx(ot.emd2(weights, weights, ot.dist(a.numpy(), b.numpy(), "euclidean")))


def test_the_best_critic_sees_the_whole_distance_and_no_other_does():
    a, _ = clouds(60)
    b = a + torch.tensor([2.0, 0.0])
    assert seen_share(-a[:, 0], -b[:, 0], a, b) == pytest.approx(1)  # the optimal potential of a shift
    assert seen_share(7 * -a[:, 0], 7 * -b[:, 0], a, b) == pytest.approx(1)  # whatever its slope
    chance = numpy.random.default_rng(0)
    for _ in range(20):  # Kantorovich and Rubinstein: nothing sees more
        f, g = (torch.from_numpy(chance.normal(size=60)) for _ in range(2))
        assert seen_share(f, g, a, b) < 1
    assert seen_share(torch.ones(60), torch.ones(60), a, b) == 0


@pytest.mark.parametrize("bad", [torch.zeros(3, 2), torch.full((4, 2), numpy.nan)])
def test_other_shapes_and_nan_are_refused(bad):
    with pytest.raises(Problem, match="distance between sets"):
        wasserstein(torch.zeros(4, 2), bad)
