import math

import pytest
import torch
from torch import nn

from etudes.measure.frechet import frechet
from etudes.studies.generative.ddpm_sdedit.yardstick import Yardstick


class Corners(nn.Module):
    """Three pixels of a picture as its features."""

    def forward(self, x):
        return torch.stack([x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 0, 1, 0]], 1)


def made(only=-1):
    chance = torch.Generator().manual_seed(0)
    last = nn.Linear(3, 3, bias=False)
    last.weight.data = 2 * torch.eye(3)
    # Dropout shows whether pictures are judged in evaluation mode.
    classifier = nn.Sequential(Corners(), nn.Dropout(0.5), last)
    return Yardstick(classifier, *(torch.rand(n, 1, 4, 4, generator=chance) for n in (30, 700)), only)


def test_distances_are_between_what_the_last_layer_sees():
    y = made()
    corners = [torch.stack([x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 0, 1, 0]], 1) for x in (y.train, y.test)]
    assert torch.equal(y.features(y.test), corners[1])
    assert y.distance(y.train) == pytest.approx(frechet(*corners))
    assert y.distance(y.test) == pytest.approx(0, abs=1e-6)
    assert y.distance(y.test * 0.2) > 10 * y.distance(y.train)
    assert y.classifier.training


def test_confidence_is_in_the_datas_class_or_in_the_likeliest():
    x = torch.zeros(2, 1, 4, 4)
    x[0, 0, 0, 0], x[1, 0, 1, 0] = 1, 1
    peak, rest = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    assert made().confidence(x) == pytest.approx(peak)
    assert made(only=0).confidence(x) == pytest.approx((peak + rest) / 2)
    assert made(only=1).confidence(x) == pytest.approx(rest)


def test_the_nearest_is_of_the_training_pictures():
    y = made()
    near = y.train[[3, 5]].clone()
    near[0, 0, 2, 2] += 0.01
    assert y.nearest(near) == pytest.approx(0.005, rel=1e-4)
    assert y.nearest(y.test) > 0.1
