"""How a gradient becomes a step: the rules of optimisation, with their state."""

import torch
from torch import Tensor, nn


class Descent(nn.Module):
    """A full-batch rule on flat parameters [p], with the state that a checkpoint must hold."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.clone())
        self.register_buffer("velocity", torch.zeros_like(weights))
        self.register_buffer("square", torch.zeros_like(weights))

    def preconditioner(self, gradient: Tensor, t: int, beta: float, beta2: float) -> Tensor:
        """Adam's P_t [p] for its t-th step, from 1: Adam is momentum averaged by `beta` and divided by P_t."""
        self.square.lerp_(gradient.square(), 1 - beta2)
        return (1 - beta**t) * ((self.square / (1 - beta2**t)).sqrt() + 1e-8)

    def move(self, rule: str, gradient: Tensor, step_size: float, beta: float, scale: Tensor | None) -> None:
        """One step along `gradient`: plain, heavy-ball (v = b v - eta g; w += v), or Adam with P = `scale`."""
        if rule == "gd":
            self.weights -= step_size * gradient
        elif rule == "momentum":
            self.velocity.mul_(beta).sub_(gradient, alpha=step_size)
            self.weights += self.velocity
        else:
            self.velocity.lerp_(gradient, 1 - beta)
            self.weights -= step_size * self.velocity / scale
