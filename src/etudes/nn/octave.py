"""Octave convolution, and residual networks of it: some channels live at half the height and width of the others.

Paper: Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave Convolution, Chen et al.
2019, arXiv:1904.05049; where its text leaves something open, as in the authors' code (facebookresearch/OctConv).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem, unknown
from etudes.nn.bottleneck import STAGES
from etudes.nn.norm import BatchNorm

# High-frequency channels [n, c_high, h, w] and low-frequency ones [n, c_low, h/2, w/2]; None where there are none.
Octaves = tuple[Tensor | None, Tensor | None]
Exchange = Literal["both", "down", "up", "none"]  # which of the paths high -> low and low -> high there are
Downsample = Literal["pool", "stride"]  # what stride 2 is: means of 2x2 pixels before, or a strided convolution


def low_channels(channels: int, alpha: float) -> int:
    """How many of the channels are of low frequency: a share alpha, rounded down. Raises Problem outside 0 .. 1."""
    if not 0 <= alpha <= 1:
        raise Problem(f"alpha is {alpha}; it is the share of low-frequency channels and must be between 0 and 1")
    return int(alpha * channels)


def relative_cost(alpha: float) -> float:
    """Multiply-adds of an octave convolution with alpha_in = alpha_out = alpha, plain = 1: 1 - 3/4 alpha (2 - alpha).

    Only high -> high is at full resolution, a share (1 - alpha)^2 of the products; the rest costs a quarter (table 1).
    """
    return 1 - 0.75 * alpha * (2 - alpha)


def relative_memory(alpha: float) -> float:
    """Numbers of a feature map, plain = 1: 1 - 3/4 alpha, as low-frequency channels have a quarter (table 1)."""
    return 1 - 0.75 * alpha


def pool(x: Tensor) -> Tensor:
    """Means of 2x2 pixels: [n, c, h, w] -> [n, c, h/2, w/2]. Raises Problem where a side is odd."""
    if x.shape[-2] % 2 or x.shape[-1] % 2:
        raise Problem(f"a feature map of {x.shape[-2]}x{x.shape[-1]} cannot be halved; octaves need even sides")
    return functional.avg_pool2d(x, 2)


def upsample(x: Tensor) -> Tensor:
    """Every pixel as 2x2 of its like: [n, c, h, w] -> [n, c, 2h, 2w]."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum, where None counts as nothing."""
    return other if one is None else one if other is None else one + other


