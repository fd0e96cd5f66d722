"""The networks that are trained: chains of 3x3 convolutions and pools, as VGG has them."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.data.images import Images
from etudes.nn.norm import BatchNorm, Standardise
from etudes.studies.dynamics.norm_matters.idea import LpNorm, NormedConv

if TYPE_CHECKING:
    from etudes.studies.dynamics.norm_matters import Config

VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)  # Simonyan & Zisserman 2015, arXiv:1409.1556, table 1, A


def norm_layers(cfg: "Config", channels: int) -> list[nn.Module]:
    """What normalises the outputs of a convolution: nothing where its weights are normalised instead."""
    if cfg.weights != "plain":
        return []
    if cfg.norm == "l2" and not cfg.half:
        return [BatchNorm(channels)]
    return [LpNorm(channels, cfg.norm, cfg.k, cfg.half)]


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits: convolutions of `cfg.plan` (0: a 2x2 max-pool), a mean, a dense layer.

    Weights of convolutions are normal with variance 2 / fan-in (He et al. 2015, arXiv:1502.01852, eq. 10), times
    `cfg.weight_scale`.
    """
    layers, channels = _body(cfg, d.x.shape[1])
    model = nn.Sequential(
        Standardise(d.mean, d.std), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, d.classes)
    )
    for conv in convolutions(model):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        with torch.no_grad():
            conv.weight.mul_(cfg.weight_scale)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        if isinstance(conv, NormedConv):
            conv.begin()
    return model


def _body(cfg: "Config", channels: int) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    if not any(cfg.plan) or any(width < 0 for width in cfg.plan):
        raise Problem(f"plan is {cfg.plan}; name channels of convolutions, at least once, and 0 for a pool")
    for width in cfg.plan:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        if cfg.weights == "plain":
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
        else:
            layers.append(NormedConv(channels, width, cfg.weights == "bounded"))
        layers += [*norm_layers(cfg, width), nn.ReLU()]
        channels = width
    return layers, channels


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of a network in order: with a normalisation behind them, the layers whose scale is no matter."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]
