"""Losses on logits [n, classes]: softmax, one logistic a class, a multi-class margin; and targets for pictures without
labels."""

from typing import Literal

from torch import Tensor
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


def pseudo_labels(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The most probable class [n], and whether its probability reaches the threshold [n] (Sohn et al. 2020,
    arXiv:2001.07685, eq. 4); no gradient goes through either."""
    confidence, label = logits.detach().softmax(1).max(1)
    return label, confidence >= threshold


def pseudo_loss(logits: Tensor, label: Tensor, sure: Tensor) -> Tensor:
    """The mean over all n pictures of the cross-entropy of those whose pseudo-label is sure (eq. 4)."""
    return (functional.cross_entropy(logits, label, reduction="none") * sure).mean()
