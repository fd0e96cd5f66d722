"""The loss of distillation: a network's softened probabilities against those of a teacher, or against any others."""

import torch
from torch import Tensor

from etudes.core.errors import Problem


def soften(logits: Tensor, temperature: float) -> Tensor:
    """The probabilities softmax(z / T) [n, k], in float32 (Hinton, Vinyals, Dean 2015, arXiv:1503.02531, eq. 1).

    T = 1 is the ordinary softmax; towards large T all classes become equal. Problem where T is not above 0.
    """
    _check(temperature)
    return (logits.float() / temperature).softmax(-1)


def distillation(logits: Tensor, target: Tensor, temperature: float = 1.0, *, scaled: bool = True) -> Tensor:
    """T^2 times the mean over n of KL(target || softmax(logits / T)), in nats, in float32.

    `logits` [n, k] are the student's, as its last layer gives them; `target` [n, k] are probabilities that were
    softened by the same T, see `soften`. The direction is the paper's: its gradient is that of the cross-entropy with
    soft targets, of which KL is what the student can change. It is summed over classes and averaged over examples, as
    by reduction="batchmean" of PyTorch's kl_div. Gradients shrink as 1 / T^2, so T^2 keeps their share beside hard
    labels whatever T is (sec. 2); `scaled=False` leaves it out. Problem on T not above 0, and on shapes that differ.
    """
    _check(temperature)
    if logits.shape != target.shape:
        raise Problem(f"logits have shape {tuple(logits.shape)} and targets {tuple(target.shape)}; they must agree")
    target = target.float()
    predicted = (logits.float() / temperature).log_softmax(-1)
    divergence = (torch.xlogy(target, target) - target * predicted).sum(-1).mean()
    return temperature**2 * divergence if scaled else divergence


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise Problem(f"the temperature is {temperature}, but must be above 0")
