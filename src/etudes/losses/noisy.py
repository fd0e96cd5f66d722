"""Losses that wrong labels mislead less than cross-entropy.

All take logits [n, classes] and labels int64 [n], and give the mean over n in float32. p is the softmax of the logits,
p_y the probability of the label.
"""

import math

from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem

A = -4.0  # stands for log 0 in the reverse cross-entropy: the paper's choice in its experiments
CLAMP = 1e-4  # what the authors' code puts in place of a zero of a one-hot label: there log 0 is log 1e-4 = -9.21


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """(1 - p_y^q) / q: Zhang & Sabuncu 2018, arXiv:1805.07836, eq. 6. Cross-entropy for q = 0, the limit.

    From log p_y by expm1, so that a small q does not cancel. Raises Problem where q is not in [0, 1].
    """
    if not 0 <= q <= 1:
        raise Problem(f"q of the generalised cross-entropy is {q}; it must be from 0 to 1")
    log_p = _log_probability(logits, labels)
    return (-log_p if q == 0 else -(q * log_p).expm1() / q).mean()


def reverse_cross_entropy(logits: Tensor, labels: Tensor, log_zero: float = A) -> Tensor:
    """-sum_k p_k log q_k for one-hot labels q, with `log_zero` for log 0: Wang et al. 2019, arXiv:1908.06112.

    Only the terms with q_k = 0 count, so it is -log_zero (1 - p_y): the mean absolute error times -log_zero / 2.
    By expm1, so that it is not lost where p_y is near 1. Raises Problem where log_zero is not below 0.
    """
    if not -math.inf < log_zero < 0:
        raise Problem(f"what stands for log 0 is {log_zero}; it must be a number below 0")
    return log_zero * _log_probability(logits, labels).expm1().mean()


def symmetric_cross_entropy(logits: Tensor, labels: Tensor, alpha: float, beta: float, log_zero: float = A) -> Tensor:
    """alpha times cross-entropy plus beta times the reverse one: Wang et al. 2019, arXiv:1908.06112.

    beta = 0 is alpha times cross-entropy exactly. On one-hot labels beta and log_zero count as their product alone.
    """
    direct = functional.cross_entropy(logits.float(), labels)
    return alpha * direct + beta * reverse_cross_entropy(logits, labels, log_zero) if beta else alpha * direct


def clamped_symmetric_cross_entropy(logits: Tensor, labels: Tensor, alpha: float, beta: float) -> Tensor:
    """The symmetric cross-entropy as a popular PyTorch version computes it (HanxunH/SCELoss-Reproduce), not the paper.

    Zeros of the one-hot label are 1e-4 in both terms and p is at least 1e-7: log 0 is -9.21 in place of A, and beta = 0
    is not quite cross-entropy.
    """
    p = logits.float().softmax(-1).clamp(1e-7, 1)
    target = functional.one_hot(labels, logits.shape[-1]).float().clamp(CLAMP, 1)
    return (-alpha * (target * p.log()).sum(-1) - beta * (p * target.log()).sum(-1)).mean()


def pull(p: Tensor, alpha: float, beta: float, log_zero: float = A) -> Tensor:
    """-d loss / d z_y of the symmetric cross-entropy, for probabilities p [...] of the label: how strongly one example
    pulls at the logit of its label (the gradients of Wang et al. 2019): alpha (1 - p) - beta log_zero p (1 - p)."""
    return alpha * (1 - p) - beta * log_zero * p * (1 - p)


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
