"""More examples of rare classes, or fewer of frequent ones: chances, subsets, and points made up between neighbours.

All take labels y: int64 [n] of training examples alone, after the split: an example that is repeated or leant on before
it stands on both sides.
"""

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem


def drawing_chances(y: Tensor, power: float) -> np.ndarray:
    """The chance [n] of each example to be drawn, so that a class of n_c comes with a chance that goes by n_c^(1 - p).

    p = 0 draws examples alike, p = 1 classes alike (Kang et al. 2019, arXiv:1910.09217, eq. 1, q = 1 - p).
    """
    counts = torch.bincount(y).double().cpu()
    chance = counts[y.cpu()].numpy() ** -float(power)
    return chance / chance.sum()


def undersample(y: Tensor, power: float, rng: np.random.Generator) -> Tensor:
    """Rows, ascending, of which no class has more than n_max^(1 - p) n_min^p: p = 1 leaves all as the rarest."""
    counts = torch.bincount(y)
    counts = counts[counts > 0].double()
    cap = round(float(counts.max() ** (1 - power) * counts.min() ** power))
    order = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    return torch.cat([order[y[order] == c][:cap] for c in y.unique()]).sort().values


def lacking(y: Tensor, power: float) -> list[int]:
    """How many examples each class [max(y) + 1] lacks to have n_max^p n_c^(1 - p), rounded: p = 1 makes all alike."""
    counts = torch.bincount(y).double()
    return (counts.max() ** power * counts ** (1 - power)).round().sub(counts).long().tolist()


def smote(
    x: Tensor, y: Tensor, lacks: list[int], rng: np.random.Generator, neighbours: int = 5
) -> tuple[Tensor, Tensor]:
    """Made-up points [m, d] and their classes [m]: x_i + u (x_j - x_i), u uniform, x_j one of the nearest of the class.

    x: [n, d] are features; between pictures the points are no pictures. Of class c there are lacks[c] points, and x_i
    and x_j are drawn alike (Chawla et al. 2002, arXiv:1106.1813, sec. 4.2). A class with fewer neighbours takes those
    that it has; a single example is repeated. Raises Problem where a class that lacks points has no example.
    """
    made = [x[:0]]
    for c, count in enumerate(lacks):
        if not count:
            continue
        own = x[y == c]
        if not len(own):
            raise Problem(f"class {c} has no example to make others like; leave empty classes out")
        distance = torch.cdist(own.double(), own.double()).fill_diagonal_(torch.inf)
        nearest = distance.argsort(dim=1, stable=True)[:, : max(1, min(neighbours, len(own) - 1))]
        first = torch.from_numpy(rng.integers(len(own), size=count)).to(x.device)
        second = nearest[first, torch.from_numpy(rng.integers(nearest.shape[1], size=count)).to(x.device)]
        share = torch.from_numpy(rng.random((count, 1))).to(x)
        made.append(torch.lerp(own[first], own[second], share))
    return torch.cat(made), torch.repeat_interleave(torch.tensor(lacks)).to(y)
