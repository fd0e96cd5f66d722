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
        self._source = model

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # Asked for anew: to shard a network makes other parameters of it.
        torch._foreach_lerp_(list(self.model.parameters()), list(self._source.parameters()), 1 - decay)
        for buffer, now in zip(self.model.buffers(), self._source.buffers(), strict=True):
            buffer.copy_(now)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
