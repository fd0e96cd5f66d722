"""The generators and critics: of points, and of pictures."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from etudes.core import Problem

Norm = Literal["none", "batch", "layer"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
SMALLEST = 4  # pixels of a picture's side where convolutions end


def perceptron(inputs: int, width: int, depth: int, outputs: int, activation: str = "relu") -> nn.Sequential:
    """[n, inputs] to [n, outputs] over `depth` hidden layers."""
    sizes = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def picture_generator(
    noise: int, shape: tuple[int, int, int], width: int, norm: Norm, activation: str, kind: str
) -> nn.Sequential:
    """Noise [n, noise] to pictures [n, c, h, h] in [-1, 1]: DCGAN's (Radford et al. 2016, arXiv:1511.06434), whose last
    hidden layer has `width` channels; or, of kind "mlp", three hidden layers of 8 * width units."""
    c, side, _ = shape
    if kind == "mlp":
        return nn.Sequential(
            perceptron(noise, 8 * width, 3, c * side * side, activation), nn.Tanh(), nn.Unflatten(1, shape)
        )
    channels = [width << i for i in reversed(range(_halvings(side)))]
    start = SMALLEST * SMALLEST * channels[0]
    layers: list[nn.Module] = [nn.Linear(noise, start), nn.Unflatten(1, (channels[0], SMALLEST, SMALLEST))]
    for i, before in enumerate(channels):
        layers += [*_norm(norm, before, SMALLEST << i), ACTIVATIONS[activation]()]
        after = channels[i + 1] if i + 1 < len(channels) else c
        layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1))
    return nn.Sequential(*layers, nn.Tanh())


def picture_critic(shape: tuple[int, int, int], width: int, norm: Norm, activation: str) -> nn.Sequential:
    """Pictures [n, c, h, h] to values [n, 1]: DCGAN's, with no norm after the first convolution."""
    c, side, _ = shape
    channels = [c, *(width << i for i in range(_halvings(side)))]
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(channels)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1))
        layers += _norm(norm, after, side >> (i + 1)) if i else []
        layers.append(nn.LeakyReLU(0.2) if activation == "relu" else nn.Tanh())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * SMALLEST * SMALLEST, 1))


def check_critic(critic: nn.Module) -> None:
    """Raises Problem where a penalised critic normalises over the batch: the penalty is on the gradient for one input,
    and batch norm makes every value depend on all of them (sec. 4, "no critic batch normalization")."""
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in critic.modules()):
        raise Problem("a critic with a gradient penalty cannot have batch norm; take layer norm or none")


def layer_outputs(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What each linear layer of a perceptron gives for x, in order, kept in the graph."""
    kept = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            kept.append(x)
    return kept


def _halvings(side: int) -> int:
    count = (side // SMALLEST).bit_length() - 1
    if count < 1 or SMALLEST << count != side:
        raise Problem(f"pictures of {side} pixels cannot be halved down to {SMALLEST}; take a side of 8, 16, 32 or 64")
    return count


def _norm(norm: Norm, channels: int, side: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.LayerNorm([channels, side, side])] if norm == "layer" else []
