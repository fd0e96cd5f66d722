"""How good predicted masks are: overlap of classes, errors near borders, objects merged, split and missed.

A class that is neither in the mask nor in the prediction has no overlap: 0 / 0. It is nan here and left out of means;
a class that is in one of them alone has overlap 0. Giving the first case 1, as some do, pays for empty pictures.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data.instances import components

LEAST = 10  # pixels of an object, or of a part, that counts


def confusions(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How many pixels of each picture have a true class and a predicted one: int64 [n, classes, classes], true first.

    Both are whole numbers [n, h, w]; over the whole set it is the sum over n.
    """
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise Problem(f"masks are compared as [n, h, w] of one shape, not {[*predicted.shape]} and {[*truth.shape]}")
    n = len(truth)
    pairs = truth.long() * classes + predicted.long()
    pairs = pairs + classes**2 * torch.arange(n, device=truth.device)[:, None, None]
    return torch.bincount(pairs.reshape(-1), minlength=n * classes**2).reshape(n, classes, classes)


def iou(confusion: Tensor) -> Tensor:
    """Of each class, [.., classes] float64: its true and predicted pixels' intersection over their union."""
    both, true, found = _sizes(confusion)
    return both / (true + found - both)


def dice(confusion: Tensor) -> Tensor:
    """Of each class, [.., classes] float64: twice the intersection over the sum of the two sizes, 2 iou / (1 + iou)."""
    both, true, found = _sizes(confusion)
    return 2 * both / (true + found)


def _sizes(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1), counts.sum(-2)


def accuracy(confusion: Tensor) -> float:
    """The share of pixels with their true class, of [.., classes, classes] together."""
    return confusion.diagonal(dim1=-2, dim2=-1).sum().item() / confusion.sum().item()


def mean(scores: Tensor) -> float:
    """The mean of those scores that are not nan; nan where all are."""
    return scores.nanmean().item()


def near_border(truth: Tensor, pixels: int) -> Tensor:
    """Which pixels [n, h, w] have another class within `pixels` up, down or aside, diagonals included: a band on both
    sides of every border (the trimap of Kohli et al. 2009, doi:10.1007/s11263-008-0202-0)."""
    values = truth[:, None].float()
    size = 2 * pixels + 1
    highest = torch.nn.functional.max_pool2d(values, size, 1, pixels)
    lowest = -torch.nn.functional.max_pool2d(-values, size, 1, pixels)
    return (highest != lowest)[:, 0]


def border_error(predicted: Tensor, truth: Tensor, pixels: int) -> float:
    """The share of wrong pixels among those within `pixels` of a border of the truth; nan where there is none."""
    return (predicted != truth)[near_border(truth, pixels)].double().mean().item()


def object_errors(
    predicted: Sequence[np.ndarray], instances: Sequence[np.ndarray], least: int = LEAST
) -> dict[str, float]:
    """What becomes of the true objects of pictures: the shares "merged", "split" and "missed", and "count".

    predicted: masks [h, w], whose connected parts are the predicted objects. instances: [h, w], true objects numbered
    from 1. Objects and parts of less than `least` pixels do not count. An object lies in a part that has more than half
    of it, a part in an object that has more than half of the part.

    merged: objects that lie in one part with another; split: objects in which two parts or more lie; missed: objects of
    which half or more is background. All over the number of true objects. "count" is the mean over pictures of
    |parts - objects| over the mean number of objects. All are nan without an object.
    """
    totals = np.zeros(4)
    objects = 0
    for mask, true in zip(predicted, instances, strict=True):
        table = overlaps(true, components(mask))
        areas, parts = table.sum(1)[1:], table.sum(0)[1:]
        rows, columns = areas >= least, parts >= least
        inner = table[1:, 1:][rows][:, columns]
        lies_in = inner > areas[rows][:, None] / 2
        merged = (lies_in & (lies_in.sum(0, keepdims=True) > 1)).any(1)
        split = (inner > parts[columns][None, :] / 2).sum(1) > 1
        missed = table[1:, 0][rows] >= areas[rows] / 2
        totals += merged.sum(), split.sum(), missed.sum(), abs(int(columns.sum()) - int(rows.sum()))
        objects += int(rows.sum())
    shares = totals / objects if objects else np.full(4, np.nan)
    return dict(zip(("merged", "split", "missed", "count"), shares.tolist(), strict=True))


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many pixels have number i in one and j in the other: int64 [highest of one + 1, highest of the other + 1]."""
    wide = int(other.max()) + 1
    pairs = one.astype(np.int64).ravel() * wide + other.ravel()
    return np.bincount(pairs, minlength=(int(one.max()) + 1) * wide).reshape(-1, wide)


def rand_error(predicted: np.ndarray, instances: np.ndarray) -> float:
    """1 minus the F-score of pairs of pixels of a picture that are in one object: Rand error of the ISBI challenge.

    Pairs among the pixels of true objects; a predicted background is so many objects of one pixel (Arganda-Carreras et
    al. 2015, doi:10.3389/fnana.2015.00142, foreground-restricted Rand, not thinned and without their epsilon).
    """
    inside = instances > 0
    parts = components(predicted)
    alone = inside & (parts == 0)
    parts[alone] = parts.max() + 1 + np.arange(alone.sum())
    _, true = np.unique(instances[inside], return_inverse=True)
    _, found = np.unique(parts[inside], return_inverse=True)
    # Pairs, each pixel with itself too, as in the challenge; a table of all objects would be too large.
    _, together = np.unique(true.astype(np.int64) * (int(found.max()) + 1) + found, return_counts=True)
    both = (together.astype(float) ** 2).sum()
    sizes = [(np.bincount(numbers).astype(float) ** 2).sum() for numbers in (true, found)]
    return 1 - 2 * both / sum(sizes)


def otsu(picture: np.ndarray) -> int:
    """The grey 0 .. 255 above which a picture uint8 is taken for foreground: that of the largest variance between the
    two sides (Otsu 1979, doi:10.1109/TSMC.1979.4310076). A baseline that learns nothing."""
    counts = np.bincount(picture.ravel(), minlength=256).astype(float)
    weight = counts.cumsum()
    total = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * weight / weight[-1] - total) ** 2 / (weight * (weight[-1] - weight))
    return int(np.nan_to_num(between, nan=-1, posinf=-1).argmax())
