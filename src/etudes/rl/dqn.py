"""Deep Q-learning: the network of action values, and its loss against targets."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.rl.explore import NoisyLinear

SMALL = 16  # pixels: frames with a shorter side are too small to convolve


class Dueling(nn.Module):
    """Q = V + A - mean(A) over the actions: the value of a state and the advantages of actions apart, from features
    [b, n] to [b, actions] (Wang et al. 2016, arXiv:1511.06581, eq. 9)."""

    def __init__(self, value: nn.Module, advantage: nn.Module) -> None:
        super().__init__()
        self.value, self.advantage = value, advantage

    def forward(self, x: Tensor) -> Tensor:
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(1, keepdim=True)


class Network(nn.Module):
    """Frames uint8 [b, c, h, w] to action values [b, actions].

    `convolutions` are (channels, kernel, stride), each with ReLU; frames of less than 16 pixels are not convolved. Then
    a hidden layer of `hidden` units, of both of its streams together where it is dueling, and a linear one.
    """

    def __init__(
        self,
        shape: Sequence[int],
        actions: int,
        convolutions: Sequence[tuple[int, int, int]],
        hidden: int,
        *,
        dueling: bool = False,
        noisy: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = shape[0]
        for width, kernel, stride in convolutions if min(shape[1:]) >= SMALL else ():
            layers += [nn.Conv2d(channels, width, kernel, stride), nn.ReLU()]
            channels = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            features = self.body(torch.zeros(1, *shape)).shape[1]
        linear = NoisyLinear if noisy else nn.Linear

        def stream(width: int, outputs: int) -> nn.Module:
            return nn.Sequential(linear(features, width), nn.ReLU(), linear(width, outputs))

        half = hidden // 2
        self.head = Dueling(stream(half, 1), stream(half, actions)) if dueling else stream(hidden, actions)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.body(frames.float().div_(255)))


def loss(values: Tensor, actions: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The mean weighted Huber loss, and the errors [b]: values [b, actions] of the actions [b] taken, less the targets.

    Huber's loss is a square near zero and straight beyond 1: the paper's clipping of errors to [-1, 1].
    """
    chosen = values.gather(1, actions[:, None]).squeeze(1)
    each = functional.smooth_l1_loss(chosen, targets, reduction="none")
    return (weights * each).mean(), (chosen - targets).detach()
