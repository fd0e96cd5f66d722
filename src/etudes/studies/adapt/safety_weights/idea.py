"""Which weights carry refusals and not answers: scores of single weights, differences of sets, and of ranks.

All of Wei et al. 2024 (arXiv:2402.05162), sec. 3; matrices W are [out, in]. What is scored, removed, shaken and counted
are the matrices of the blocks: the paper leaves embeddings and norms alone as well.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from etudes.train import pruning

Weights = dict[str, Tensor]  # a matrix, a score or a mask for each name
Loss = Callable[..., Tensor]
HELD = 1 << 25  # slopes that are held at once


def matrices(model: nn.Module) -> Weights:
    """The matrices of the blocks by name, as they are: views, not copies."""
    return {name: p.data for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}


def snip(model: nn.Module, loss: Loss, *examples: Tensor) -> Weights:
    """The mean over examples of |W * dL/dW|: to first order, what removing a weight does to the loss of the example.

    loss(logits, *example) is that of one example, of which `examples` holds a part each, [n, ...]; the first are its
    tokens [n, t], all but the last of which are read.
    """
    own = matrices(model)
    rest = {name: p.detach() for name, p in model.named_parameters() if name not in own}
    sums = {name: torch.zeros_like(w) for name, w in own.items()}
    together = max(1, HELD // sum(w.numel() for w in own.values()))

    def number(weights: Weights, *example: Tensor) -> Tensor:
        one = [part[None] for part in example]
        return loss(functional_call(model, rest | weights, (one[0][:, :-1],)), *one)

    places = (None, *(0 for _ in examples))
    for some in zip(*(part.split(together) for part in examples), strict=True):
        for name, slopes in vmap(grad(number), places)(own, *some).items():
            sums[name] += (own[name] * slopes).abs().sum(0)
    return {name: total / len(examples[0]) for name, total in sums.items()}


class Inputs(TorchFunctionMode):
    """Within it, what the matrices of a network multiply is kept by their names: `found` [k, in], a row for each token
    at `where`, bool [n, t], of the last batch."""

    def __init__(self, model: nn.Module, where: Tensor) -> None:
        super().__init__()
        self.where, self.found = where.flatten(), {}
        self._names = {w.data_ptr(): name for name, w in matrices(model).items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and args[1].data_ptr() in self._names:
            self.found[self._names[args[1].data_ptr()]] = args[0].detach()[self.where]
        return func(*args, **(kwargs or {}))


def wanda(weights: Weights, inputs: Weights) -> Weights:
    """|W_ij| times the length of the j-th input over all tokens: inputs X [tokens, in] of each matrix."""
    return {name: w.abs() * inputs[name].norm(dim=0) for name, w in weights.items()}


def top(scores: Weights, share: float) -> Weights:
    """Masks of the `share` highest scores of each matrix, rounded."""
    return pruning.layer_masks(scores, {name: round(share * score.numel()) for name, score in scores.items()})


def difference(safety: Weights, utility: Weights) -> Weights:
    """The weights of the first masks that are not in the second: S(q) - U(p) (sec. 3).

    >>> difference({"w": torch.tensor([True, True])}, {"w": torch.tensor([True, False])})["w"].tolist()
    [False, True]
    """
    return {name: mask & ~utility[name] for name, mask in safety.items()}


def as_many(masks: Weights, generator: torch.Generator) -> Weights:
    """Masks of as many weights of each matrix, by chance."""
    return pruning.layer_masks(pruning.random_scores(masks, generator), pruning.counts(masks))


def directions(weight: Tensor, inputs: Tensor) -> Tensor:
    """In which directions the outputs W X' are largest, for inputs X [tokens, in]: their left singular vectors
    [out, r], the largest first (ActSVD)."""
    return torch.linalg.svd(weight @ inputs.T, full_matrices=False).U


def safety_ranks(weight: Tensor, safety: Tensor, utility: Tensor, rank: int, kept: int) -> Tensor:
    """(I - P_u) P_s W [out, in]: what lies in the first `rank` directions of refusals, and not in the first `kept` of
    answers. `safety` and `utility` are such directions [out, r], P the projections onto the first of them."""
    first, own = safety[:, :rank], utility[:, :kept]
    change = first @ (first.T @ weight)
    return change - own @ (own.T @ change)


def random_ranks(weight: Tensor, like: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """P W with P onto `rank` random directions, scaled to the length of `like`: the control of `safety_ranks`."""
    drawn = torch.randn(len(weight), rank, generator=generator).to(weight)
    basis = torch.linalg.qr(drawn).Q
    change = basis @ (basis.T @ weight)
    return change * (like.norm() / change.norm().clamp_min(1e-30))


def noise(weights: Weights, masks: Weights, generator: torch.Generator) -> Weights:
    """Normal noise on the weights of the masks: of each matrix as long as the matrix times the root of the share of its
    weights that the mask has. So sets of one size get noise of one length, whatever weights are in them."""
    drawn = {}
    for name, w in weights.items():
        raw = torch.randn(w.shape, generator=generator).to(w) * masks[name]
        length = w.norm() * (masks[name].sum() / masks[name].numel()).sqrt()
        drawn[name] = raw * (length / raw.norm().clamp_min(1e-30))
    return drawn


def quantise(weight: Tensor, bits: int) -> Tensor:
    """The matrix rounded to whole multiples of a step of each row, its largest weight over 2^(bits - 1) - 1.

    >>> quantise(torch.tensor([[1.0, 0.4, -0.6]]), 2).tolist()
    [[1.0, 0.0, -1.0]]
    """
    unit = weight.abs().amax(1, keepdim=True).clamp_min(1e-30) / (2 ** (bits - 1) - 1)
    return (weight / unit).round() * unit
