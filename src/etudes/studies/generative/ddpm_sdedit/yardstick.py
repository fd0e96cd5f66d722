"""How generated pictures compare with those of the data, in the eyes of a classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from etudes.measure.error import evaluation_mode
from etudes.measure.frechet import frechet, nearest


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Measures of pictures [n, c, h, w] in [0, 1] against those of the data, `train` and `test`, alike.

    `classifier` is trained, and its last layer gives the logits; distances are measured in what that layer sees.
    `only` is the class of the data, -1 where it has all.
    """

    classifier: nn.Sequential
    train: Tensor
    test: Tensor
    only: int = -1

    def features(self, x: Tensor) -> Tensor:
        """What the classifier's last layer sees [n, d]."""
        with evaluation_mode(self.classifier):
            return torch.cat([self.classifier[:-1](batch) for batch in x.split(500)])

    def distance(self, x: Tensor) -> float:
        """The squared Fréchet distance to the test pictures (see `frechet`)."""
        return frechet(self.features(x), self.features(self.test))

    def confidence(self, x: Tensor) -> float:
        """The mean probability of the data's class, or where the data has all of the likeliest."""
        with evaluation_mode(self.classifier):
            chances = self.classifier[-1](self.features(x)).softmax(1)
        return (chances.amax(1) if self.only < 0 else chances[:, self.only]).double().mean().item()

    def nearest(self, x: Tensor) -> float:
        """The mean Euclidean distance to the nearest training picture."""
        return nearest(x, self.train).mean().item()
