"""Networks of any width k, which differ in nothing else."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.nn.norm import BatchNorm
from etudes.nn.resnet import preact_resnet

Kind = Literal["mlp", "cnn", "resnet"]


class Mlp(nn.Module):
    """One hidden layer of ReLU units: inputs [n, d] to logits [n, classes].

    Networks of several widths are stacked as if all were the widest: a unit whose weights all are 0 gets no gradient
    and stays as it is. Examples are columns inside, which for so few units is twice as fast as rows.
    """

    def __init__(self, inputs: int, width: int, classes: int, dropout: float = 0.0, idle: int = 0) -> None:
        super().__init__()
        first, last = nn.Linear(inputs, width), nn.Linear(width, classes)
        self.first_weight = nn.Parameter(functional.pad(first.weight.detach(), (0, 0, 0, idle)))
        self.first_bias = nn.Parameter(functional.pad(first.bias.detach(), (0, idle)))
        self.last_weight = nn.Parameter(functional.pad(last.weight.detach(), (0, idle)))
        self.last_bias = nn.Parameter(last.bias.detach())
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first_weight @ x.flatten(1).mT + self.first_bias[:, None])
        return (self.last_weight @ self.dropout(hidden) + self.last_bias[:, None]).mT


def cnn(channels: int, width: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """The five-layer CNN of Nakkiran et al. (sec. 4): k, 2k, 4k, 8k channels, pools of 1, 2, 2 and all, a dense layer.

    Pictures [n, c, h, w] to logits; width 64 has 1.56 million parameters. Dropout is before the dense layer.
    """
    layers: list[nn.Module] = []
    before = channels
    for stage in range(4):
        after = width * 2**stage
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), BatchNorm(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if stage in (1, 2) else []
        before = after
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(before, classes)
    )


def network(
    kind: Kind, shape: tuple[int, int, int], width: int, classes: int, dropout: float, widest: int
) -> nn.Module:
    """A network of so many units or channels for pictures of shape (c, h, w). An MLP is stacked with others, of which
    the `widest` is the widest."""
    channels, height, side = shape
    if kind == "mlp":
        return Mlp(channels * height * side, width, classes, dropout, idle=widest - width)
    if kind == "cnn":
        return cnn(channels, width, classes, dropout)
    resnet = preact_resnet(channels, classes, width, (2, 2, 2, 2))
    return nn.Sequential(*resnet[:-1], nn.Dropout(dropout), resnet[-1])
