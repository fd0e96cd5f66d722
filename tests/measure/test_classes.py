import math

import pytest
import torch

from etudes.data.images import images
from etudes.measure.classes import by_difficulty, class_errors
from etudes.measure.error import error_rate


class Says(torch.nn.Module):
    """Says one class of every picture."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return torch.nn.functional.one_hot(torch.full((len(x),), self.answer), 10).float()


def test_classes_are_easy_where_the_nearest_mean_is_their_own():
    d = images("digits").take(torch.arange(300))
    order = by_difficulty(d.x, d.y)
    assert sorted(order) == list(range(10))
    x, missed = d.x.double().flatten(1) / 255, dict.fromkeys(range(10), 0.0)
    means = [x[d.y == c].mean(0) for c in range(10)]
    for picture, label in zip(x, d.y.tolist(), strict=True):
        nearest = min(range(10), key=lambda c: float((picture - means[c]).square().sum()))
        missed[label] += (nearest != label) / int((d.y == label).sum())
    assert [missed[c] for c in order] == sorted(missed.values())


def test_classes_that_are_absent_have_no_place_and_no_error():
    d = images("digits")
    kept = (d.y == 3) | (d.y == 8)
    assert sorted(by_difficulty(d.x[kept], d.y[kept])) == [3, 8]
    errors = class_errors(Says(3), d.x[kept], d.y[kept], (8, 3, 0))
    assert errors[:2] == [1, 0]
    assert math.isnan(errors[2])


def test_errors_by_class_are_those_of_their_pictures_alone():
    d = images("digits")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    errors = class_errors(model, d.test_x, d.test_y, (7, 2))
    for c, error in zip((7, 2), errors, strict=True):
        assert error == pytest.approx(error_rate(model, d.test_x[d.test_y == c], d.test_y[d.test_y == c]))
