"""The VGG of CIFAR-10 tutorials: blocks of two 3x3 convolutions and a pool, then a dense layer.

Paper: Very Deep Convolutional Networks for Large-Scale Image Recognition, Simonyan & Zisserman 2015, arXiv:1409.1556;
this small form (32, 64, 128 channels, dense layer of 128) is the one that tutorials build up rule by rule.
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from etudes.nn.norm import Norm, norm

Order = Literal["norm-dropout", "dropout-norm"]


def vgg(
    channels: int,
    classes: int,
    side: int = 32,
    *,
    width: int = 32,
    kind: Norm = "none",
    rates: Sequence[float] = (0, 0, 0, 0),
    order: Order = "norm-dropout",
) -> nn.Sequential:
    """A network [n, channels, side, side] -> logits [n, classes]; 550,570 parameters for 3 channels, 10 classes.

    Three blocks of two 3x3 convolutions with ReLU and a 2x2 max-pool, of `width`, 2 and 4 times as many channels, then
    a dense layer of 128. `kind` is the normalisation behind each ReLU. `rates` are the shares that dropout sets to
    zero behind each block and behind the dense layer, where it stands after the normalisation or, with "dropout-norm",
    before it. (Tutorials have the pool between the two; normalising after the pool differs from it in its statistics
    alone, and costs a quarter.) Weights are uniform with variance 2 / fan-in, biases 0 (He et al. 2015,
    arXiv:1502.01852, eq. 10).
    """
    layers: list[nn.Module] = []
    for block, rate in enumerate(rates[:3]):
        out = width * 2**block
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), *norm(kind, out)]
        layers += [nn.Conv2d(out, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += _between(norm(kind, out), nn.Dropout(rate), order)
        channels = out
    layers += [nn.Flatten(), nn.Linear(channels * (side // 8) ** 2, 128), nn.ReLU()]
    layers += _between(norm(kind, 128, dense=True), nn.Dropout(rates[3]), order)
    layers.append(nn.Linear(128, classes))
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _between(norms: list[nn.Module], dropout: nn.Dropout, order: Order) -> list[nn.Module]:
    dropouts = [dropout] if dropout.p else []
    return norms + dropouts if order == "norm-dropout" else dropouts + norms
