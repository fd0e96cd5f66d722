"""What is minimised: the loss of a small network on pictures, or a quadratic, as a function of flat parameters."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.data.images import images, unit
from etudes.losses.cross_entropy import one_hot

Objective = Callable[[Tensor], Tensor]  # flat parameters [p] -> loss


def network(
    run: Run,
    dataset: str,
    examples: int,
    width: int,
    activation: Literal["tanh", "relu"],
    precision: torch.dtype = torch.float32,
) -> tuple[Objective, Tensor, float]:
    """The loss of a two-hidden-layer network on pictures standardised pixel by pixel, its first parameters [p], and
    the loss of the best constant output."""
    d = images(dataset)
    run.note(data=d.source)
    rows = torch.from_numpy(run.rng("subset").permutation(len(d.x))[:examples])
    x = unit(d.x[rows]).reshape(len(rows), -1)
    x = ((x - x.mean(0)) / x.std(0).clamp_min(1e-3)).to(run.device, precision)  # one that never changes: 0
    y = one_hot(d.y[rows], d.classes).to(run.device, precision)
    sizes = [x.shape[1], width, width, d.classes]
    with torch.random.fork_rng():
        torch.manual_seed(run.seed("init"))
        layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    parameters = [p.detach() for layer in layers for p in (layer.weight, layer.bias)]
    shapes = [p.shape for p in parameters]
    nonlinear = {"tanh": torch.tanh, "relu": torch.relu}[activation]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.view(shape) for p, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]
        h = x
        for i in range(0, len(parts), 2):
            h = nn.functional.linear(h if i == 0 else nonlinear(h), parts[i], parts[i + 1])
        return (h - y).square().sum() / (2 * len(x))

    constant = ((y - y.mean(0)).square().sum() / (2 * len(y))).item()
    return loss, torch.cat([p.reshape(-1) for p in parameters]).to(run.device, precision), constant


def quadratic(run: Run) -> tuple[Objective, Tensor, float]:
    """sum_i h_i w_i^2 / 2 with h from 0.01 to 10, from w = +-1: its sharpness is 10 everywhere."""
    h = torch.logspace(-2, 1, 50, device=run.device)
    start = torch.from_numpy(run.rng("start").choice([-1.0, 1.0], size=50)).float().to(run.device)
    return lambda w: (h * w.square()).sum() / 2, start, h.sum().item() / 2
