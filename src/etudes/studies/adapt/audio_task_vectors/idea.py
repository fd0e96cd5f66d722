"""Task arithmetic: what is added to a network's weights, by how much, and how that is chosen without the test."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.train.arithmetic import match, minus, plus, scaled

Vector = Mapping[str, Tensor]


def add(base: Vector, vectors: Sequence[Vector], coefficient: float) -> dict[str, Tensor]:
    """base + coefficient * (the sum of the vectors) (sec. 4): one network for all their tasks.

    >>> add({"w": torch.tensor([1.0])}, [{"w": torch.tensor([2.0])}, {"w": torch.tensor([4.0])}], 0.5)
    {'w': tensor([4.])}
    """
    return plus(base, *(scaled(vector, coefficient) for vector in vectors))


def negate(base: Vector, vector: Vector, coefficient: float) -> dict[str, Tensor]:
    """base - coefficient * vector (sec. 3): a network that has forgotten a task."""
    return add(base, [vector], -coefficient)


def analogy(c: Vector, b: Vector, a: Vector, coefficient: float) -> dict[str, Tensor]:
    """c + coefficient * (b - a) (sec. 5): what b has learnt beyond a is given to c. All three are weights."""
    return add(c, [minus(b, a)], coefficient)


def trimmed_sum(vectors: Sequence[Vector], share: float = 0.2) -> dict[str, Tensor]:
    """The sum of vectors by TIES (Yadav et al. 2023, arXiv:2306.01708, sec. 3), before it is scaled.

    Of each vector the largest share of its numbers is kept, over all its tensors together; the sign of each place is
    that of the sum over vectors; and the mean is taken over those that have this sign there.
    """
    match(vectors[0], *vectors[1:])
    flat = torch.stack([torch.cat([v[name].flatten() for name in vectors[0]]) for v in vectors])
    kept = max(1, round(share * flat.shape[1]))
    limits = flat.abs().kthvalue(flat.shape[1] - kept + 1, 1).values
    flat = torch.where(flat.abs() >= limits[:, None], flat, 0)
    agreeing = (flat.sign() == flat.sum(0).sign()) & (flat != 0)
    mean = torch.where(agreeing, flat, 0).sum(0) / agreeing.sum(0).clamp_min(1)
    parts = mean.split([tensor.numel() for tensor in vectors[0].values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(vectors[0].items(), parts, strict=True)}


def best_scaling(grid: Sequence[float], score: Callable[[float], float]) -> float:
    """The coefficient of the grid with the highest validation score; of equal ones the smallest."""
    if not grid:
        raise Problem("there is no coefficient to choose from; give a grid of one or more")
    return max(sorted(grid), key=lambda coefficient: (score(coefficient), -coefficient))


def largest_scaling(grid: Sequence[float], control: Callable[[float], float], share: float) -> float:
    """The largest coefficient of the grid that leaves this share of the control's validation score at 0 (appendix on
    negation: 95 %); the smallest where none does."""
    least = share * control(0.0)
    fitting = [coefficient for coefficient in grid if control(coefficient) >= least]
    return max(fitting, default=min(grid))
