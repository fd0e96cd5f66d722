"""Errors class by class, and which classes are hard by a rule that knows no network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from etudes.data.images import unit
from etudes.measure.error import predictions


def by_difficulty(x: Tensor, y: Tensor) -> list[int]:
    """The classes of y: int64 [n], easiest first: by the share of their pictures x: [n, c, h, w], uint8, that are
    nearest to the mean picture of another class."""
    flat, classes = unit(x).flatten(1), y.unique()
    means = torch.stack([flat[y == c].mean(0) for c in classes])
    missed = classes[torch.cdist(flat, means).argmin(1)] != y
    return sorted(classes.tolist(), key=lambda c: (missed[y == c].double().mean().item(), c))


def class_errors(model: nn.Module, x: Tensor, y: Tensor, classes: Sequence[int]) -> list[float]:
    """The error rate in [0, 1] on the pictures of each of the classes, in their order; nan where there is none."""
    missed = predictions(model, x) != y
    return [missed[y == c].double().mean().item() for c in classes]
