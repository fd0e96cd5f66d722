"""Arithmetic of weights: task vectors (Ilharco et al. 2023, arXiv:2212.04089), their sums, and random controls.

A state is a mapping from names to tensors of floating point; a vector is the difference of two states. All that meet
must have the same names and shapes. What a state leaves out of a network is said where it is made, by `state`.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem

Module = TypeVar("Module", bound=nn.Module)


def state(module: nn.Module, buffers: bool = False) -> dict[str, Tensor]:
    """Copies of the module's parameters by name; with `buffers` also of its buffers of floating point.

    They are laid out in order, as files ask for it, whatever the layout of the network's.

    Such buffers are the running mean and variance of batch normalisation. They are statistics of data and not weights:
    a sum of them need not be the statistics of the summed network, and a variance may become negative. Counters
    (`num_batches_tracked`) are never taken. Of weights that layers share one copy is taken, under its first name.
    """
    parts = dict(module.named_parameters())
    if buffers:
        kept = module.state_dict()  # without the buffers that are not persistent
        parts |= {n: b for n, b in module.named_buffers() if n in kept and b.is_floating_point()}
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in parts.items()}


@torch.no_grad()
def put(module: Module, weights: Mapping[str, Tensor]) -> Module:
    """The module with these weights, in place. They must be all its parameters, with or without its buffers."""
    own = dict(module.named_parameters())
    buffers = {name: tensor for name, tensor in module.named_buffers() if name in weights}
    match(own | buffers, weights)
    for name, tensor in (own | buffers).items():
        tensor.copy_(weights[name])
    return module


def match(first: Mapping[str, Tensor], *others: Mapping[str, Tensor]) -> None:
    """Raise Problem, naming tensors, unless all have the names and shapes of the first and hold floating point."""
    for other in others:
        if lost := [name for name in first if name not in other] + [name for name in other if name not in first]:
            raise Problem(f"these weights are not of one kind: only one of the two has {_some(lost)}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                shapes = f"{list(tensor.shape)} and {list(other[name].shape)}"
                raise Problem(f"these weights are not of one kind: {name} has the shapes {shapes}")
    for weights in (first, *others):
        if whole := [name for name, tensor in weights.items() if not tensor.is_floating_point()]:
            raise Problem(f"{_some(whole)} can not be added, being no floating point: leave it out, as `state` does")


def minus(after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The task vector after - before (sec. 2): what training changed."""
    match(after, before)
    return {name: after[name] - before[name] for name in after}


def plus(base: Mapping[str, Tensor], *vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights base + the sum of the vectors. Scale them before: `plus(base, scaled(vector, 0.4))`."""
    match(base, *vectors)
    return {name: sum((vector[name] for vector in vectors), start=base[name]).clone() for name in base}


def scaled(vector: Mapping[str, Tensor], coefficient: float) -> dict[str, Tensor]:
    """The coefficient times the vector; -1 negates it."""
    match(vector)
    return {name: coefficient * tensor for name, tensor in vector.items()}


def norm(vector: Mapping[str, Tensor]) -> float:
    """The Euclidean length of the vector, all its tensors taken as one."""
    match(vector)
    return sum(tensor.double().square().sum().item() for tensor in vector.values()) ** 0.5


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The cosine of the angle between two vectors, in [-1, 1]; 0 where one of them is zero."""
    match(a, b)
    product = sum((a[name].double() * b[name].double()).sum().item() for name in a)
    lengths = norm(a) * norm(b)
    return product / lengths if lengths > 0 else 0.0


def random_like(vector: Mapping[str, Tensor], generator: torch.Generator, each: bool = True) -> dict[str, Tensor]:
    """A vector of normal numbers, of the same length: the control of every claim about a direction.

    With `each` every tensor has the length of its counterpart, so that no layer is moved farther than the true vector
    moves it; else only the whole has. The numbers are drawn on the generator's device, tensor by tensor.
    """
    match(vector)
    noise = {
        name: torch.randn(tensor.shape, generator=generator, device=generator.device).to(tensor)
        for name, tensor in vector.items()
    }
    if not each:
        return scaled(noise, norm(vector) / max(norm(noise), 1e-30))
    return {
        name: noise[name] * (tensor.norm() / noise[name].norm().clamp_min(1e-30)) for name, tensor in vector.items()
    }


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
