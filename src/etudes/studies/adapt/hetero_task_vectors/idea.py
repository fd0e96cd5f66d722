"""What is done with task vectors: negation, addition and analogy, and modules that a router chooses among."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from etudes.train.arithmetic import plus, scaled

Vector = Mapping[str, Tensor]


def combine(base: Vector, vectors: Sequence[Vector], signs: Sequence[int], coefficient: float) -> dict[str, Tensor]:
    """The weights theta + λ (± tau_1 ± tau_2 ...) of the common part (fig. 1), tau = theta tuned on a task - theta.

    Negation is one vector with the sign -1, addition several with +1, and the analogy "a is to b as c is to d" is the
    vectors of b, a and c with the signs +1, -1 and +1 (sec. 3 to 5): d has no vector.
    """
    signed = [scaled(vector, sign * coefficient) for vector, sign in zip(vectors, signs, strict=True)]
    return plus(base, *signed)


def largest_forgetting(
    coefficients: Sequence[float], target: Callable[[float], float], control: Callable[[float], float], floor: float
) -> float:
    """The coefficient with the lowest target accuracy of those whose control accuracy is at least `floor`; 0, which
    changes nothing, where there is none (sec. 3 asks for 95 % of the control accuracy before)."""
    allowed = [(target(c), c) for c in coefficients if control(c) >= floor]
    return min(allowed, default=(0.0, 0.0))[1]


def best(coefficients: Sequence[float], accuracy: Callable[[float], float]) -> float:
    """The first coefficient of the highest accuracy."""
    return max(coefficients, key=accuracy)


def trim(vector: Vector, share: float) -> dict[str, Tensor]:
    """The vector with all but the largest `share` of its numbers set to 0: a sparse module."""
    sizes = torch.cat([tensor.abs().flatten() for tensor in vector.values()])
    kept = max(1, round(share * len(sizes)))
    least = sizes.kthvalue(len(sizes) - kept + 1).values
    return {name: tensor * (tensor.abs() >= least) for name, tensor in vector.items()}


def ties(vectors: Sequence[Vector], share: float) -> dict[str, Tensor]:
    """One vector of several by TIES (Yadav et al. 2023, arXiv:2306.01708): trim each, elect the sign of each number by
    the sum, and average the numbers that have it."""
    small = [trim(vector, share) for vector in vectors]
    merged = {}
    for name in small[0]:
        stack = torch.stack([vector[name] for vector in small])
        agrees = (stack.sign() == stack.sum(0).sign()) & (stack != 0)
        merged[name] = (stack * agrees).sum(0) / agrees.sum(0).clamp_min(1)
    return merged


def route(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre [n] of features [n, width] among centres [k, width]: which module a picture is given."""
    return torch.cdist(features, centres).argmin(1)
