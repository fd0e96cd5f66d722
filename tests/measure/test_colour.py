import itertools

import numpy
import pytest
import torch

from etudes.measure.colour import area_under_colour_errors, colourfulness


def test_colourfulness_by_hand():
    x = torch.zeros(2, 3, 1, 2)
    x[0] = 0.4  # grey
    x[1, 0, 0, 0] = 1.0  # a red and a black pixel: rg = (255, 0), yb = (127.5, 0)
    rg, yb = numpy.array([255, 0]), numpy.array([127.5, 0])
    known = numpy.sqrt(rg.var() + yb.var()) + 0.3 * numpy.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colourfulness(x).tolist() == pytest.approx([0, known])


def test_the_area_is_that_under_a_counted_curve():
    chance = numpy.random.default_rng(0)
    error, weights = torch.from_numpy(chance.uniform(0, 200, 300)), torch.from_numpy(chance.uniform(0.1, 2, 300))
    shares = [float(weights[error <= limit].sum() / weights.sum()) for limit in range(151)]
    known = sum((a + b) / 2 for a, b in itertools.pairwise(shares)) / 150
    assert area_under_colour_errors(error, weights) == pytest.approx(known)


def test_all_right_is_one_and_all_wrong_is_nothing():
    assert area_under_colour_errors(torch.zeros(5), torch.ones(5)) == 1
    assert area_under_colour_errors(torch.full((5,), 151.0), torch.ones(5)) == 0
