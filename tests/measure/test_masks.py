import math

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.measure import masks as measure


def pair(seed=0, n=5, classes=3, side=9):
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.integers(0, classes, (n, side, side)))
    wrong = torch.from_numpy(rng.random((n, side, side)) < 0.3)
    return torch.where(wrong, torch.from_numpy(rng.integers(0, classes, (n, side, side))), truth), truth


def test_counts_overlaps_and_accuracy_are_the_naive_loop():
    predicted, truth = pair()
    each = measure.confusions(predicted, truth, 3)
    assert each.sum() == truth.numel()
    for i in range(len(truth)):
        for a in range(3):
            for b in range(3):
                assert each[i, a, b] == ((truth[i] == a) & (predicted[i] == b)).sum()
    whole = each.sum(0)
    for k in range(3):
        one, other = truth == k, predicted == k
        assert measure.iou(whole)[k] == pytest.approx(((one & other).sum() / (one | other).sum()).item())
        assert measure.dice(whole)[k] == pytest.approx((2 * (one & other).sum() / (one.sum() + other.sum())).item())
    score = measure.iou(whole)
    assert torch.allclose(measure.dice(whole), 2 * score / (1 + score))
    assert measure.accuracy(whole) == pytest.approx((predicted == truth).double().mean().item())
    with pytest.raises(Problem, match="of one shape"):
        measure.confusions(predicted[:2], truth, 3)


def test_dice_by_picture_is_not_that_of_the_batch_and_empty_pictures_count_as_said():
    truth, predicted = torch.zeros(3, 10, 10), torch.zeros(3, 10, 10)
    truth[0, :5], predicted[0, :5] = 1, 1  # a large object, found whole
    truth[1, 0, 0], predicted[1, 9, 9] = 1, 1  # a small one, missed
    each = measure.dice(measure.confusions(predicted.long(), truth.long(), 2))[:, 1]
    assert each[:2].tolist() == [1, 0]
    assert math.isnan(each[2])  # neither mask nor prediction: no overlap to speak of
    assert measure.mean(each) == 0.5
    whole = measure.dice(measure.confusions(predicted.long(), truth.long(), 2).sum(0))[1]
    assert whole == pytest.approx(100 / 102)
    predicted[2, 3, 3] = 1  # something where nothing is
    assert measure.mean(measure.dice(measure.confusions(predicted.long(), truth.long(), 2))[:, 1]) == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_borders_are_the_naive_loop(pixels):
    predicted, truth = pair(1, n=2)
    truth = truth[:, ::3, ::3].repeat_interleave(4, 1).repeat_interleave(4, 2)
    predicted = torch.where(torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) < 0.2, 0, truth)
    wrong = []
    for i, picture in enumerate(truth):
        for r in range(picture.shape[0]):
            for c in range(picture.shape[1]):
                around = picture[max(0, r - pixels) : r + pixels + 1, max(0, c - pixels) : c + pixels + 1]
                if (around != picture[r, c]).any():
                    wrong.append(bool(predicted[i, r, c] != picture[r, c]))
    # A band on both sides: a pixel is near where its surroundings hold two classes.
    assert measure.border_error(predicted, truth, pixels) == pytest.approx(np.mean(wrong))
    assert math.isnan(measure.border_error(truth[:, :2, :2], truth[:, :2, :2] * 0, 1))


def objects():
    true = np.zeros((20, 40), np.int32)
    for number, left in enumerate((1, 9, 17, 25, 33), start=1):
        true[4:14, left : left + 6] = number
    return true


def test_objects_merged_split_and_missed():
    true = objects()
    assert measure.object_errors([true > 0], [true]) == {"merged": 0, "split": 0, "missed": 0, "count": 0}
    found = true > 0
    found[8, 1:15] = True  # a bridge between the first two
    found[8:10, 17:23] = False  # the third falls into two halves
    found[:, 25:31] = False  # the fourth is not there
    found[17:20, 20:30] = True  # and something where nothing is
    scores = measure.object_errors([found], [true])
    assert scores == pytest.approx({"merged": 2 / 5, "split": 1 / 5, "missed": 1 / 5, "count": 0})
    both = measure.object_errors([found, true > 0], [true, true])
    assert both == pytest.approx({"merged": 2 / 10, "split": 1 / 10, "missed": 1 / 10, "count": 0})
    assert measure.object_errors([found & False], [true])["missed"] == 1
    assert all(math.isnan(share) for share in measure.object_errors([found], [true * 0]).values())


def test_specks_are_no_objects():
    true = objects()
    found = true > 0
    found[18, 1:6] = True
    assert measure.object_errors([found], [true])["count"] == 0
    assert measure.object_errors([found], [true], least=4)["count"] == 1 / 5


def test_overlaps_are_the_naive_loop():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, (9, 9)), rng.integers(0, 3, (9, 9))
    table = measure.overlaps(one, other)
    assert all(table[i, j] == ((one == i) & (other == j)).sum() for i in range(4) for j in range(3))


def test_rand_error_counts_pairs_of_pixels():
    true = objects()[:, :16]
    found = true > 0
    found[8, 1:15] = True
    assert measure.rand_error(true > 0, true) == 0
    inside = true > 0
    labels, parts = true[inside], np.ones(inside.sum())  # all in one part
    same_true = labels[:, None] == labels[None, :]
    same_found = parts[:, None] == parts[None, :]
    expected = 1 - 2 * (same_true & same_found).sum() / (same_true.sum() + same_found.sum())
    assert measure.rand_error(found, true) == pytest.approx(expected)
    assert measure.rand_error(found & False, true) > 0.9


def test_otsu_parts_two_heaps_and_is_a_peers():
    rng = np.random.default_rng(0)
    picture = np.concatenate([rng.normal(60, 8, 900), rng.normal(180, 20, 300)]).clip(0, 255).astype(np.uint8)
    limit = measure.otsu(picture)
    assert 85 < limit < 120
    best = max(range(256), key=lambda t: variance(picture, t))
    assert variance(picture, limit) == pytest.approx(variance(picture, best))
    assert measure.otsu(np.full((3, 3), 7, np.uint8)) in range(256)
    filters = pytest.importorskip("skimage.filters")
    assert limit == filters.threshold_otsu(picture)


def variance(picture, limit):
    low, high = picture[picture <= limit].astype(float), picture[picture > limit].astype(float)
    if not len(low) or not len(high):
        return -1
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2
