"""Random changes of whole batches of pictures [n, c, h, w], drawn for each picture apart.

Every function takes the pictures, then a numpy Generator: the draws are made on the CPU, so that a GPU sees the same.
`elastic` deforms masks along with them, and gives a list.
Pictures are float in [0, 1]; flip, shift and cutout only move values and take uint8 too. Shape, type and memory format
are kept. All are pure: the pictures given are left alone.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from etudes.core.errors import Problem
from etudes.data.resize import in_format_of


def flip(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The pictures, each mirrored left to right with probability 1/2."""
    mirrored = _to(rng.random(len(x)) < 0.5, x)
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def shift(
    x: torch.Tensor, rng: np.random.Generator, pixels: int, mode: Literal["reflect", "zeros"] = "reflect"
) -> torch.Tensor:
    """The pictures, each moved by whole pixels, -pixels .. pixels down and across: a random crop of the padded picture.

    The border is filled by reflection (without repeating the edge) or with zeros. He et al. 2016, arXiv:1512.03385,
    sec. 4.2, use zeros.
    """
    n, _, h, w = x.shape
    if mode not in ("reflect", "zeros"):
        raise Problem(f"shift fills by 'reflect' or 'zeros', not by '{mode}'")
    if not 0 <= pixels < (min(h, w) if mode == "reflect" else math.inf):
        raise Problem(f"shift by {pixels} pixels does not fit pictures of {h} x {w}; take 0 to {min(h, w) - 1}")
    top, left = _to(rng.integers(0, 2 * pixels + 1, size=(2, n)), x)
    zeros = mode == "zeros"
    padded = F.pad(x, (pixels,) * 4) if zeros else _reflected(_reflected(x, pixels, 3), pixels, 2)
    # All crops as a view [n, c, 2 * pixels + 1, 2 * pixels + 1, h, w]; one copy takes a crop of each picture.
    crops = padded.unfold(2, h, 1).unfold(3, w, 1)
    return in_format_of(crops[torch.arange(n, device=x.device), :, top, left], x)


def _reflected(x: torch.Tensor, pixels: int, axis: int) -> torch.Tensor:
    # F.pad does not reflect uint8, and takes twice as long on pictures with their channels last.
    before = x.narrow(axis, 1, pixels).flip(axis)
    after = x.narrow(axis, x.shape[axis] - 1 - pixels, pixels).flip(axis)
    return torch.cat([before, x, after], axis)


def cutout(x: torch.Tensor, rng: np.random.Generator, size: int) -> torch.Tensor:
    """The pictures, each with a square of `size` pixels set to zero.

    The square's centre is any pixel, so it may leave the picture (DeVries and Taylor 2017, arXiv:1708.04552, sec. 3.2).
    Apply it to normalised pictures, as they do, for zero to be the mean.
    """
    n, _, h, w = x.shape
    if size < 0:
        raise Problem(f"cutout needs a size of at least 0 pixels, not {size}")
    inside = []
    for length in (h, w):
        start = _to(rng.integers(0, length, size=n), x)[:, None] - size // 2
        place = torch.arange(length, device=x.device)
        inside.append((place >= start) & (place < start + size))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(hole, torch.zeros((), dtype=x.dtype, device=x.device), x)


def rotate(x: torch.Tensor, rng: np.random.Generator, degrees: float) -> torch.Tensor:
    """The pictures, each turned about its centre by -degrees .. degrees (positive: counter-clockwise)."""
    return affine(x, rng, degrees=degrees)


def scale(x: torch.Tensor, rng: np.random.Generator, low: float, high: float) -> torch.Tensor:
    """The pictures, each enlarged about its centre by a factor low .. high."""
    return affine(x, rng, scale=(low, high))


def affine(
    x: torch.Tensor,
    rng: np.random.Generator,
    degrees: float = 0,
    shift: float = 0,
    scale: tuple[float, float] = (1, 1),
    shear: float = 0,
) -> torch.Tensor:
    """The pictures, each scaled, sheared along its rows, turned about its centre, then moved; all uniform draws.

    `degrees` and `shear` (degrees too) and `shift` (pixels, fractions too) draw from -value .. value; `scale` from
    low .. high. Bilinear, zeros outside.
    """
    if not 0 < scale[0] <= scale[1]:
        raise Problem(f"affine needs 0 < low <= high for scale, not {scale}")
    n, _, h, w = x.shape
    draw = rng.random((5, n))
    angle, skew, down, across = (2 * draw[:4] - 1) * np.array([[degrees], [shear], [shift], [shift]])
    factor = scale[0] + (scale[1] - scale[0]) * draw[4]
    return _resample(x, _inverse(np.radians(angle), np.radians(skew), factor, down, across, h, w))


