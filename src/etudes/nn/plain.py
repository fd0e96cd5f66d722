"""Plain convolutional networks of a few layers, as papers on labels and losses train them on MNIST and CIFAR-10."""

from collections.abc import Sequence

from torch import nn

from etudes.core.errors import Problem
from etudes.nn.norm import BatchNorm


def plain_cnn(
    channels: int, side: int, classes: int, blocks: Sequence[int], convolutions: int, dense: int
) -> nn.Sequential:
    """A network [n, channels, side, side] -> logits [n, classes].

    Each number in `blocks` is the channels of so many 3x3 `convolutions` and a 2x2 max-pool; then come a dense layer of
    `dense` units and the one of the classes. All but the last are normalised by batch, then ReLU. Weights are normal
    with variance 2 / fan-in, biases 0. Raises Problem where the blocks halve the side to nothing.

    (64, 128, 196), 2 and 256 on CIFAR-10 are the 8 layers of Wang et al. 2019 (arXiv:1908.06112) in their code,
    1,639,794 parameters; (32, 64), 1 and 128 are its network for MNIST.
    """
    if side < 2 ** len(blocks):
        raise Problem(f"{len(blocks)} blocks halve {side} pixels to nothing; take fewer blocks")
    layers: list[nn.Module] = []
    for width in blocks:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), BatchNorm(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
        side //= 2
    layers += [nn.Flatten(), nn.Linear(channels * side**2, dense), BatchNorm(dense), nn.ReLU()]
    layers.append(nn.Linear(dense, classes))
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
