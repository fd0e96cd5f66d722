"""Losses on logits [n, classes]: softmax, one logistic a class, a multi-class margin; and targets for pictures without
labels."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.losses.cross_entropy import one_hot

Loss = Literal["softmax", "logistic", "margin"]


def loss_each(logits: Tensor, y: Tensor, kind: Loss) -> Tensor:
    """The loss [n] of each example with class y: [n].

    "softmax": cross-entropy. "logistic": binary cross-entropies of all classes, summed. "margin": the multi-class
    support vector machine, the sum over j other than y of max(0, 1 + s_j - s_y) (Weston & Watkins 1999, eq. 3).
    """
    if kind == "softmax":
        return functional.cross_entropy(logits, y, reduction="none")
    target = one_hot(y, logits.shape[1])
    if kind == "logistic":
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)
    right = logits.gather(1, y[:, None])
    return ((1 + logits - right).clamp_min(0) * (1 - target)).sum(1)


class Marginal(nn.Module):
    """The running mean probability [classes] of each class over the pictures without labels: uniform at first."""

    mean: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((classes,), 1 / classes))

    def align(self, probabilities: Tensor) -> Tensor:
        """Probabilities [n, classes], each divided by its class's running mean, and made to sum to 1 again: no class is
        said more often than another (Berthelot et al. 2020, arXiv:1911.09785, sec. 3.1, for classes that are equally
        frequent). The mean moves first, by a tenth towards theirs."""
        self.mean.lerp_(probabilities.mean(0), 0.1)
        aligned = probabilities / self.mean
        return aligned / aligned.sum(1, keepdim=True)


def pseudo_labels(logits: Tensor, threshold: float, marginal: Marginal | None = None) -> tuple[Tensor, Tensor]:
    """The most probable class [n], and whether its probability reaches the threshold [n] (Sohn et al. 2020,
    arXiv:2001.07685, eq. 4), with probabilities aligned where a marginal is given; no gradient goes through either."""
    probabilities = logits.detach().softmax(1)
    confidence, label = (marginal.align(probabilities) if marginal else probabilities).max(1)
    return label, confidence >= threshold


def pseudo_loss(logits: Tensor, label: Tensor, sure: Tensor) -> Tensor:
    """The mean over all n pictures of the cross-entropy of those whose pseudo-label is sure (eq. 4)."""
    return (functional.cross_entropy(logits, label, reduction="none") * sure).mean()


def rise(step: int, steps: int) -> float:
    """The weight of pictures without labels: 0 for a fifth of the steps, then up a straight line to 1 at four fifths
    (Lee 2013, eq. 16)."""
    return min(1.0, max(0.0, (step / steps - 0.2) / 0.6))
