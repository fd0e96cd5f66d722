"""An exponential moving average of a network's weights."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class EMA:
    """The average of `model`, as `.model`: a network of its own, in evaluation mode and without gradients.

    Each update moves its parameters by 1 - min(decay, (1 + i) / (10 + i)) towards the model's, i being the number of
    updates before: early averages forget the initialisation. (The warm-up is that of TensorFlow's
    ExponentialMovingAverage.) Buffers are copied. One of the parts of `fit`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self._pairs = list(self.model.parameters()), list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = self._pairs
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for buffer, now in self._buffers:
            buffer.copy_(now)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