def _inverse(
    angle: np.ndarray, skew: np.ndarray, factor: np.ndarray, down: np.ndarray, across: np.ndarray, h: int, w: int
) -> np.ndarray:
    """The maps [n, 2, 3] from places in the new picture to places in the old, in grid_sample's units (-1 .. 1)."""
    cos, sin = np.cos(angle), np.sin(angle)
    # In pixels, x to the right and y down: new = turn @ shear @ scale @ old + move, turn counter-clockwise to the eye.
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    shear = np.zeros_like(turn)
    shear[:, 0, 0] = shear[:, 1, 1] = 1
    shear[:, 0, 1] = np.tan(skew)
    back = np.linalg.inv(factor[:, None, None] * (turn @ shear))
    move = -back @ np.stack([across, down], -1)[..., None]
    half = np.array([w / 2, h / 2])
    return np.concatenate([back * half[None, None, :] / half[None, :, None], move / half[None, :, None]], -1)


def _resample(x: torch.Tensor, maps: np.ndarray) -> torch.Tensor:
    with torch.autocast(x.device.type, enabled=False):  # bf16 would blur where a pixel comes from
        grid = F.affine_grid(_to(maps, x).to(x.dtype), list(x.shape), align_corners=False)
        return in_format_of(F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False), x)


def elastic(
    x: torch.Tensor,
    rng: np.random.Generator,
    pixels: float,
    masks: Sequence[torch.Tensor] = (),
    grid: int = 3,
    degrees: float = 0,
    scale: tuple[float, float] = (1, 1),
) -> list[torch.Tensor]:
    """The pictures, each deformed smoothly, and the masks [n, h, w] that belong to them, deformed by the same field.

    Displacements are drawn from a Gaussian of standard deviation `pixels`, down and across, on a coarse `grid` x `grid`
    over the whole picture, and interpolated bicubically (Ronneberger et al. 2015, arXiv:1505.04597, sec. 3.1: 10 pixels
    on 3 x 3). In the same resampling each picture is turned by -degrees .. degrees and enlarged by low .. high.
    Pictures are read bilinearly; masks, of any type, at the nearest pixel, so that no value comes up that was not
    there. What lies outside is the mirror image.
    """
    if pixels < 0 or grid < 2 or not 0 < scale[0] <= scale[1]:
        raise Problem(
            f"elastic needs pixels of at least 0, a grid of 2 or more and 0 < low <= high, not {pixels}, {grid}"
        )
    n, _, h, w = x.shape
    coarse = rng.normal(0, 1, (n, 2, grid, grid)) * pixels
    turn, factor = np.radians(degrees) * (2 * rng.random(n) - 1), rng.uniform(*scale, n)
    still = np.zeros(n)
    with torch.autocast(x.device.type, enabled=False):  # bf16 would blur where a pixel comes from
        moved = F.interpolate(_to(coarse, x).float(), (h, w), mode="bicubic", align_corners=True)
        place = F.affine_grid(_to(_inverse(turn, still, factor, still, still, h, w), x).float(), [n, 1, h, w], False)
        # Channel 0 is down, 1 across; grid_sample's x comes first, in units of half a picture.
        place = place + torch.stack([moved[:, 1] * (2 / w), moved[:, 0] * (2 / h)], -1)
        found = [in_format_of(F.grid_sample(x, place.to(x.dtype), "bilinear", "reflection", align_corners=False), x)]
        for mask in masks:
            wide = mask[:, None].double() if mask.dtype not in (torch.uint8, torch.float32) else mask[:, None].float()
            there = F.grid_sample(wide, place.to(wide.dtype), "nearest", "reflection", align_corners=False)
            found.append(there[:, 0].to(mask.dtype))
    return found


def photometric(
    x: torch.Tensor, rng: np.random.Generator, brightness: float = 0, contrast: float = 0, saturation: float = 0
) -> torch.Tensor:
    """The pictures [n, 1 or 3, h, w], each with its light, contrast and colour scaled, in this order, within [0, 1].

    Each factor is drawn from 1 - value .. 1 + value. Contrast is about the picture's mean grey, saturation about each
    pixel's grey (0.299 R + 0.587 G + 0.114 B).
    """
    strength = np.array([[brightness], [contrast], [saturation]])
    if strength.min() < 0 or strength.max() > 1:
        raise Problem(f"photometric needs strengths from 0 to 1, not {strength.ravel().tolist()}")
    factors = 1 + (2 * rng.random((3, len(x))) - 1) * strength
    light, range_, colour = _to(factors, x).to(x.dtype)[..., None, None, None]
    x = (x * light).clamp(0, 1)
    x = torch.lerp(_grey(x).mean((2, 3), keepdim=True), x, range_).clamp(0, 1)
    return torch.lerp(_grey(x), x, colour).clamp(0, 1) if x.shape[1] == 3 else x


def _grey(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=x.dtype, device=x.device)
    with torch.autocast(x.device.type, enabled=False):  # bf16 would blur the light
        return torch.einsum("nchw,c->nhw", x, weights)[:, None]


def _to(draws: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(draws)).to(x.device)
