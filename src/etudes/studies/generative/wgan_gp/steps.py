"""One step of the critic and one of the generator, by each method's own optimiser."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.losses import critic_loss, generator_loss, gradient_penalty
from etudes.train import descend

if TYPE_CHECKING:
    from etudes.studies.generative.wgan_gp import Config


def optimiser(cfg: "Config", network: nn.Module) -> torch.optim.Optimizer:
    """As each method's paper has it."""
    if cfg.method == "wgan":
        return torch.optim.RMSprop(network.parameters(), cfg.clip_lr, foreach=True)
    if cfg.method == "gan":
        return torch.optim.Adam(network.parameters(), cfg.gan_lr, (0.5, 0.999), fused=True)
    return torch.optim.Adam(network.parameters(), cfg.penalty_lr, (0.0, 0.9), fused=True)


def update_critic(cfg: "Config", d: Domain, opt: torch.optim.Optimizer, constant: LambdaLR, i: int) -> Tensor:
    """The critic's i-th step; its loss."""
    real = d.real(i)
    with torch.no_grad():
        made = d.made(len(real))
    loss = critic_loss(cfg.method, d.critic(real), d.critic(made))
    if cfg.method == "wgan-gp":
        mix = torch.rand(len(real), device=real.device)
        loss = loss + cfg.penalty * gradient_penalty(d.critic, real, made, mix)
    loss = descend(loss, opt, constant)
    if cfg.method == "wgan":
        weights = list(d.critic.parameters())
        with torch.no_grad():
            torch._foreach_clamp_min_(weights, -cfg.clip)
            torch._foreach_clamp_max_(weights, cfg.clip)
    return loss


def update_generator(cfg: "Config", d: Domain, opt: torch.optim.Optimizer, constant: LambdaLR, n: int) -> Tensor:
    """A step of the generator by n samples; its loss."""
    return descend(generator_loss(cfg.method, d.critic(d.made(n))), opt, constant)
