"""The U-Net of segmentation, and prediction by tiles that overlap.

Paper: U-Net: Convolutional Networks for Biomedical Image Segmentation, Ronneberger, Fischer, Brox 2015,
arXiv:1505.04597, fig. 1. Departures by flag alone: padded convolutions, normalisation, leaky ReLU, no skips.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.data.images import unit
from etudes.measure.error import evaluation_mode
from etudes.nn.norm import Norm, norm

Padding = Literal["valid", "same"]


def double_convolution(channels: int, out: int, pad: int, kind: Norm, slope: float) -> nn.Sequential:
    """Twice: 3x3 convolution, normalisation if any, ReLU (of a slope below 0). Unpadded, a side loses 4 pixels."""
    layers: list[nn.Module] = []
    for inputs in (channels, out):
        convolution = nn.Conv2d(inputs, out, 3, padding=pad)
        nn.init.kaiming_normal_(convolution.weight, a=slope)  # sqrt(2 / N), sec. 3
        nn.init.zeros_(convolution.bias)
        layers += [convolution, *norm(kind, out), nn.LeakyReLU(slope) if slope else nn.ReLU()]
    return nn.Sequential(*layers)


class SegmentationUNet(nn.Module):
    """A network: pictures [n, channels, h, w] -> logits [n, classes, h - margin, w - margin].

    Level l of `depth` + 1 has width * 2^l channels; between levels a 2x2 max pool, back up a 2x2 transposed convolution
    that halves the channels, then the level's own features from the way down, cropped at the centre, beside it. Without
    `skips` those are left out, and the convolution that would read them reads half as many channels. Dropout is "at the
    end of the contracting path" (sec. 3.1): on the lowest level's output. The paper's is width 64, depth 4, padding
    "valid", 31,030,658 parameters for one channel and two classes, and takes 572 pixels to 388. `first` is what
    pictures go through before all else, such as `Standardise`.

    Raises Problem on pictures whose sides do not fit, see `fits`.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int = 64,
        depth: int = 4,
        padding: Padding = "valid",
        skips: bool = True,
        kind: Norm = "none",
        slope: float = 0.0,
        dropout: float = 0.0,
        first: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = first or nn.Identity()
        self.depth, self.skips, self.padding = depth, skips, padding
        pad = int(padding == "same")
        widths = [width * 2**level for level in range(depth + 1)]
        below = zip([channels, *widths[:-1]], widths, strict=True)
        self.down = nn.ModuleList(double_convolution(a, b, pad, kind, slope) for a, b in below)
        self.drop = nn.Dropout(dropout)
        upwards = list(reversed(widths[:-1]))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(2 * out, out, 2, stride=2) for out in upwards)
        inputs = 2 if skips else 1
        self.up = nn.ModuleList(double_convolution(inputs * out, out, pad, kind, slope) for out in upwards)
        self.head = nn.Conv2d(width, classes, 1)

    @property
    def margin(self) -> int:
        """How many pixels less the output is high and wide than the input: 12 * 2^depth - 8, or 0 if padded."""
        return 12 * 2**self.depth - 8 if self.padding == "valid" else 0

    def fits(self, side: int) -> int:
        """The smallest side of an output, in pixels, that is at least `side` and that the network can have."""
        step = 2**self.depth
        # Each pool halves an even side if and only if the output is 4 more than a multiple of 2^depth (0 if padded).
        more = 4 % step if self.padding == "valid" else 0
        return max(0, -(-(side - more) // step)) * step + more or step

    def forward(self, x: Tensor) -> Tensor:
        for side in x.shape[-2:]:
            if side <= self.margin or self.fits(side - self.margin) != side - self.margin:
                near = self.fits(max(1, side - self.margin)) + self.margin
                raise Problem(f"this U-Net does not take pictures of {side} pixels; the next side that fits is {near}")
        x, kept = self.first(x), []
        for level, layers in enumerate(self.down):
            x = layers(x)
            if level < self.depth:
                kept.append(x)
                x = functional.max_pool2d(x, 2)
        x = self.drop(x)
        for rise, layers in zip(self.rise, self.up, strict=True):
            x, side = rise(x), kept.pop()
            x = layers(torch.cat([centre(side, *x.shape[-2:]), x], dim=1) if self.skips else x)
        return self.head(x)


def centre(x: Tensor, h: int, w: int) -> Tensor:
    """The middle [.., h, w] of x [.., height, width]."""
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]


def mirror(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """The pictures [n, c, h, w] continued on each side by mirror images, as often as it takes (sec. 2, fig. 2)."""
    rows, columns = (
        _reflected(torch.arange(-before, length + after, device=x.device), length)
        for before, length, after in ((top, x.shape[-2], bottom), (left, x.shape[-1], right))
    )
    return x[:, :, rows[:, None], columns[None, :]]


def _reflected(place: Tensor, length: int) -> Tensor:
    period = max(1, 2 * (length - 1))
    place = place.remainder(period)
    return torch.where(place < length, place, period - place)


def predict(model: SegmentationUNet, x: Tensor, tile: int = 0, batch: int = 8) -> Tensor:
    """The most probable class uint8 [n, h, w] of each pixel of x [n, c, h, w], uint8 or in [0, 1].

    tile: the side in pixels of the output that is computed at once, 0 for the whole picture. Tiles lie 2^depth * k
    pixels apart, so that pools meet the same pixels in each: with "valid" convolutions and a normalisation that looks
    at one place alone (none, or batch) they give what the whole picture would, and nothing is seen of a seam (sec. 2).
    The border is continued by mirroring. With padded convolutions tiles would see their own borders; they are refused.
    """
    if tile and model.padding != "valid":
        raise Problem("tiles are seamless with valid convolutions alone; predict the whole picture instead")
    h, w = x.shape[-2:]
    step = 2**model.depth
    high, wide = (model.fits(max(step, min(tile, side)) if tile else side) for side in (h, w))
    before = model.margin // 2
    strides = [side // step * step if tile else side for side in (high, wide)]
    rows, columns = (range(0, length, stride) for length, stride in zip((h, w), strides, strict=True))
    found = torch.zeros(len(x), h, w, dtype=torch.uint8, device=x.device)
    far = [at[-1] + side + model.margin - before - length for at, side, length in ((rows, high, h), (columns, wide, w))]
    with evaluation_mode(model):
        for start in range(0, len(x), batch):
            padded = mirror(unit(x[start : start + batch]), before, max(0, far[0]), before, max(0, far[1]))
            for top in rows:
                for left in columns:
                    part = padded[:, :, top : top + high + model.margin, left : left + wide + model.margin]
                    classes = model(part).argmax(1).to(torch.uint8)
                    bottom, right = min(h, top + high), min(w, left + wide)
                    found[start : start + batch, top:bottom, left:right] = classes[:, : bottom - top, : right - left]
    return found
