"""Colours as classes: the bins of the ab plane that sRGB can show, and what is predicted over them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem
from etudes.data.colour import lab

NEIGHBOURS = 5  # bins among which a colour is shared
BANDWIDTH = 5.0  # of the Gaussian by which it is shared, and by which frequencies are smoothed


def bin_centres(grid: int) -> Tensor:
    """The centres [Q, 2] of the ab plane's cells of side `grid` that hold a colour of sRGB at some lightness.

    With a side of 10 there are 261. The authors' list has 313 (sec. 2.1), some of which no colour of sRGB falls into.
    """
    ticks = torch.linspace(0, 1, 86)  # steps of three grey levels
    ab = lab(torch.cartesian_prod(ticks, ticks, ticks).T[None, :, :, None])[0, 1:, :, 0].T
    cells = (ab / grid).round().long() + 128
    codes = (256 * cells[:, 0] + cells[:, 1]).unique()  # of numbers, as that of rows takes a second
    return grid * (torch.stack([codes // 256, codes % 256], 1) - 128).float()


def nearest_bins(ab: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """How a colour is shared among its nearest bins by a Gaussian (sec. 2.1): the shares [n, k, h, w] of colours
    ab [n, 2, h, w], and the bins' numbers, the nearest first."""
    flat = ab.movedim(1, -1).reshape(-1, 2)
    distance, nearest = torch.cdist(flat, centres).topk(min(NEIGHBOURS, len(centres)), largest=False)
    shares = torch.exp(-distance.square() / (2 * BANDWIDTH**2))
    shares = shares / shares.sum(1, keepdim=True).clamp_min(1e-12)
    shape = (len(ab), *ab.shape[2:], -1)
    return shares.reshape(shape).movedim(-1, 1), nearest.reshape(shape).movedim(-1, 1)


def soft_encoding(ab: Tensor, centres: Tensor) -> Tensor:
    """Z [n, Q, h, w] of colours ab [n, 2, h, w]: the shares of each among all bins."""
    shares, nearest = nearest_bins(ab, centres)
    return shares.new_zeros(len(ab), len(centres), *ab.shape[2:]).scatter_(1, nearest, shares)


def rebalancing_weights(frequency: Tensor, centres: Tensor, uniform: float = 0.5) -> Tensor:
    """w [Q] proportional to 1 / ((1 - l) p~ + l / Q) with E_p~ w = 1 (eq. 4), for the bins' frequencies p [Q].

    p~ is p smoothed by a Gaussian over the bins; `uniform` is l, the share of a uniform distribution.
    """
    kernel = torch.exp(-torch.cdist(centres, centres).square() / (2 * BANDWIDTH**2))
    smooth = (kernel / kernel.sum(1, keepdim=True)).T @ (frequency / frequency.sum())
    smooth = smooth / smooth.sum()
    weights = 1 / ((1 - uniform) * smooth + uniform / len(centres))
    return weights / (weights * smooth).sum()


def classification_loss(logits: Tensor, ab: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """L_cl (eq. 2): the cross-entropy of logits [n, Q, h, w] with the soft encoding of ab [n, 2, h, w], each pixel
    weighted by that of its likeliest bin; the mean over pixels."""
    shares, nearest = nearest_bins(ab, centres)
    entropy = -(shares * functional.log_softmax(logits.float(), 1).gather(1, nearest)).sum(1)
    return (weights[nearest[:, 0]] * entropy).mean()


def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """ab [n, 2, h, w]: the mean of the bins' centres under odds sharpened by the temperature T, exp(log z / T) (eq. 5).

    T = 1 is the mean of the prediction, T near 0 its likeliest bin. Raises Problem on a T that is not positive.
    """
    if not temperature > 0:
        raise Problem(f"the temperature of the annealed mean is {temperature:g}; it must be above 0")
    odds = (functional.log_softmax(logits.float(), 1) / temperature).softmax(1)
    return torch.einsum("nqhw,qc->nchw", odds, centres)


def colorizer(width: int, depth: int, halvings: int, outputs: int) -> nn.Sequential:
    """A network from lightness [n, 1, h, w] to [n, outputs, h', w'], h' = h / 2^(halvings - 1): fig. 2 of the paper.

    Blocks of convolutions end in batch norm; two are dilated. The paper's has width 64, depth 3 and 3 halvings. All but
    the last two parts, the decoder, are features.
    """
    wide = [width * 2 ** min(i, 3) for i in range(halvings + 1)]
    encoder: list[nn.Module] = []
    for i in range(halvings):
        encoder.append(_block(wide[i - 1] if i else 1, wide[i], 2 if i < 2 else depth, stride=2))
    widest = wide[-1]
    encoder.append(_block(wide[-2], widest, depth))
    encoder += [_block(widest, widest, depth, dilation=2), _block(widest, widest, depth, dilation=2)]
    encoder.append(_block(widest, widest, depth))
    half = widest // 2
    up: list[nn.Module] = [nn.ConvTranspose2d(widest, half, 4, 2, 1), nn.ReLU()]
    for _ in range(depth - 1):
        up += [nn.Conv2d(half, half, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*encoder, nn.Sequential(*up), nn.Conv2d(half, outputs, 1))


def _block(channels: int, out: int, depth: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        last = stride if i == depth - 1 else 1
        layers += [nn.Conv2d(channels if i == 0 else out, out, 3, last, dilation, dilation), nn.ReLU()]
    return nn.Sequential(*layers, nn.BatchNorm2d(out))
