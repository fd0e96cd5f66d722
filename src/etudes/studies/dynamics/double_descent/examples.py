"""What is learnt from and asked about: for each draw its own pictures and its own wrong labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core import Problem, Run
from etudes.data.images import images, unit
from etudes.data.labels import symmetric_noise

if TYPE_CHECKING:
    from etudes.studies.dynamics.double_descent import Config


LEAST = 0.05  # standard deviation by which a pixel that hardly ever changes is divided


@dataclass(frozen=True)
class Examples:
    """Pictures, each pixel standardised, with their labels; x and y are for each draw those that it learns."""

    x: Tensor  # [draws, n, c, h, w]
    y: Tensor  # [draws, n], some of them wrong
    validation: tuple[Tensor, Tensor]  # validation pictures [m, c, h, w], and their true labels [m]
    test: tuple[Tensor, Tensor]  # the same of the test part
    classes: int


def open_examples(cfg: "Config", run: Run, n: int, draws: int) -> Examples:
    """`n` training pictures for each of so many draws of pictures and labels, and those held out from all of them.

    A smaller n has the first of those of a larger one. Raises Problem where the set is too small.
    """
    d = images(cfg.dataset)
    run.note(data=d.source)
    if n + cfg.validation > len(d.x):
        raise Problem(f"{cfg.dataset} has {len(d.x)} training pictures, too few for {n} and {cfg.validation} held out")
    run.result(**{"test/error-majority": d.majority_error})
    d = d.to(run.device)
    order = run.rng("split").permutation(len(d.x))
    held, rest = order[: cfg.validation], order[cfg.validation :]
    rows = [torch.from_numpy(run.rng("subset", i).permutation(rest)[:n]).to(run.device) for i in range(draws)]
    mean, std = unit(d.x).mean(0), unit(d.x).std(0).clamp_min(LEAST)

    def inputs(x: Tensor) -> Tensor:
        return (unit(x) - mean) / std

    return Examples(
        torch.stack([inputs(d.x[chosen]) for chosen in rows]),
        torch.stack([wrong_labels(d.y[chosen], cfg.noise, d.classes, run, i) for i, chosen in enumerate(rows)]),
        (inputs(d.x[torch.from_numpy(held).to(run.device)]), d.y[torch.from_numpy(held).to(run.device)]),
        (inputs(d.test_x), d.test_y),
        d.classes,
    )


def wrong_labels(y: Tensor, share: float, classes: int, run: Run, draw: int) -> Tensor:
    """The labels [n], of which this share is replaced by another class at random."""
    return symmetric_noise(y, share, classes, run.rng("labels", draw), others=True)
