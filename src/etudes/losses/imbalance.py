"""Losses, and corrections of logits, for classes of which some have far fewer examples than others.

`counts` [classes] are training examples of each class, `prior` their shares. Reductions are means over n, in float32.
"""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem


def effective_weights(counts: Tensor, beta: float, power: float = 1.0) -> Tensor:
    """Weights [classes] with mean 1 that fall with the effective number of examples: ((1 - b) / (1 - b^n))^power.

    Cui et al. 2019, arXiv:1901.05555, sec. 4: b = 0 weighs all alike, b -> 1 by 1 / n. `power`, ours, tempers them.
    """
    _check(counts)
    if not 0 <= beta < 1:
        raise Problem(f"beta is {beta}; it must be at least 0 and below 1")
    weights = ((1 - beta) / (1 - beta ** counts.double())) ** power
    return (weights / weights.mean()).float()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The mean over n of w_y times the cross-entropy. It is divided by n, and not by the weights of the batch."""
    return (weights[labels] * functional.cross_entropy(logits.float(), labels, reduction="none")).mean()


def balanced_softmax(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """The mean of -log(n_y exp(z_y) / sum_k n_k exp(z_k)): Ren et al. 2020, arXiv:2007.10740, eq. 4."""
    _check(counts)
    shifted = logits.float() - logits.float().amax(1, keepdim=True)
    scores = counts.float() * shifted.exp()
    return -(scores.gather(1, labels[:, None])[:, 0] / scores.sum(1)).log().mean()


def logit_adjusted(logits: Tensor, labels: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    """The cross-entropy of z + tau log(prior): Menon et al. 2020, arXiv:2007.07314, eq. 10.

    tau = 1 is the balanced softmax, as a constant in all logits changes nothing.
    """
    return functional.cross_entropy(logits.float() + tau * prior.float().log(), labels)


def adjust(logits: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    """z - tau log(prior), after a training without any of it: Menon et al. 2020, eq. 9."""
    return logits.float() - tau * prior.float().log()


def ldam_margins(counts: Tensor, largest: float) -> Tensor:
    """Margins [classes] proportional to n^(-1/4), the rarest class with `largest`: Cao et al. 2019, arXiv:1906.07413,
    eq. 11."""
    _check(counts)
    margins = counts.float() ** -0.25
    return largest * margins / margins.max()


def ldam(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float, weights: Tensor) -> Tensor:
    """The weighted cross-entropy of scale * cosine, where the true class's cosine is smaller by its margin.

    Cao et al. 2019, eq. 13; unit features and weights and the scale are of the authors' code.
    """
    reduced = cosines.float() - functional.one_hot(labels, len(margins)) * margins
    return weighted_cross_entropy(scale * reduced, labels, weights)


def tau_normalise(weight: Tensor, tau: float) -> Tensor:
    """Each class's weights [classes, features] divided by their length to the power tau: Kang et al. 2019,
    arXiv:1910.09217, eq. 4."""
    return weight / weight.norm(dim=1, keepdim=True) ** tau


def _check(counts: Tensor) -> None:
    if not len(counts) or float(counts.min()) < 1:
        least = float(counts.min()) if len(counts) else "none"
        raise Problem(f"every class needs a training example, and the rarest has {least}; leave empty classes out")


def shares(counts: Tensor) -> Tensor:
    """The prior [classes] of counts, above 0. Raises Problem on a class without an example."""
    _check(counts)
    return counts / counts.sum()


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The mean over n of -(1 - p_y)^gamma log p_y: Lin et al. 2017, arXiv:1708.02002, eq. 4.

    It counts less what is learnt already, and asks no counts. gamma = 0 is cross-entropy.
    """
    log_p = functional.log_softmax(logits.float(), 1).gather(1, labels[:, None])[:, 0]
    # 1 - p is rounded to 0 where p is nearly 1, and its power has no gradient there.
    return -((-log_p.expm1()).clamp_min(torch.finfo(torch.float32).tiny) ** gamma * log_p).mean()


def expert_divergence(logits: Tensor) -> Tensor:
    """How unlike the answers of k experts are, from logits [k, n, classes]: the mean over n, and over ordered pairs of
    experts i and j, of KL(p_i || p_j).

    Subtracted from their losses it makes them differ: Wang et al. 2020, arXiv:2010.01809, eq. 2, without its
    temperatures of classes. Raises Problem on a single expert.
    """
    k = len(logits)
    if k < 2:
        raise Problem(f"experts differ from each other, and there is {k}; take two or more")
    log_p = functional.log_softmax(logits.float(), -1)
    # sum over i, j of p_i (log p_i - log p_j); the terms with i = j are 0.
    own = k * (log_p.exp() * log_p).sum((0, 2))
    crossed = (log_p.exp().sum(0) * log_p.sum(0)).sum(1)
    return ((own - crossed) / (k * (k - 1))).mean()
