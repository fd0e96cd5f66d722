"""What is given to an editor of pictures: rough paintings, and holes to redraw."""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem


def strokes(x: Tensor, brush: int, tones: int) -> Tensor:
    """The pictures x [n, c, h, w] in [-1, 1] as if painted with a broad brush and few colours, of the same shape.

    Each value becomes the median of the `brush` by `brush` square around it (reflected at the border), then the nearest
    of `tones` equally spaced values from -1 to 1, in each channel. Meng et al. 2021, arXiv:2108.01073, imitate
    strokes by a median filter and a palette of few colours too; theirs is chosen for each picture. Raises Problem
    where the brush is even or wider than the picture allows, or with fewer than two tones.
    """
    most = 2 * min(x.shape[2:]) - 1
    if brush < 1 or brush % 2 == 0 or brush > most or tones < 2:
        raise Problem(f"strokes need an odd brush of 1 to {most} pixels and two tones or more, not {brush} and {tones}")
    padded = functional.pad(x, [brush // 2] * 4, mode="reflect")
    squares = padded.unfold(2, brush, 1).unfold(3, brush, 1).flatten(4)
    steps = (tones - 1) / 2
    return ((squares.median(-1).values + 1) * steps).round() / steps - 1


def hole(h: int, w: int) -> Tensor:
    """A mask [1, 1, h, w] that is 1 where to redraw, in the middle half of the rows and columns, and 0 elsewhere."""
    mask = torch.zeros(1, 1, h, w)
    mask[..., h // 4 : h - h // 4, w // 4 : w - w // 4] = 1
    return mask
