import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.drawn import CENTRES, POINTS, modes, points


@pytest.mark.parametrize("name", POINTS)
def test_points_have_about_unit_variance_and_follow_from_the_generator(name):
    drawn = points(name, 20_000, numpy.random.default_rng(0))
    assert drawn.shape == (20_000, 2)
    assert drawn.dtype == torch.float32
    assert ((drawn.var(0) > 0.7) & (drawn.var(0) < 1.3)).all()
    assert torch.equal(drawn, points(name, 20_000, numpy.random.default_rng(0)))


@pytest.mark.parametrize("name", CENTRES)
def test_a_mixture_covers_its_centres_alike(name):
    drawn = points(name, 5000, numpy.random.default_rng(0))
    assert modes(drawn, name) == (1.0, 1.0)
    nearest = torch.cdist(drawn.double(), torch.from_numpy(CENTRES[name])).argmin(1)
    counts = torch.bincount(nearest).double()
    assert len(counts) == len(CENTRES[name])
    assert (counts / counts.mean() - 1).abs().max() < 0.25


def test_modes_are_counted_as_by_hand():
    centres = torch.from_numpy(CENTRES["8-gaussians"]).float()
    three = centres[[0, 1, 2]].repeat(100, 1)
    assert modes(three, "8-gaussians") == (3 / 8, 1.0)
    away = torch.cat([three, torch.zeros(300, 2)])
    assert modes(away, "8-gaussians") == (3 / 8, 0.5)
    few = torch.cat([three, centres[[3]]])  # one point is less than a quarter of its due
    assert modes(few, "8-gaussians")[0] == 3 / 8


def test_another_name_is_refused():
    with pytest.raises(Problem, match="swiss-roll"):
        points("swiss", 3, numpy.random.default_rng(0))
