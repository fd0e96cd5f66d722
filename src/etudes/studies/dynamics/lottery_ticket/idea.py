"""Which weights a ticket keeps, and what it begins with."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.train import pruning
from etudes.train.pruning import Masks

State = Mapping[str, Tensor]


def ticket(start: State, masks: Masks) -> dict[str, Tensor]:
    """The weights m * theta_0: `start` where the mask is, 0 elsewhere; what has no mask stays as it is.

    Trained, it is the network f(x; m * theta) of the hypothesis (sec. 1): theta_0 are the weights with which the
    network began, whose training gave the mask m.

    >>> ticket({"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}, {"w": torch.tensor([True, False])})
    {'w': tensor([1., 0.]), 'b': tensor([3.])}
    """
    return {name: tensor * masks[name] if name in masks else tensor.clone() for name, tensor in start.items()}


def layer_counts(sizes: Mapping[str, int], remaining: Sequence[float]) -> list[dict[str, int]]:
    """How many weights each layer keeps after each round, of layers of these sizes.

    `remaining` are the shares of its weights that a layer still has, round by round. The last layer is pruned at half
    the rate (sec. 2): where the others keep a share f of what they had, it keeps (1 + f) / 2. Raises Problem where a
    round does not prune.
    """
    if any(not 0 < now < before for before, now in zip((1.0, *remaining), remaining, strict=False)):
        raise Problem(f"remaining is {list(remaining)}; each round leaves a smaller share above 0 than the one before")
    found, last, before = [], 1.0, 1.0
    for share in remaining:
        last, before = last * (1 + share / before) / 2, share
        found.append({name: max(1, round(n * share)) for name, n in sizes.items()})
        name = list(sizes)[-1]
        found[-1][name] = max(1, round(sizes[name] * last))
    return found


def prune(weights: State, remaining: Sequence[float], k: int, layerwise: bool, within: Masks | None = None) -> Masks:
    """The masks of round k = 0, 1 ..: the weights of largest magnitude, in each layer or of all layers together,
    among those of the masks `within`."""
    scores = pruning.magnitudes(weights)
    if layerwise:
        counts = layer_counts({name: score.numel() for name, score in scores.items()}, remaining)[k]
        return pruning.layer_masks(scores, counts, within)
    total = sum(score.numel() for score in scores.values())
    return pruning.global_masks(scores, round(total * remaining[k]), within)


def shuffle(masks: Masks, generator: torch.Generator) -> Masks:
    """Masks that keep as many weights of each layer, by chance."""
    return pruning.layer_masks(pruning.random_scores(masks, generator), pruning.counts(masks))


def join(signs: State, magnitudes: State) -> dict[str, Tensor]:
    """Weights |b| sign(a): the signs a of one state and the magnitudes of another, b (Zhou et al. 2019,
    arXiv:1905.01067, sec. 4). Where a is 0 they are |b|."""
    return {name: tensor.abs() * torch.where(signs[name] < 0, -1.0, 1.0) for name, tensor in magnitudes.items()}
