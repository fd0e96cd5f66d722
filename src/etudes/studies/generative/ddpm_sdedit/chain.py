"""Whether a chain of noise has the mean and variance of its closed form."""

import torch
from torch import Tensor


def chain_error(betas: Tensor, alpha_bar: Tensor, x: Tensor, generator: torch.Generator) -> float:
    """How far the chain of variances betas [T], walked step by step from x [n, c, h, w], is from its closed form.

    Each step is sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise (Ho et al. 2020, arXiv:2006.11239, eq. 2). So the slope
    of x_t on x should be sqrt(alpha_bar_t), and the root mean square of the rest sqrt(1 - alpha_bar_t) (eq. 4). The
    largest of these errors at the quarters of the way. By chance alone it is about (values of x)^-1/2.
    """
    x = x.double().cpu()
    walked, errors = x, []
    quarters = {round(len(betas) * k / 4) - 1 for k in (1, 2, 3, 4)}
    for t, (beta, signal) in enumerate(zip(betas.tolist(), alpha_bar.tolist(), strict=True)):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        walked = (1 - beta) ** 0.5 * walked + beta**0.5 * noise
        if t in quarters:
            slope = ((walked * x).sum() / x.square().sum()).item()
            rest = (walked - slope * x).square().mean().sqrt().item()
            errors += [abs(slope - signal**0.5), abs(rest - (1 - signal) ** 0.5)]
    return max(errors)
