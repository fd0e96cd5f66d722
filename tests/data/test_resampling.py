"""Chances, subsets and made-up points against counts, segments by hand, and imbalanced-learn."""

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data import resampling

COUNTS = [16, 8, 4, 2]
Y = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))


def features(n=30, d=6):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1))


def distance_to_segment(point, a, b):
    u = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(point - a - u * (b - a))


def distance_to_neighbours(point, own, neighbours):
    """From a point to the nearest segment between a row of `own` and one of its neighbours."""
    found = []
    for i, a in enumerate(own):
        near = sorted((j for j in range(len(own)) if j != i), key=lambda j: np.linalg.norm(own[j] - a))[:neighbours]
        found += [distance_to_segment(point, a, own[j]) for j in near]
    return min(found)


def test_examples_or_classes_are_drawn_alike():
    assert resampling.drawing_chances(Y, 0.0) == pytest.approx(np.full(30, 1 / 30))
    assert np.bincount(Y, resampling.drawing_chances(Y, 1.0)) == pytest.approx([0.25] * 4)
    root = np.bincount(Y, resampling.drawing_chances(Y, 0.5))
    assert root == pytest.approx(np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())


@pytest.mark.parametrize(("power", "sizes"), [(0.0, [16, 8, 4, 2]), (1.0, [2, 2, 2, 2]), (1 / 3, [8, 8, 4, 2])])
def test_undersampling_caps_the_classes(power, sizes):
    rows = resampling.undersample(Y, power, np.random.default_rng(0))
    assert torch.bincount(Y[rows]).tolist() == sizes
    assert len(rows.unique()) == len(rows)
    assert rows.equal(rows.sort().values)


def test_what_a_class_lacks():
    assert resampling.lacking(Y, 1.0) == [0, 8, 12, 14]
    assert resampling.lacking(Y, 0.0) == [0, 0, 0, 0]
    assert resampling.lacking(Y, 0.5) == [0, round(128**0.5) - 8, 4, round(32**0.5) - 2]


def test_smote_lies_between_an_example_and_one_of_its_nearest():
    x = features()
    made, classes = resampling.smote(x, Y, [5, 0, 6, 7], np.random.default_rng(0), neighbours=2)
    assert torch.bincount(classes).tolist() == [5, 0, 6, 7]
    assert made.dtype == x.dtype
    for point, c in zip(made.numpy(), classes.tolist(), strict=True):
        assert distance_to_neighbours(point, x[c == Y].numpy(), 2) < 1e-5
    assert len(torch.cat([made, x]).unique(dim=0)) == 18 + 30  # between them, and not on them


def test_smote_of_a_single_example_repeats_it_and_of_none_is_refused():
    x = features(3)
    made, _ = resampling.smote(x, torch.tensor([0, 0, 1]), [0, 2], np.random.default_rng(0))
    assert made.equal(x[[2, 2]])
    none, classes = resampling.smote(x, torch.tensor([0, 0, 1]), [0, 0], np.random.default_rng(0))
    assert (none.shape, len(classes)) == ((0, 6), 0)
    with pytest.raises(Problem, match="class 1 has no example"):
        resampling.smote(x, torch.tensor([0, 0, 2]), [0, 1, 0], np.random.default_rng(0))


def test_imbalanced_learns_smote_makes_points_of_the_same_kind():
    over = pytest.importorskip("imblearn.over_sampling")
    x = features()
    theirs, label = over.SMOTE(k_neighbors=1, random_state=0).fit_resample(x.numpy(), Y.numpy())
    made, classes = resampling.smote(x, Y, resampling.lacking(Y, 1.0), np.random.default_rng(0), neighbours=1)
    assert np.bincount(label[30:]).tolist() == torch.bincount(classes).tolist()
    for points, of in ((theirs[30:], label[30:]), (made.numpy(), classes.numpy())):
        for point, c in zip(points, of, strict=True):
            assert distance_to_neighbours(point, x[int(c) == Y].numpy(), 1) < 1e-5
