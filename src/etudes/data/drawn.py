"""Points drawn from distributions that are known exactly: mixtures of Gaussians, and a swiss roll."""

import math

import numpy
import torch
from torch import Tensor

from etudes.core.errors import unknown

DEVIATION = 0.02  # of each Gaussian, before all is brought to a mean square of about 1 in each direction


def _circle() -> numpy.ndarray:
    angles = numpy.arange(8) * math.pi / 4
    return numpy.stack([numpy.cos(angles), numpy.sin(angles)], 1) * math.sqrt(2)


def _grid() -> numpy.ndarray:
    steps = numpy.arange(-2, 3) / math.sqrt(2)
    return numpy.stack(numpy.meshgrid(steps, steps, indexing="ij"), -1).reshape(25, 2)


CENTRES = {"8-gaussians": _circle(), "25-gaussians": _grid()}
POINTS = (*CENTRES, "swiss-roll")


def points(name: str, n: int, rng: numpy.random.Generator) -> Tensor:
    """n points of a distribution in the plane, float32 [n, 2], of unit variance in each direction, about.

    `8-gaussians` on a circle and `25-gaussians` on a grid, all alike probable; `swiss-roll`, a spiral of one and a half
    turns with noise. As in sec. 3 of Gulrajani et al. 2017, arXiv:1704.00028. Raises Problem on another name.
    """
    if name in CENTRES:
        chosen = CENTRES[name][rng.integers(len(CENTRES[name]), size=n)]
        drawn = chosen + DEVIATION / math.sqrt(2) * rng.normal(size=(n, 2))
    elif name == "swiss-roll":
        turn = 1.5 * math.pi * (1 + 2 * rng.random(n))
        drawn = (
            turn[:, None] * numpy.stack([numpy.cos(turn), numpy.sin(turn)], 1) + 0.25 * rng.normal(size=(n, 2))
        ) / 7.5
    else:
        raise unknown("distribution", name, POINTS)
    return torch.from_numpy(drawn).float()


def modes(x: Tensor, name: str, reach: float = 0.15) -> tuple[float, float]:
    """The share of a mixture's centres that points x: [n, 2] cover, and the share of the points that lie at a centre.

    A point lies at a centre within `reach` of it, some ten deviations. A centre is covered where it has at least a
    quarter of the points that it is due.
    """
    centres = torch.from_numpy(CENTRES[name]).to(x)
    distance, nearest = torch.cdist(x, centres).min(1)
    counts = torch.bincount(nearest[distance <= reach], minlength=len(centres))
    due = len(x) / len(centres)
    return (counts >= due / 4).double().mean().item(), (distance <= reach).double().mean().item()
