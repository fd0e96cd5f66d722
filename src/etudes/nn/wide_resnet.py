"""Wide residual networks: few layers, many channels, three stages.

Paper: Wide Residual Networks, Zagoruyko, Komodakis 2016, arXiv:1605.07146 (table 1), with the pre-activation blocks of
`nn/resnet`.
"""

from torch import nn

from etudes.core.errors import Problem
from etudes.nn.norm import BatchNorm
from etudes.nn.resnet import PreActBlock


def wide_resnet(channels: int, classes: int, depth: int, widen: int, stem: int = 16) -> nn.Sequential:
    """A network [n, channels, h, w] -> logits [n, classes].

    WRN-depth-widen has (depth - 4) / 6 blocks in each of three stages of stem * widen, 2 and 4 times as many channels;
    the second and the third halve the picture. WRN-28-2 has 1.47 million parameters at 10 classes. Raises Problem where
    the depth is not 6 n + 4.
    """
    blocks, rest = divmod(depth - 4, 6)
    if blocks < 1 or rest:
        raise Problem(f"a wide residual network has 6 n + 4 layers, such as 10, 16 or 28, not {depth}")
    layers: list[nn.Module] = [nn.Conv2d(channels, stem, 3, 1, 1, bias=False)]
    before = stem
    for stage in range(3):
        out = stem * widen * 2**stage
        for i in range(blocks):
            layers.append(PreActBlock(before, out, stride=2 if stage and i == 0 else 1))
            before = out
    head = [BatchNorm(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers, *head)
