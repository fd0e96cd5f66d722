"""Network in network: blocks of one wide convolution and two of 1x1, as the rotation task was first learnt with."""

import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.nn.norm import BatchNorm


def nin_blocks(channels: int, width: int = 192, blocks: int = 4) -> list[nn.Sequential]:
    """The blocks, pictures [n, channels, side, side] to maps [n, width, side / 4, side / 4], halves rounded up.

    Each block has a convolution of 5x5 in the first two and of 3x3 in the others, then two of 1x1; all are normalised
    by batch, then ReLU. The first narrows to 5/6 and 1/2 of the width. Behind the first stands a max-pool of 3x3 and
    stride 2, behind the second such a mean-pool. (Lin et al. 2014, arXiv:1312.4400; with 192 channels and 4 blocks as
    in Gidaris et al. 2018, arXiv:1803.07728, sec. 3.1, by the authors' code.) Weights are normal with variance
    2 / fan-out, convolutions have no bias. Raises Problem without a block, or with fewer than 2 channels.
    """
    if blocks < 1 or width < 2:
        raise Problem(f"a network in network needs a block and 2 channels at least, not {blocks} and {width}")
    made: list[nn.Sequential] = []
    inside = channels
    for b in range(blocks):
        layers: list[nn.Module] = []
        outputs = (width, width * 5 // 6, width // 2) if b == 0 else (width,) * 3
        for out, kernel in zip(outputs, (5 if b < 2 else 3, 1, 1), strict=True):
            convolution = nn.Conv2d(inside, out, kernel, padding=kernel // 2, bias=False)
            nn.init.normal_(convolution.weight, 0, (2 / (kernel**2 * out)) ** 0.5)
            layers += [convolution, BatchNorm(out), nn.ReLU()]
            inside = out
        if b < 2:
            layers.append(nn.MaxPool2d(3, 2, 1) if b == 0 else nn.AvgPool2d(3, 2, 1))
        made.append(nn.Sequential(*layers))
    return made


def mean_of_places(inside: int, out: int) -> nn.Sequential:
    """Maps [n, inside, h, w] to logits [n, out]: the mean over places, then a linear layer."""
    last = nn.Linear(inside, out)
    torch.nn.init.zeros_(last.bias)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
