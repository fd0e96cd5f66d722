"""Losses of segmentation: cross-entropy with a weight a pixel, soft Dice by picture or by batch, and their sum."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import unknown

Loss = Literal["cross-entropy", "dice", "dice-batch", "both"]
LOSSES = ("cross-entropy", "dice", "dice-batch", "both")


def pixel_cross_entropy(logits: Tensor, classes: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over pixels of -w log p(class), in nats and float32 (Ronneberger et al. 2015, arXiv:1505.04597, eq. 1).

    logits [n, k, h, w], classes [n, h, w], weights [n, h, w]; without weights w = 1. The mean is over pixels and not
    over weights, so weights of mean 1 leave the size of a step as it is.
    """
    losses = functional.cross_entropy(logits.float(), classes.long(), reduction="none")
    return (losses if weights is None else weights * losses).mean()


def soft_dice(
    logits: Tensor, classes: Tensor, over: Literal["picture", "batch"] = "picture", smooth: float = 1
) -> Tensor:
    """1 minus the mean over classes but the background of (2 sum p g + s) / (sum p + sum g + s), in float32.

    p are probabilities and g is 1 at the class's own pixels, 0 else; sums run over each picture apart, whose losses are
    then averaged, or over the whole batch. s = `smooth` in pixels: a picture without the class, of which nothing is
    predicted, has loss 0. (Milletari et al. 2016, arXiv:1606.04797, sec. 3, have squares below; Drozdzal et al. 2016,
    arXiv:1608.04117, eq. 2, have not. nnU-Net takes sums over the batch in two dimensions.)
    """
    probabilities = logits.float().softmax(1)[:, 1:]
    own = functional.one_hot(classes.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].to(probabilities.dtype)
    dims = (2, 3) if over == "picture" else (0, 2, 3)
    both = (probabilities * own).sum(dims)
    return 1 - ((2 * both + smooth) / (probabilities.sum(dims) + own.sum(dims) + smooth)).mean()


def segmentation_loss(kind: Loss, logits: Tensor, classes: Tensor, weights: Tensor | None = None) -> Tensor:
    """A loss by its name: "cross-entropy" with the weights, "dice" by picture, "dice-batch", or "both": cross-entropy
    plus soft Dice over the batch, as in nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""
    if kind not in LOSSES:
        raise unknown("loss of segmentation", kind, LOSSES)
    total = torch.zeros((), device=logits.device)
    if kind in ("cross-entropy", "both"):
        total = total + pixel_cross_entropy(logits, classes, weights)
    if kind != "cross-entropy":
        total = total + soft_dice(logits, classes, "picture" if kind == "dice" else "batch")
    return total
