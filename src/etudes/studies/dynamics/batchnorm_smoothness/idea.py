"""Normalisations that are not batch normalisation, noise after it, and the paper's internal covariate shift."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from etudes.core import Problem
from etudes.nn.norm import BatchNorm


def average_norm(x: Tensor, p: float) -> Tensor:
    """The lp norm of each channel of x: [n, c, h, w], averaged over its k = n h w numbers: (sum |x|^p / k)^(1/p), [c].

    With p = inf the largest |x|. Of the numbers as they are, before their mean is taken away (sec. 3.3).

    >>> average_norm(torch.tensor([[3.0, 0.0], [4.0, 2.0]])[:, :, None, None], 2)
    tensor([3.5355, 1.4142])
    """
    count = x.numel() // x.shape[1]
    return torch.linalg.vector_norm(x, p, (0, 2, 3)) / count ** (1 / p)


class LpNorm(nn.Module):
    """gamma (x - mean) / average_norm(x, p) + beta a channel of [n, c, h, w]: the paper's l1, l2 and linf (sec. 3.3).

    Mean and norm are the batch's in training; evaluation takes their running averages, as batch normalisation does.
    """

    def __init__(self, channels: int, p: float, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        if p not in (1, 2, math.inf):
            raise Problem(f"the average norm is of p = {p:g}; take 1, 2 or infinity")
        self.p, self.momentum, self.eps = p, momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_norm", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean, size = x.mean((0, 2, 3)), average_norm(x, self.p)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_norm.lerp_(size.detach(), self.momentum)
        else:
            mean, size = self.running_mean, self.running_norm
        scale = self.weight / (size + self.eps)
        return x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]


def disturb(x: Tensor, most_mean: float, most_scale: float, spread: float) -> Tensor:
    """s x + m of x: [n, c, h, w]: noise whose own distribution changes with every call (appendix A, "noisy" BatchNorm).

        mu_c ~ U(-n_mu, n_mu),  sigma_c ~ U(1, n_sigma);      m_ic ~ U(mu_c - r, mu_c + r),  s_ic ~ N(sigma_c, r)

    for channel c and picture i. So in no step has a channel the mean and the deviation that it had in the one before.
    Draws are from PyTorch's own generator.
    """
    n, c = x.shape[:2]
    mean = (2 * torch.rand(c, device=x.device) - 1) * most_mean
    scale = 1 + (most_scale - 1) * torch.rand(c, device=x.device)
    m = mean + (2 * torch.rand(n, c, device=x.device) - 1) * spread
    s = scale + torch.randn(n, c, device=x.device) * spread
    return x * s[..., None, None] + m[..., None, None]


class NoisyBatchNorm(BatchNorm):
    """Batch normalisation with `disturb` behind it in training; evaluation has the noise's expectation, (1 + n_sigma)
    / 2 times the normalised numbers, as its mean is 0 on average."""

    def __init__(self, channels: int, most_mean: float, most_scale: float, spread: float) -> None:
        super().__init__(channels)
        self.noise = most_mean, most_scale, spread

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return disturb(y, *self.noise) if self.training else y * (1 + self.noise[1]) / 2


def covariate_shift(objective: Callable[[], Tensor], layers: Sequence[nn.Module], lr: float) -> tuple[Tensor, Tensor]:
    """Internal covariate shift by definition 2.1: how the gradient of a layer differs once those below are updated.

        G_i  = dL/dW_i (W_1, ..., W_k)        G'_i = dL/dW_i (W_1', ..., W_{i-1}', W_i, ..., W_k)

    with W' = W - lr dL/dW, on the same batch. `layers` are from the input to the output; the first parameter of each is
    its W_i, and the others are updated with it. Returns ||G_i - G'_i|| / ||G_i|| and the cosine of G_i and G'_i,
    float64 [k - 1], of all layers but the first, which has none below. The parameters end as they began.
    """
    weights = [next(layer.parameters()) for layer in layers]
    groups = [list(layer.parameters()) for layer in layers]
    flat = [p for group in groups for p in group]
    gradients = dict(zip(flat, torch.autograd.grad(objective(), flat), strict=True))
    start = {p: p.detach().clone() for p in flat}
    differences, cosines = [], []
    try:
        for below, weight in zip(groups[:-1], weights[1:], strict=True):
            with torch.no_grad():
                for p in below:
                    p.copy_(start[p] - lr * gradients[p])
            (other,) = torch.autograd.grad(objective(), [weight])
            first, second = gradients[weight].double().flatten(), other.double().flatten()
            differences.append((first - second).norm() / first.norm())
            cosines.append(cosine_similarity(first, second, dim=0))
    finally:
        with torch.no_grad():
            for p, w in start.items():
                p.copy_(w)
    return torch.stack(differences).cpu(), torch.stack(cosines).cpu()
