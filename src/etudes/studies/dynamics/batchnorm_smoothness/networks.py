"""The networks that are trained: a small VGG and VGG-16, with a normalisation behind each convolution."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etudes.core import Problem
from etudes.data.images import Images
from etudes.nn.norm import BatchNorm, GroupNorm, Standardise
from etudes.studies.dynamics.batchnorm_smoothness.idea import LpNorm, NoisyBatchNorm

if TYPE_CHECKING:
    from etudes.studies.dynamics.batchnorm_smoothness import Config

STACKS = {  # multiples of the width; a pool ends each stack
    "small": ((1,), (2, 2), (4, 4), (4, 4, 4)),
    "vgg16": ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)),
}


def normaliser(cfg: "Config", channels: int) -> nn.Module:
    """The config's normalisation of [n, channels, h, w]; the identity for "none"."""
    if cfg.norm == "none":
        return nn.Identity()
    if cfg.norm == "batch":
        return BatchNorm(channels)
    if cfg.norm == "noisy":
        return NoisyBatchNorm(channels, cfg.noise_mean, cfg.noise_scale, cfg.noise_spread)
    if cfg.norm == "group":
        if channels % cfg.channel_groups:
            raise Problem(f"{channels} channels do not fall into channel_groups = {cfg.channel_groups}; take a divisor")
        return GroupNorm(cfg.channel_groups, channels)
    return LpNorm(channels, {"l1": 1, "l2": 2, "linf": math.inf}[cfg.norm])


class Layer(nn.Module):
    """ReLU(norm(3x3 convolution)), with a bias where nothing normalises. Its first parameter is the convolution's."""

    def __init__(self, cfg: "Config", channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norm = normaliser(cfg, out)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        if cfg.norm == "none":  # no draw: all variants begin with the same weights
            self.conv.bias = nn.Parameter(torch.zeros(out))

    def before(self, x: Tensor) -> Tensor:
        """What the ReLU is given: [n, out, h, w]."""
        return self.norm(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.before(x).relu()


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits: stacks of layers with 2x2 max-pools, the mean over places, one dense
    layer. Weights are normal with variance 2 / fan-in, biases 0.

    "vgg16" of width 64 has 14,724,042 parameters with batch normalisation, for colour pictures and 10 classes.
    """
    channels, layers = d.shape[0], list[nn.Module]()
    for stack in STACKS[cfg.network]:
        for multiple in stack:
            layers.append(Layer(cfg, channels, multiple * cfg.width))
            channels = multiple * cfg.width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    dense = nn.Linear(channels, d.classes)
    nn.init.kaiming_normal_(dense.weight, nonlinearity="linear")
    nn.init.zeros_(dense.bias)
    return nn.Sequential(Standardise(d.mean, d.std), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense)


def parts(model: nn.Sequential) -> list[nn.Module]:
    """The layers that have weights, from the input to the output."""
    return [module for module in model if isinstance(module, Layer | nn.Linear)]
