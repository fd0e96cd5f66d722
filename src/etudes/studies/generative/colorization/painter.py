"""A network that has learnt to colour, and the colours that it shows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.studies.generative.colorization.bins import annealed_mean

SPREAD = 20.0  # about the standard deviation of a and b in photographs: what least squares guesses is of size one
Colour = Callable[[Tensor], Tensor]  # lightness [n, 1, h, w] in [0, 100] -> ab [n, 2, h, w]


@dataclass(frozen=True)
class Painter:
    """A network from L / 50 - 1 to logits of bins with these centres [Q, 2], or, where those are None, to a and b
    over SPREAD."""

    model: nn.Sequential
    centres: Tensor | None

    @torch.no_grad()
    def guess(self, lightness: Tensor) -> Tensor:
        """What the network says of lightness [n, 1, h, w] in [0, 100], at its own, lower resolution."""
        return self.model.eval()(lightness / 50 - 1).float()

    def odds(self, lightness: Tensor) -> Tensor:
        """[n, Q, h', w'], of classes alone."""
        return self.guess(lightness).softmax(1)

    def colours(self, lightness: Tensor, temperature: float) -> Tensor:
        """ab [n, 2, h', w'] at the network's resolution: of classes the annealed mean."""
        guess = self.guess(lightness)
        return SPREAD * guess if self.centres is None else annealed_mean(guess, self.centres, temperature)

    def at(self, temperature: float) -> Colour:
        """Its colours, brought to the size of the picture."""

        def colour(lightness: Tensor) -> Tensor:
            ab = self.colours(lightness, temperature)
            return functional.interpolate(ab, size=lightness.shape[2:], mode="bilinear", align_corners=False)

        return colour

    def temperatures(self, own: float) -> dict[str, float]:
        """{end of a metric's name: T}: the setting's own; for classes also the mean of the odds and their mode."""
        return {"": own} if self.centres is None else {"-mean": 1.0, "": own, "-mode": 0.01}