class OctaveConv(nn.Module):
    """A convolution of octaves (sec. 3.2, eq. 4), with f the plain convolution:

    Y^H = f(X^H; W^(H->H)) + upsample(f(X^L; W^(L->H)), 2)
    Y^L = f(X^L; W^(L->L)) + f(pool(X^H, 2); W^(H->L))

    The share of low-frequency channels is alpha_in of the input and alpha_out of the output; at 0 and 0 this is the
    plain convolution. The four W are the blocks of a plain convolution's weight, and are drawn as such: there are as
    many parameters, and under one seed the same first ones, whatever the alphas. A bias is added once an output
    channel.

    For stride 2 each octave is pooled before f, also at alpha 0, as a strided f looks at places which lie half a pixel
    beside those of the other octave (sec. 3.3); `downsample="stride"` has the strided f. Low -> high needs neither
    then, nor upsampling. `exchange` takes away paths between the octaves: "down" keeps high -> low alone, "up" low ->
    high alone. What leads from one octave to two, or from two to one, is not taken away. Raises Problem on odd sides.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        alpha_in: float = 0.5,
        alpha_out: float = 0.5,
        bias: bool = False,
        exchange: Exchange = "both",
        downsample: Downsample = "pool",
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise Problem(f"stride is {stride}; an octave convolution has stride 1 or 2")
        if exchange not in ("both", "down", "up", "none"):
            raise unknown("exchange", exchange, ("both", "down", "up", "none"))
        if downsample not in ("pool", "stride"):
            raise unknown("downsample", downsample, ("pool", "stride"))
        self.padding, self.halves = padding, stride == 2
        self.pools, self.stride = self.halves and downsample == "pool", stride if downsample == "stride" else 1
        self.high_in = in_channels - low_channels(in_channels, alpha_in)
        self.high_out = out_channels - low_channels(out_channels, alpha_out)
        plain = nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias)
        self.bias, w = plain.bias, plain.weight.detach()
        h, k = self.high_out, self.high_in
        two_to_two = 0 < k < in_channels and 0 < h < out_channels
        down, up = (exchange in ("both", way) or not two_to_two for way in ("down", "up"))
        self.high_to_high, self.low_to_low = _parameter(w[:h, :k]), _parameter(w[h:, k:])
        self.high_to_low = _parameter(w[h:, :k]) if down else None
        self.low_to_high = _parameter(w[:h, k:]) if up else None

    def forward(self, x: Octaves) -> Octaves:
        """Y^H = f(X^H; W^(H->H)) + upsample(f(X^L; W^(L->H)), 2) and Y^L = f(X^L; W^(L->L)) + f(pool(X^H, 2); W^(H->L))
        (eq. 4), with None for an octave that has no channels."""
        high, low = x
        if high is not None and low is not None and high.shape[-2:] != (2 * low.shape[-2], 2 * low.shape[-1]):
            raise Problem(f"{[*high.shape[-2:]]} and {[*low.shape[-2:]]} are not an octave apart; give even sides")
        y_high = y_low = None
        if high is not None:
            near = pool(high) if self.pools else high
            y_high = self._convolve(near, self.high_to_high, self.stride)
            y_low = None if self.high_to_low is None else self._convolve(pool(near), self.high_to_low, self.stride)
        if low is not None:
            far = pool(low) if self.pools and self.low_to_low is not None else low
            y_low = add(y_low, self._convolve(far, self.low_to_low, self.stride))
            raised = self._convolve(low, self.low_to_high, 1)
            y_high = add(y_high, raised if raised is None or self.halves else upsample(raised))
        if self.bias is not None:
            y_high = None if y_high is None else y_high + self.bias[: self.high_out, None, None]
            y_low = None if y_low is None else y_low + self.bias[self.high_out :, None, None]
        return y_high, y_low

    def _convolve(self, x: Tensor, weight: Tensor | None, stride: int) -> Tensor | None:
        return None if weight is None else functional.conv2d(x, weight, stride=stride, padding=self.padding)


def _parameter(weight: Tensor) -> nn.Parameter | None:
    return nn.Parameter(weight.clone()) if weight.numel() else None


class OctaveNorm(nn.Module):
    """Batch normalisation of each octave's channels (sec. 3.3: a plain network's layers, on each octave apart)."""

    def __init__(self, channels: int, alpha: float) -> None:
        super().__init__()
        low = low_channels(channels, alpha)
        self.high = BatchNorm(channels - low) if channels > low else None
        self.low = BatchNorm(low) if low else None

    def forward(self, x: Octaves) -> Octaves:
        high, low = x
        return (
            None if high is None or self.high is None else self.high(high),
            None if low is None or self.low is None else self.low(low),
        )


class OctaveReLU(nn.Module):
    """relu on each octave."""

    def forward(self, x: Octaves) -> Octaves:
        high, low = x
        return (None if high is None else functional.relu(high), None if low is None else functional.relu(low))


@dataclass(frozen=True)
class Kind:
    """What the octave convolutions of a network have in common."""

    exchange: Exchange = "both"
    downsample: Downsample = "pool"


class OctaveBlock(nn.Module):
    """relu(shortcut(x) + f(x)), f being convolutions of (kernel size, channels) each, all normalised.

    The first 3x3 has the stride. The first convolution leads from alpha_in to alpha_out. The shortcut is a 1x1
    convolution where channels, stride or alpha change.
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[tuple[int, int]],
        stride: int,
        alpha_in: float,
        alpha_out: float,
        kind: Kind,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels, alpha, left = in_channels, alpha_in, stride
        for size, out in layers:
            here, left = (left, 1) if size == 3 else (1, left)
            parts.append(_convolution(channels, out, size, here, alpha, alpha_out, kind))
            parts += [OctaveNorm(out, alpha_out), OctaveReLU()]
            channels, alpha = out, alpha_out
        self.body = nn.Sequential(*parts[:-1])
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != in_channels or alpha_in != alpha_out:
            straight = _convolution(in_channels, channels, 1, stride, alpha_in, alpha_out, kind)
            self.shortcut = nn.Sequential(straight, OctaveNorm(channels, alpha_out))
        self.last = OctaveReLU()

    def forward(self, x: Octaves) -> Octaves:
        (high, low), (straight_high, straight_low) = self.body(x), self.shortcut(x)
        return self.last((add(high, straight_high), add(low, straight_low)))


