"""Step sizes that undo what weight decay does, and other norms for batch normalisation; after Hoffer et al. 2018."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem

LARGEST = 65504.0  # number of half precision
Kind = Literal["l2", "l1", "top"]


def channel_norms(weight: Tensor) -> Tensor:
    """The length [out] of each output channel's weights, of a weight [out, ...]."""
    return weight.detach().flatten(1).norm(dim=1)


def correct_step(before: Tensor, after: Tensor, reference: Tensor, power: float = 2) -> Tensor:
    """Weights [out, ...] after a step whose rate is corrected for each channel, given those after a plain step.

        eta_hat = eta (|w| / |w_decay|)^power

    w are a channel's weights before the step, `reference` [out] their lengths |w_decay| in a run with weight decay at
    the same step. Where a normalisation follows, only the direction of w matters: its gradient is orthogonal to w and
    goes as 1 / |w|, so that SGD turns the direction by about eta / |w|^2 (sec. 2), and power 2, the paper's, gives it
    the turn of the decayed run. Adam's steps do not grow with the gradient, they turn it by eta / |w|: power 1.

    >>> correct_step(torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 1.0]]), torch.tensor([1.0]))
    tensor([[2., 4.]])
    """
    ratio = (channel_norms(before) / reference).pow(power)
    return before + ratio.view([-1] + [1] * (before.ndim - 1)) * (after - before)


def scaled_to(weight: Tensor, lengths: Tensor) -> Tensor:
    """The weights [out, ...] with each channel brought to its length [out]; directions stay."""
    return weight * (lengths / channel_norms(weight)).view([-1] + [1] * (weight.ndim - 1))


def scheduled_norms(reference: Tensor, factor: float) -> Tensor:
    """Lengths [out] at which a constant rate has the effective rate of `factor` times it at lengths `reference`.

    eta / |w|^2 = factor eta / |w_decay|^2, hence |w| = |w_decay| / sqrt(factor): norms in place of a schedule of rates
    (sec. 2). Factors are above 0.
    """
    return reference / math.sqrt(factor)


class _RoundHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.half().float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def round_half(x: Tensor) -> Tensor:
    """The nearest numbers of half precision (fp16), as float32: infinite from 65520 on, 0 up to 2^-25.

    Gradients pass as if nothing were rounded. It simulates that what is stored between two operations is in fp16, and
    neither how a GPU sums nor gradients in fp16.

    >>> round_half(torch.tensor([1 / 3, 70000.0, 2.0**-26]))
    tensor([0.3333,    inf, 0.0000])
    """
    return _RoundHalf.apply(x)


def extreme_factor(n: int) -> float:
    """C(n) = (1 + sqrt(pi ln 4)) / (2 sqrt(2 ln n)): times the largest |x| of n normal numbers, about their deviation.

    The mean of two bounds (sec. 3; the form of the authors' code). Raises Problem for n < 2.
    """
    if n < 2:
        raise Problem(f"the largest of {n} numbers tells no deviation; take two or more")
    return (1 + math.sqrt(math.pi * math.log(4))) / (2 * math.sqrt(2 * math.log(n)))


def deviation(centred: Tensor, kind: Kind, k: int = 10, half: bool = False) -> Tensor:
    """The deviation [c] of each channel of [n, c, h, w] whose mean is 0, by one of three norms (sec. 3).

        l2   sqrt(mean x^2)        l1   sqrt(pi / 2) mean |x|        top   C(m) (mean of the k largest |x|)

    with m = n h w. On normal numbers l1 has the expectation of l2, and top nearly so; k = 1 is the norm L-infinity.
    With `half` magnitudes or squares, their means over each picture, the mean of these and its root are all rounded to
    fp16. Means are taken in two stages so that long sums do not overflow: what does, or vanishes, are single squares.
    """
    keep = round_half if half else _same
    if kind == "l2":
        return keep(keep(keep(keep(centred.square()).mean((2, 3))).mean(0)).sqrt())
    magnitude = keep(centred.abs())
    if kind == "l1":
        return keep(math.sqrt(math.pi / 2) * keep(keep(magnitude.mean((2, 3))).mean(0)))
    rows = magnitude.transpose(0, 1).flatten(1)
    if not 1 <= k <= rows.shape[1]:
        raise Problem(f"the {k} largest of {rows.shape[1]} numbers a channel were asked for; take fewer, at least 1")
    largest = rows.amax(1) if k == 1 else rows.topk(k, dim=1, sorted=False).values.mean(1)
    return keep(extreme_factor(rows.shape[1]) * keep(largest))


def _same(x: Tensor) -> Tensor:
    return x


class LpNorm(nn.Module):
    """Batch normalisation of [n, c, h, w] by `deviation`, with a scale and a shift a channel.

    As usual the running mean and deviation take a tenth of each batch's, and evaluation uses them. `eps` is added to
    the deviation, in all norms alike. With `half` inputs, outputs and all statistics are rounded to fp16.
    """

    def __init__(self, channels: int, kind: Kind = "l1", k: int = 10, half: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.kind, self.k, self.half, self.eps = kind, k, half, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_deviation", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        keep = round_half if self.half else _same
        x = keep(x)
        mean = keep(keep(x.mean((2, 3))).mean(0)) if self.training else self.running_mean
        centred = keep(x - mean[:, None, None])
        if self.training:
            spread = deviation(centred, self.kind, self.k, self.half)
            self.running_mean.lerp_(mean.detach(), 0.1)
            self.running_deviation.lerp_(
                spread.detach().clamp(max=LARGEST), 0.1
            )  # an average of infinity would stay so
        else:
            spread = self.running_deviation
        return keep(centred * (self.weight / (spread + self.eps))[:, None, None] + self.bias[:, None, None])


class NormedConv(nn.Conv2d):
    """A 3x3 convolution whose weights are w = g v / |v| for each output channel, with a bias.

    `bounded=False` is weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868, eq. 2): the lengths g [out] are
    learnt, and begin as |v|. `bounded=True` is the paper's bounded one (sec. 4): all channels have one fixed length
    rho = |V| / sqrt(out), with |V| the length of the whole layer's first weights.
    """

    def __init__(self, channels: int, out: int, bounded: bool) -> None:
        super().__init__(channels, out, 3, padding=1)
        self.bounded = bounded
        self.register_buffer("rho", torch.zeros(()))
        self.g = None if bounded else nn.Parameter(torch.zeros(out))
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """Take the lengths from the present weights: where they are drawn anew this must be called."""
        self.rho.copy_(self.weight.norm() / math.sqrt(len(self.weight)))
        if self.g is not None:
            self.g.copy_(channel_norms(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        length = self.rho if self.g is None else self.g[:, None, None, None]
        direction = self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None]
        return functional.conv2d(x, length * direction, self.bias, padding=1)
