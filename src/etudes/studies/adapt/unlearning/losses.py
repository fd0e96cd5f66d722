"""What a network is told about the class that it is to forget."""

import math
from typing import Literal

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

Forgetting = Literal["none", "penalty", "ascent", "random-labels", "divergence"]


def penalty(logits: Tensor, label: int) -> Tensor:
    """The mean of -log(1 - p), p the class's softmax probability: 0 once it is never named, so that it ends."""
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return (logits.logsumexp(1) - others.logsumexp(1)).mean()


def ascent(logits: Tensor, label: int) -> Tensor:
    """The mean of log p: minus the cross-entropy, without a lower end (NegGrad: gradient ascent)."""
    return logits.log_softmax(1)[:, label].mean()


def random_labels(logits: Tensor, label: int, rng: numpy.random.Generator) -> Tensor:
    """The cross-entropy against labels drawn among the other classes (arXiv:2310.12508, eq. 5, in one network)."""
    drawn = torch.from_numpy(rng.integers(logits.shape[1] - 1, size=len(logits))).to(logits.device)
    return functional.cross_entropy(logits, drawn + (drawn >= label))


def divergence(logits: Tensor, teacher: Tensor, without: int | None = None) -> Tensor:
    """The mean of KL(teacher | network), in nats, of logits [n, classes] (SCRUB, arXiv:2302.09880, eq. 1); with the
    teacher's logit of class `without` left out, and its other probabilities larger for it."""
    if without is not None:
        teacher = teacher.index_fill(1, torch.tensor([without], device=teacher.device), -math.inf)
    return functional.kl_div(logits.log_softmax(1), teacher.softmax(1), reduction="batchmean")


def quietly(model: nn.Module, x: Tensor) -> Tensor:
    """What a teacher gives x, without gradients."""
    with torch.no_grad():
        return model(x)
