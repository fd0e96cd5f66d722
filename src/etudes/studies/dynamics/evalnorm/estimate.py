"""EvalNorm's weights learnt from training pictures, with no step of the network itself."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from etudes.nn.ghost import GhostNorm
from etudes.studies.dynamics.evalnorm.idea import Rule, biased_variance, layers, picture_moments, statistics

Pair = tuple[Tensor, Tensor]  # means and biased variances


@dataclass(frozen=True)
class Moments:
    """What a layer was given in training mode: float64 means and variances [n, c], of n pictures and of the groups that
    they were in; its running ones [c], and its squared scale [c]."""

    own: Pair
    batch: Pair
    running: Pair
    square: Tensor
    eps: float


def collect_moments(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Moments]:
    """The moments of each normalisation of a network, by its name, over batches of pictures that fall into groups."""
    model = copy.deepcopy(model).train()
    seen: dict[str, list[tuple[Pair, Pair]]] = {name: [] for name in layers(model)}
    running = {name: norm.running_mean.double().clone() for name, norm in layers(model).items()}
    spread: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def look(norm: GhostNorm, inputs: tuple[Tensor]) -> None:
            (x,) = inputs
            if name not in spread:  # before the first batch moves the running variance
                spread[name] = biased_variance(norm, x).double().clone()
            mean, variance = picture_moments(x.double())
            seen[name].append(((mean, variance), pool(mean, variance, norm.group)))

        return look

    handles = [norm.register_forward_pre_hook(watch(name)) for name, norm in layers(model).items()]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()
    return {
        name: Moments(
            *_join(seen[name]), (running[name], spread[name]), norm.weight.detach().double().square(), norm.eps
        )
        for name, norm in layers(model).items()
    }


def pool(mean: Tensor, variance: Tensor, group: int) -> Pair:
    """For pictures with means and variances [n, c] those of their groups [n, c], picture i in group i mod n / group."""
    n, c = mean.shape
    grouped = mean.view(group, n // group, c)
    pooled = grouped.mean(0)
    total = (variance + mean.square()).view(group, n // group, c).mean(0) - pooled.square()
    return pooled.repeat(group, 1), total.clamp_min(0).repeat(group, 1)


def _join(parts: list[tuple[Pair, Pair]]) -> tuple[Pair, Pair]:
    own, batch = ([torch.cat(column) for column in zip(*side, strict=True)] for side in zip(*parts, strict=True))
    return (own[0], own[1]), (batch[0], batch[1])


def distance(moments: Moments, alpha: Tensor, beta: Tensor) -> Tensor:
    """The mean squared difference of a layer's outputs in training mode and by EvalNorm, for the same inputs.

    Either output is, but for scale and shift, x r - m r with r one over the deviation. So the mean over the pixels of a
    picture needs its first two moments alone: with D r and D (m r) for the differences of the two ways it is
    s_i^2 (D r)^2 + (m_i D r - D (m r))^2, times the squared scale.
    """
    (own_mean, own_variance), (batch_mean, batch_variance) = moments.own, moments.batch
    mean, variance = statistics(*moments.running, own_mean, own_variance, alpha, beta, alpha * (1 - alpha))
    r, batch_r = (variance + moments.eps).rsqrt(), (batch_variance + moments.eps).rsqrt()
    turn = batch_r - r
    shift = own_mean * turn - (batch_mean * batch_r - mean * r)
    return (moments.square * (own_variance * turn.square() + shift.square())).mean()


def learn_rule(moments: Moments, group: int) -> Rule:
    """The alpha and beta in [0, 1] of least distance: L-BFGS-B, from the rule of thumb for that group on."""
    from scipy.optimize import minimize

    def objective(weights: numpy.ndarray) -> tuple[float, numpy.ndarray]:
        pair = torch.from_numpy(weights.copy()).requires_grad_()
        loss = distance(moments, pair[0], pair[1])
        (slope,) = torch.autograd.grad(loss, pair)
        return loss.item(), slope.numpy()

    start = [1 - 1 / group] * 2
    alpha, beta = minimize(objective, start, jac=True, bounds=[(0, 1)] * 2, method="L-BFGS-B").x.tolist()
    return Rule.of_weights(alpha, beta)


def learn_rules(model: nn.Module, batches: Iterable[Tensor]) -> Mapping[str, Rule]:
    """A rule for each normalisation of a trained network, from batches of training pictures."""
    groups = {name: norm.group for name, norm in layers(model).items()}
    return {name: learn_rule(moments, groups[name]) for name, moments in collect_moments(model, batches).items()}
