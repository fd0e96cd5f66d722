"""Pictures made smaller, whole sets at a time."""

import math

import torch
from torch.nn import functional as F

from etudes.core.errors import Problem


def resize(x: torch.Tensor, side: int) -> torch.Tensor:
    """The pictures uint8 [n, c, side, side]: their shortest side resized to `side`, then cropped at the centre.

    x: uint8 [n, c, h, w] on the CPU; the memory format is kept. Bilinear and antialiased in whole numbers, as in
    Pillow, so within 1 of what `images.resize_picture` gives. Raises Problem on other tensors.
    """
    if x.ndim != 4 or x.dtype != torch.uint8 or side < 1:
        raise Problem(f"resize takes pictures uint8 [n, c, h, w] and a side of at least 1, not {x.dtype} {[*x.shape]}")
    scale = side / min(x.shape[2:])
    h, w = (max(side, math.floor(length * scale + 0.5)) for length in x.shape[2:])
    if (h, w) != tuple(x.shape[2:]):
        x = F.interpolate(x, size=(h, w), mode="bilinear", antialias=True)
    top, left = (h - side) // 2, (w - side) // 2
    return in_format_of(x[:, :, top : top + side, left : left + side], x)


def in_format_of(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """y in the memory format of x, both [n, c, h, w]."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
