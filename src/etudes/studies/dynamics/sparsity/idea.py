"""Which weights go: by a mask, by a schedule of masks, or by a penalty that leads to exact zeros."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.train import pruning
from etudes.train.pruning import Masks


def prune(weights: Mapping[str, Tensor], share: float, within: Mapping[str, Tensor] | None = None) -> Masks:
    """The mask m, with m = 1 for the `share` of all weights together whose |w| is largest, else 0.

    This is magnitude pruning (Han et al. 2015, arXiv:1506.02626, sec. 3), here over all layers at
    once. Weights outside the masks `within` stay out.

    >>> prune({"a": torch.tensor([1.0, -4.0]), "b": torch.tensor([3.0, 2.0])}, 0.5)
    {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    """
    return pruning.global_masks(pruning.magnitudes(weights), count(weights, share), within)


def count(weights: Mapping[str, Tensor], share: float) -> int:
    """How many weights a share of all is, rounded. Raises Problem on a share that is not above 0 and at most 1."""
    if not 0 < share <= 1:
        raise Problem(f"a share of {share:g} of the weights cannot be kept; give one above 0 and at most 1")
    return round(share * sum(weight.numel() for weight in weights.values()))


def share_left(step: int, ramp: int, share: float) -> float:
    """The share of weights that is left after `step` steps of a ramp: s = s_f (1 - (1 - t / ramp)^3) are pruned.

    Of gradual pruning (Zhu, Gupta 2017, arXiv:1710.01878, eq. 1, from s_i = 0 to s_f = 1 - share): fast at first, when
    there is much to spare, and slowly at the end, after which it stays.
    """
    togo = max(0.0, 1 - step / ramp)
    return 1 - (1 - share) * (1 - togo**3)


def shrink(weight: Tensor, amount: float) -> Tensor:
    """sign(w) max(|w| - amount, 0): the proximal step of an L1 penalty, which makes small weights exactly 0
    (Parikh, Boyd 2014, Proximal Algorithms, sec. 6.5.2)."""
    return torch.nn.functional.softshrink(weight, amount)


def neuron_masks(weights: Mapping[str, Tensor], share: float) -> Masks:
    """The masks that keep whole neurons, at least `share` of the weights, and hardly more.

    A neuron is a row of a layer's weight [out, in, ...]; with it goes its column, or its equal run of columns, in the
    layer that follows: the layers must be a chain. Each layer but the last keeps the same share of its neurons, those
    whose rows have the largest norm (Li et al. 2017, arXiv:1608.08710, sec. 3.1). Raises Problem on other networks.
    """
    tensors = [weight.detach() for weight in weights.values()]
    for before, after in itertools.pairwise(tensors):
        if after.shape[1] % before.shape[0]:
            raise Problem("whole neurons are pruned only where layers form a chain; take lenet or vgg")
    wanted = count(weights, share)
    for thousandth in range(1, 1001):
        rows = [max(1, round(thousandth / 1000 * t.shape[0])) for t in tensors[:-1]] + [tensors[-1].shape[0]]
        columns = [tensors[0].shape[1]]
        columns += [rows[k] * (after.shape[1] // tensors[k].shape[0]) for k, after in enumerate(tensors[1:])]
        sizes = zip(rows, columns, tensors, strict=True)
        if sum(r * c * t[0, 0].numel() for r, c, t in sizes) >= wanted:
            break
    masks: Masks = {}
    inputs = torch.ones(tensors[0].shape[1], dtype=torch.bool, device=tensors[0].device)
    for k, (name, weight) in enumerate(zip(weights, tensors, strict=True)):
        norms = (weight * _spread(inputs, weight, 1)).flatten(1).norm(dim=1)
        outputs = torch.zeros(len(norms), dtype=torch.bool, device=norms.device)
        outputs[norms.sort(descending=True, stable=True).indices[: rows[k]]] = True
        masks[name] = (_spread(inputs, weight, 1) & _spread(outputs, weight, 0)).expand(weight.shape).clone()
        if k + 1 < len(tensors):
            inputs = outputs.repeat_interleave(tensors[k + 1].shape[1] // len(outputs))
    return masks


def _spread(chosen: Tensor, weight: Tensor, dim: int) -> Tensor:
    """A mask over one dimension, in as many dimensions as the weight has."""
    return chosen.view([-1 if k == dim else 1 for k in range(weight.ndim)])