def _convolution(
    channels: int, out: int, size: int, stride: int, before: float, after: float, kind: Kind
) -> OctaveConv:
    """One that keeps the sides, but for its stride."""
    return OctaveConv(
        channels, out, size, stride, size // 2, before, after, exchange=kind.exchange, downsample=kind.downsample
    )


class OctaveResNet(nn.Module):
    """Pictures [n, c, h, w] to logits [n, classes]: plain layers, octave blocks, and a head on the high frequencies,
    which are all that the last block gives."""

    def __init__(self, stem: Sequence[nn.Module], blocks: Sequence[nn.Module], features: int, classes: int) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Sequential(*stem), nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))

    def forward(self, x: Tensor) -> Tensor:
        high, _ = self.blocks((self.stem(x), None))
        return self.head(high)


def octave_resnet(
    channels: int, classes: int, width: int, depths: Sequence[int], alpha: float, kind: Kind = Kind()
) -> OctaveResNet:
    """A residual network for small pictures: a 3x3 convolution into octaves, then stages of basic blocks.

    Stage s has depths[s] blocks of width * 2^s channels and, from the second on, halves the picture. A share alpha of
    the channels is of low frequency, but for the last stage, which has none (sec. 3.3; the authors' code ends so a
    stage before the end). At alpha 0 and `downsample="stride"` it is the plain residual network of He et al. 2016.
    """
    blocks: list[nn.Module] = [
        _convolution(channels, width, 3, 1, 0.0, alpha, kind), OctaveNorm(width, alpha), OctaveReLU(),
    ]  # fmt: skip
    before, low = width, alpha
    for stage, depth in enumerate(depths):
        out, after = width * 2**stage, 0.0 if stage == len(depths) - 1 else alpha
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            blocks.append(OctaveBlock(before, ((3, out), (3, out)), stride, low, after, kind))
            before, low = out, after
    return OctaveResNet((), blocks, before, classes)


def octave_resnet50(
    channels: int, classes: int, alpha: float, kind: Kind = Kind(), width: int = STAGES[0][0]
) -> OctaveResNet:
    """Oct-ResNet-50: the blocks of `nn/bottleneck`'s ResNet-50 as octaves, those of the last stage but plain (sec.
    4.2 and the authors' code); 25,557,032 parameters for 3 channels and 1,000 classes, as many as ResNet-50 has."""
    stem = [nn.Conv2d(channels, width, 7, 2, 3, bias=False), BatchNorm(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks: list[nn.Module] = []
    before, low = width, 0.0
    for stage, (_, depth) in enumerate(STAGES):
        inner, after = width * 2**stage, 0.0 if stage == len(STAGES) - 1 else alpha
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            layers = ((1, inner), (3, inner), (1, 4 * inner))
            blocks.append(OctaveBlock(before, layers, stride, low, after, kind))
            before, low = 4 * inner, after
    return OctaveResNet(stem, blocks, before, classes)
