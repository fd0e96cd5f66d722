"""Adafactor: Adam's second moments, of which a matrix keeps the means of rows and of columns alone.

Source: Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, Shazeer, Stern 2018, arXiv:1804.04235, algorithms
4 and 5, with a learning rate of the caller's: neither the relative step sizes of sec. 8 nor a first moment.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

TINY = 1e-30  # epsilon_1 of algorithms 4 and 5


def inverse_deviation(rows: Tensor, columns: Tensor) -> Tensor:
    """V^(-1/2) [..., n, m] of the second moments V = R C / mean(R) that means of rows R [..., n] and of columns C
    [..., m] stand for (algorithm 4).

    Of all matrices with these means V is the one of rank one (sec. 3). The roots are taken before the product: where a
    pixel is always black both factors are 1e-30, and their product would be 0 in float32.
    """
    return (rows / rows.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * columns.rsqrt().unsqueeze(-2)


class Adafactor(Optimizer):
    """W <- W - lr U / max(1, rms(U) / clip), with U = G / sqrt(V) and V the factored average of G^2 + 1e-30.

    The average of step t forgets by 1 - t^decay (sec. 7.2). Tensors of more than two modes are factored in the last
    two; vectors keep all of V (algorithm 5). It is a first-order method: it uses squares of gradients, no curvature.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, decay: float = -0.8, clip: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "clip": clip})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, square = self.state[p], p.grad.square() + TINY
                means = {"rows": square.mean(-1), "columns": square.mean(-2)} if p.ndim > 1 else {"all": square}
                if not state:
                    state |= {"steps": 0} | {name: torch.zeros_like(mean) for name, mean in means.items()}
                state["steps"] += 1
                for name, mean in means.items():
                    state[name].lerp_(mean, state["steps"] ** group["decay"])
                scale = inverse_deviation(state["rows"], state["columns"]) if p.ndim > 1 else state["all"].rsqrt()
                update = p.grad * scale
                update /= (update.square().mean().sqrt() / group["clip"]).clamp_min(1)
                p.sub_(update, alpha=group["lr"])
