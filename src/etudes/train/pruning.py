"""Pruning of single weights: masks from scores, exact to the count, and networks trained under a mask.

Masks are a mapping from the names of weights to tensors of bool in their shapes, True where a weight is kept. What the
scores are is the caller's choice: `magnitudes`, random numbers, or a saliency of a study's own. Of equal scores the
first in memory are kept, so that a mask has as many weights as it was asked for, not one more.
"""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from etudes.core.errors import Problem

Masks = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of dense and convolutional layers by their names, in the order of the layers: no bias, and nothing
    of a normalisation."""
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LAYERS)]
    return {f"{name}.weight" if name else "weight": layer.weight for name, layer in layers}


def magnitudes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w| of every weight: the score of magnitude pruning (Han et al. 2015, arXiv:1506.02626, sec. 3)."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


def random_scores(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """A uniform number in [0, 1) a weight, drawn on the generator's device tensor by tensor."""
    return {
        name: torch.rand(weight.shape, generator=generator, device=generator.device).to(weight.device)
        for name, weight in weights.items()
    }


def layer_masks(
    scores: Mapping[str, Tensor], counts: Mapping[str, int], within: Mapping[str, Tensor] | None = None
) -> Masks:
    """The masks that keep, in each layer, the `counts` highest scores among the weights of the masks `within`.

    Raises Problem on scores that are no numbers, and where fewer weights are left than are to be kept.
    """
    _check(scores, within)
    if scores.keys() != counts.keys():
        raise Problem(f"counts are for {', '.join(counts)} and scores for {', '.join(scores)}; name the same layers")
    return {
        name: _highest(score, counts[name], None if within is None else within[name], name)
        for name, score in scores.items()
    }


def global_masks(scores: Mapping[str, Tensor], count: int, within: Mapping[str, Tensor] | None = None) -> Masks:
    """The masks that keep the `count` highest scores of all layers together, as `layer_masks` does in each."""
    _check(scores, within)
    flat = torch.cat([score.flatten() for score in scores.values()])
    left = None if within is None else torch.cat([within[name].flatten() for name in scores])
    parts = _highest(flat, count, left, "the network").split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def _highest(score: Tensor, count: int, within: Tensor | None, name: str) -> Tensor:
    left = score.numel() if within is None else int(within.sum())
    if not 0 <= count <= left:
        raise Problem(f"{count} weights of {name} cannot be kept where {left} are left; keep 0 to {left}")
    flat = score.detach().flatten().double()
    if within is not None:
        flat = flat.masked_fill(~within.flatten(), -torch.inf)
    chosen = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    chosen[flat.sort(descending=True, stable=True).indices[:count]] = True
    return chosen.view(score.shape)


def _check(scores: Mapping[str, Tensor], within: Mapping[str, Tensor] | None) -> None:
    for name, score in scores.items():
        if not score.isfinite().all():
            raise Problem(f"a score of {name} is not finite; masks need a number for each weight")
        if within is not None and (name not in within or within[name].shape != score.shape):
            raise Problem(f"the masks within which to prune do not fit {name} of shape {list(score.shape)}")


def counts(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights each layer keeps."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def share(masks: Mapping[str, Tensor]) -> float:
    """The share, in [0, 1], of the weights of all masks together that is kept."""
    return sum(counts(masks).values()) / sum(mask.numel() for mask in masks.values())


def difference(masks: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The share, in [0, 1], of the weights kept by `masks` that `others` do not keep; 0 where nothing is kept."""
    lost = sum(int((mask & ~others[name]).sum()) for name, mask in masks.items())
    return lost / max(1, sum(counts(masks).values()))


@torch.no_grad()
def apply(module: Module, masks: Mapping[str, Tensor]) -> Module:
    """The module with the weights outside the masks set to 0, in place. Raises Problem on masks that do not fit it."""
    weights = dict(module.named_parameters())
    for name, mask in masks.items():
        if name not in weights or weights[name].shape != mask.shape:
            raise Problem(f"a mask named {name} of shape {list(mask.shape)} fits no weight of this network")
        weights[name].masked_fill_(~mask, 0)
    return module


def hold(opt: Optimizer, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """From now on every step of the optimiser ends with the weights outside the masks at 0.

    A mask on the gradient would not do: Adam and SGD with momentum move a weight by its past gradients, and weight
    decay by itself. Gradients stay whole; whoever clips their norm clips by that of the unmasked network.
    """
    apply(module, masks)
    weights = dict(module.named_parameters())
    pairs = [(weights[name], mask.to(weights[name])) for name, mask in masks.items()]  # a product is the fastest

    def mask_weights(*_: object) -> None:
        with torch.no_grad():
            for weight, mask in pairs:
                weight.mul_(mask)

    opt.register_step_post_hook(mask_weights)
