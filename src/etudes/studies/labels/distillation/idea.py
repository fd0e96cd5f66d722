"""What a student is trained on: a teacher's softened probabilities, what is left when they are spoilt, hard labels."""

from typing import Literal

import numpy
import torch
from torch import Tensor

from etudes.core import Problem
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.losses.distillation import distillation, soften

Targets = Literal["teacher", "permuted", "even", "smoothed"]


def objective(
    logits: Tensor, target: Tensor, labels: Tensor, temperature: float, hard: float, scaled: bool = True
) -> Tensor:
    """(1 - h) T^2 KL(target || softmax(z / T)) + h CE(labels, softmax(z)), a mean over the batch (sec. 2).

    logits z [n, k], target [n, k] softened by T, labels [n]; h is the weight of the hard labels.
    """
    soft = distillation(logits, target, temperature, scaled=scaled)
    return (1 - hard) * soft + hard * cross_entropy(logits, one_hot(labels, logits.shape[1]))


def soft_targets(
    kind: Targets, teacher: Tensor, labels: Tensor, temperature: float, epsilon: float, rng: numpy.random.Generator
) -> Tensor:
    """The probabilities [n, k] that a student is to match, of a teacher's logits [n, k] and labels [n].

    "teacher" are its own, at temperature T. "permuted" keeps the likeliest class and shuffles the others, picture by
    picture (Furlanello et al. 2018, arXiv:1805.04770, sec. 4, who call it DKPP); "even" gives each of the others the
    same. Neither says any more which wrong classes a picture resembles; both say how sure the teacher is. "smoothed"
    knows no teacher: (1 - e) one-hot + e / k (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).
    """
    n, k = teacher.shape
    if kind == "smoothed":
        return (1 - epsilon) * one_hot(labels, k) + epsilon / k
    target = soften(teacher, temperature)
    if kind == "teacher":
        return target
    best = target.argmax(1, keepdim=True)
    others = torch.arange(k - 1, device=target.device).expand(n, -1)
    others = others + (others >= best).long()
    if kind == "even":
        left = (1 - target.gather(1, best)) / (k - 1)
        return target.scatter(1, others, left.expand(n, k - 1))
    order = torch.from_numpy(rng.permuted(numpy.tile(numpy.arange(k - 1), (n, 1)), axis=1)).to(target.device)
    return target.scatter(1, others, target.gather(1, others.gather(1, order)))


def best_offset(logits: Tensor, labels: Tensor, classes: tuple[int, ...]) -> float:
    """What, added to the logits of these classes, makes the fewest errors: the middle of the best, -20 to 20 by 0.1.

    It corrects the biases of classes that a student was never shown (sec. 3).
    """
    if not classes:
        raise Problem("no class is missing; name some whose bias is to be corrected")
    tried = torch.arange(-200, 201, device=logits.device) / 10
    errors = torch.stack([(shift(logits, classes, float(t)).argmax(1) != labels).sum() for t in tried])
    return tried[errors == errors.min()].median().item()


def shift(logits: Tensor, classes: tuple[int, ...], offset: float) -> Tensor:
    """The logits [n, k] with the offset added to those of some classes."""
    moved = logits.clone()
    moved[:, list(classes)] += offset
    return moved
