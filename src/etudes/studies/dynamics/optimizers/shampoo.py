"""Shampoo: a preconditioner for each side of a tensor, in place of one number for each weight.

Source: Shampoo: Preconditioned Stochastic Tensor Optimization, Gupta, Koren, Singer 2018, arXiv:1802.09568. Blocks and
grafting are those of Scalable Second Order Optimization for Deep Learning, Anil et al. 2020, arXiv:2002.09018.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from etudes.core.errors import Problem

Graft = Literal["none", "sgd", "adagrad"]
Slices = tuple[slice, ...]


def inverse_root(matrices: Tensor, power: int, floor: float) -> Tensor:
    """H^(-1/power) of symmetric matrices H [n, d, d] whose eigenvalues are `floor` or more, by their eigenvectors.

    Rounding can push small eigenvalues below the floor, and below 0: they are put back on it. Where the routine does
    not converge it is asked again in float64.
    """
    try:
        values, vectors = torch.linalg.eigh(matrices)
    except torch.linalg.LinAlgError:
        values, vectors = torch.linalg.eigh(matrices.double())
    scale = values.clamp_min(floor).pow(-0.5 / power)
    half = vectors * scale.unsqueeze(-2)  # a square of this is symmetric to the last digit
    return (half @ half.mT).to(matrices.dtype)


def unfold(tensor: Tensor, mode: int) -> Tensor:
    """The matrix [d_mode, the rest] whose rows are the slices of `tensor` along a mode (sec. 4.1)."""
    return tensor.movedim(mode, 0).reshape(tensor.shape[mode], -1)


def precondition(gradient: Tensor, roots: Sequence[Tensor]) -> Tensor:
    """G x_1 H_1^(-1/2k) ... x_k H_k^(-1/2k): every mode of the gradient times its root (algorithm 2).

    >>> precondition(torch.ones(2, 1), [2 * torch.eye(2), 3 * torch.eye(1)])
    tensor([[6.],
            [6.]])
    """
    shape = gradient.shape
    for root in roots:  # the first mode is used up and comes back as the last: after all, the order is as before
        gradient = gradient.reshape(len(root), -1).mT @ root
    return gradient.reshape(shape)


@functools.cache
def blocks_of(shape: tuple[int, ...], block: int) -> list[Slices]:
    """Slices that cut a tensor of this shape into pieces of at most `block` along each mode; 0: one piece."""
    sides = [[slice(at, at + (block or d)) for at in range(0, d, block or d)] for d in shape]
    return list(itertools.product(*sides))


class Shampoo(Optimizer):
    """W <- W - lr G x_1 H_1^(-1/2k) ... x_k H_k^(-1/2k), with H_i = epsilon I + the sum so far of G_(i) G_(i)'.

    For tensors of any order k (algorithm 2; for matrices algorithm 1; of a vector it is full-matrix AdaGrad). With
    `momentum` b the average M <- b M + (1 - b) G takes the place of G in the step, and not in the sums. The roots are
    computed anew at every `every`-th step, and at each of the first `every`: those of a single gradient are far too
    large in all directions but its own. `block` cuts large tensors into pieces that have sums
    of their own. With `graft` each tensor's step has the length that plain descent ("sgd") or diagonal AdaGrad
    ("adagrad") would give it, and Shampoo's direction. Raises Problem on numbers that make no sense.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.0,
        epsilon: float = 1e-6,
        every: int = 1,
        block: int = 0,
        graft: Graft = "none",
    ) -> None:
        if epsilon <= 0 or every < 1 or block < 0 or not 0 <= momentum < 1:
            raise Problem(
                f"Shampoo needs epsilon > 0, every >= 1, block >= 0 and momentum in [0, 1), not {epsilon:g}, {every}, "
                f"{block} and {momentum:g}"
            )
        defaults = {"lr": lr, "momentum": momentum, "epsilon": epsilon, "every": every, "block": block, "graft": graft}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for p in parameters:
                self._gather(p, group)
            self._refresh([self.state[p] for p in parameters], group)
            for p in parameters:
                self._move(p, group)

    def _gather(self, p: Tensor, group: dict[str, Any]) -> None:
        """Add the gradient to the sums of its pieces; at the first step begin them."""
        state, gradient = self.state[p], _at_least_a_vector(p.grad)
        if not state:
            state["steps"] = 0
            shapes = [gradient[piece].shape for piece in blocks_of(gradient.shape, group["block"])]
            state["sums"] = [
                [group["epsilon"] * torch.eye(d, dtype=p.dtype, device=p.device) for d in shape] for shape in shapes
            ]
            state["roots"] = [[torch.zeros_like(h) for h in sums] for sums in state["sums"]]
            if group["momentum"]:
                state["average"] = torch.zeros_like(gradient)
            if group["graft"] == "adagrad":
                state["squares"] = torch.zeros_like(gradient)
        for piece, sums in zip(blocks_of(gradient.shape, group["block"]), state["sums"], strict=True):
            for mode, h in enumerate(sums):
                rows = unfold(gradient[piece], mode)
                h.addmm_(rows, rows.mT)
        if group["momentum"]:
            state["average"].lerp_(gradient, 1 - group["momentum"])
        if group["graft"] == "adagrad":
            state["squares"].addcmul_(gradient, gradient)

    def _refresh(self, states: list[dict[str, Any]], group: dict[str, Any]) -> None:
        """Compute the roots where it is time: all of one size and power at once."""
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for state in states:
            if state["steps"] < group["every"] or state["steps"] % group["every"] == 0:
                for sums, roots in zip(state["sums"], state["roots"], strict=True):
                    for h, root in zip(sums, roots, strict=True):
                        alike[len(h), 2 * len(sums)].append((h, root))
            state["steps"] += 1
        for (_, power), pairs in alike.items():
            stack = torch.stack([h for h, _ in pairs]) if len(pairs) > 1 else pairs[0][0].unsqueeze(0)
            found = inverse_root(stack, power, group["epsilon"])
            for (_, root), value in zip(pairs, found, strict=True):
                root.copy_(value)

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        gradient = state["average"] if group["momentum"] else _at_least_a_vector(p.grad)
        pieces = blocks_of(gradient.shape, group["block"])
        if len(pieces) == 1:
            update = precondition(gradient, state["roots"][0])
        else:
            update = torch.empty_like(gradient)
            for piece, roots in zip(pieces, state["roots"], strict=True):
                update[piece] = precondition(gradient[piece], roots)
        if group["graft"] != "none":
            other = gradient if group["graft"] == "sgd" else gradient / (state["squares"].sqrt() + 1e-12)
            update = update * (other.norm() / (update.norm() + 1e-30))
        p.sub_(update.view_as(p), alpha=group["lr"])


def _at_least_a_vector(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient if gradient.ndim else gradient.reshape(1)
