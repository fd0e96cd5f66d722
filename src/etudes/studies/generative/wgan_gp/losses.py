"""What critics and generators lower: the gradient penalty, and the losses of WGAN and of a GAN."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

Method = Literal["wgan-gp", "wgan", "gan"]


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, mix: Tensor) -> Tensor:
    """E (|grad f(x^)| - 1)^2 at x^ = e x + (1 - e) g(z), the last term of eq. 3 without lambda.

    real and made: [n, ...]; mix: e [n], one an example. The norm is over all numbers of an example. So a linear critic
    of slope 1 has the penalty 0, one of slope 2 the penalty 1.
    """
    made = made.detach().requires_grad_()  # so that what is between has a gradient too
    between = torch.lerp(made, real, mix.view(-1, *[1] * (real.ndim - 1)))
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()


def critic_loss(method: Method, real: Tensor, made: Tensor) -> Tensor:
    """What the critic lowers, of its values [n, 1]: E f(g(z)) - E f(x); of a GAN the cross-entropy of both kinds."""
    if method == "gan":
        return softplus(-real).mean() + softplus(made).mean()
    return made.mean() - real.mean()


def generator_loss(method: Method, made: Tensor) -> Tensor:
    """What the generator lowers: -E f(g(z)); of a GAN -E log D(g(z)) (Goodfellow et al. 2014, sec. 3)."""
    return softplus(-made).mean() if method == "gan" else -made.mean()


def estimate(method: Method, real: Tensor, made: Tensor) -> Tensor:
    """The distance between data and samples as the critic tells it: E f(x) - E f(g(z)); of a GAN log 2 - loss / 2,
    which is at most the Jensen-Shannon divergence (Arjovsky et al. 2017, sec. 4)."""
    loss = critic_loss(method, real, made)
    return math.log(2) - loss / 2 if method == "gan" else -loss
