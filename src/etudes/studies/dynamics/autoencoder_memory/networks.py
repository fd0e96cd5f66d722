"""The networks that map pictures to pictures: dense, and convolutional with and without downsampling."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from torch import nn

from etudes.core import Problem
from etudes.studies.dynamics.autoencoder_memory.idea import Cosid

Kind = Literal["dense", "convolutional", "strided"]
Activation = Literal["linear", "relu", "leaky", "elu", "swish", "cosid"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,  # slope 0.01 below 0
    "elu": nn.ELU,
    "swish": nn.SiLU,
    "cosid": Cosid,
}


def network(kind: Kind, shape: tuple[int, int, int], width: int, depth: int, activation: str, gain: float) -> nn.Module:
    """A network from pictures [n, d] to pictures [n, d], of c, h, w = `shape` and d = c h w numbers each.

    "dense" has `depth` hidden layers of `width` units, each with an activation; depth 0 is one layer without biases.
    "convolutional" has as many hidden layers of `width` channels with 3x3 filters at full resolution, and one more that
    gives the picture. "strided" halves the resolution `depth` times, with twice the channels each time, and doubles it
    as often. Weights are drawn with a standard deviation of gain / sqrt(inputs of a unit), biases are 0: PyTorch's own
    start is a gain of 0.58, He's 1.41. Raises Problem where a picture cannot be halved so often.
    """
    make = {"dense": _dense, "convolutional": _convolutional, "strided": _strided}[kind]
    layers = list(make(shape, width, depth))
    activated = [part for layer in layers for part in (layer, ACTIVATIONS[activation]())][:-1]
    model = nn.Sequential(*([] if kind == "dense" else [nn.Unflatten(1, shape)]), *activated)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model if kind == "dense" else model.append(nn.Flatten())


def _dense(shape: tuple[int, int, int], width: int, depth: int) -> Iterator[nn.Module]:
    d = math.prod(shape)
    for inputs, outputs in pairwise((d, *[width] * depth, d)):
        yield nn.Linear(inputs, outputs, bias=depth > 0)


def _convolutional(shape: tuple[int, int, int], width: int, depth: int) -> Iterator[nn.Module]:
    for inputs, outputs in pairwise((shape[0], *[width] * depth, shape[0])):
        yield nn.Conv2d(inputs, outputs, 3, padding=1)


def _strided(shape: tuple[int, int, int], width: int, depth: int) -> Iterator[nn.Module]:
    sides = [shape[1:]]
    for _ in range(depth):
        h, w = sides[-1]
        if min(h, w) < 2:
            raise Problem(f"pictures of {shape[1]} x {shape[2]} cannot be halved {depth} times; lower `depth`")
        sides.append(((h + 1) // 2, (w + 1) // 2))
    channels = [shape[0], *(width * 2**i for i in range(depth))]
    for inputs, outputs in pairwise(channels):
        yield nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    for i in reversed(range(depth)):
        yield nn.Sequential(nn.Upsample(size=sides[i]), nn.Conv2d(channels[i + 1], channels[i], 3, padding=1))
