"""Muon: momentum whose matrices are made orthogonal.

Source: Muon: An optimizer for hidden layers in neural networks, Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/. torch.optim.Muon takes matrices alone; this one takes filters as well, and
the biases and the last layer beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

QUINTIC = 3.4445, -4.7750, 2.0315  # the post's coefficients: small singular values grow fast, none settles at 1 exactly


def orthogonalise(matrix: Tensor, iterations: int) -> Tensor:
    """`matrix` [m, n] with its singular values moved near 1 by Newton-Schulz iterations of a quintic polynomial.

    In bf16, as the post has it. After five iterations, singular values between 0.01 and 1 of the largest possible are
    between 0.65 and 1.25.
    """
    a, b, c = QUINTIC
    x = matrix.bfloat16()
    wide = x if len(x) <= x.shape[1] else x.T  # the smaller product
    wide = wide / (wide.norm() + 1e-7)  # the Frobenius norm bounds the largest singular value
    for _ in range(iterations):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return (wide if len(x) <= x.shape[1] else wide.T).to(matrix.dtype)


class Muon(Optimizer):
    """Nesterov momentum; in groups with `iterations` above 0, each tensor's update [m, ...] is made orthogonal as a
    matrix [m, -1]. The others follow torch.optim.SGD, with weight decay decoupled from the gradient in all.

    Groups are as for any optimiser of PyTorch: {"params", "lr", "momentum", "weight_decay", "iterations"}.
    """

    def __init__(
        self,
        groups: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                velocity = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                update = p.grad.add(velocity, alpha=group["momentum"])
                if group["iterations"]:
                    update = orthogonalise(update.flatten(1), group["iterations"]).view_as(update)
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
