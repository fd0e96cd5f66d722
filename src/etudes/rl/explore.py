"""Exploration: with chance epsilon any action, or networks whose weights are noisy."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def linear_schedule(i: int, start: float, end: float, steps: int) -> float:
    """Epsilon at step i: from `start` to `end` in a straight line over so many steps, `end` from then on."""
    return end + (start - end) * max(0.0, 1 - i / steps) if steps else end


def epsilon_greedy(values: Tensor, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Actions int64 [games]: the best by the values [games, actions], or with chance epsilon any, all alike."""
    best = values.argmax(1).cpu().numpy()
    anyhow = rng.integers(values.shape[1], size=len(best))
    return np.where(rng.random(len(best)) < epsilon, anyhow, best)


class NoisyLinear(nn.Module):
    """A linear layer that adds learnt amounts of noise to its weights while in training mode.

    y = (mu + sigma * e) x + the same for the bias, with e = f(a) f(b)^T, f(x) = sign(x) sqrt(|x|), for one Gaussian a
    per output and b per input, new at every call: factorised noise of Fortunato et al. 2018 (arXiv:1706.10295, sec. 3,
    eq. 9 to 11). The gradient decides, weight by weight, how much noise is left: exploration that depends on the state
    and fades where the network is sure, for epsilon, which is the same everywhere. In evaluation mode e = 0.
    """

    def __init__(self, inputs: int, outputs: int, sigma: float = 0.5) -> None:
        super().__init__()
        reach = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-reach, reach))
        self.weight_noise = nn.Parameter(torch.full((outputs, inputs), sigma * reach))
        self.bias_noise = nn.Parameter(torch.full((outputs,), sigma * reach))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return functional.linear(x, self.weight, self.bias)
        into, out = (_damped(torch.randn(n, device=x.device)) for n in reversed(self.weight.shape))
        weight = self.weight + self.weight_noise * torch.outer(out, into)
        return functional.linear(x, weight, self.bias + self.bias_noise * out)


def _damped(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()
