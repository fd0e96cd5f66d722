"""How colourful pictures are, and how far colours are from the true ones."""

import torch
from torch import Tensor


def colourfulness(x: Tensor) -> Tensor:
    """The colourfulness [n] of sRGB pictures [n, 3, h, w] in [0, 1], 0 for grey ones.

    sqrt(sd_rg^2 + sd_yb^2) + 0.3 sqrt(mean_rg^2 + mean_yb^2) with rg = R - G and yb = (R + G) / 2 - B in 0 to 255
    (Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images", eq. 10).
    """
    red, green, blue = (255 * x.double()).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread = opponents.var(2, correction=0).sum(0).sqrt()
    return spread + 0.3 * opponents.mean(2).square().sum(0).sqrt()


def area_under_colour_errors(error: Tensor, weights: Tensor, most: int = 150) -> float:
    """The area, in [0, 1], under the share of pixels whose error is at most 0, 1 .. `most`: 1 where all are right.

    error: [k] Euclidean distances in a and b; weights [k], of each pixel (all 1: raw; one over how frequent its true
    colour is: balanced). As "AuC" in Zhang et al. 2016, arXiv:1603.08511, sec. 3.1.
    """
    order = error.sort()
    cumulative = torch.cat([weights.new_zeros(1), weights[order.indices].cumsum(0)]).double()
    counts = torch.searchsorted(
        order.values, torch.arange(most + 1, device=error.device, dtype=error.dtype), right=True
    )
    shares = cumulative[counts] / cumulative[-1]
    return torch.trapezoid(shares).item() / most
