"""Scenes: one small object of a class on clutter made of pieces of other pictures. The place of the object is known."""

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from etudes.core.errors import Problem

PATCH = 16  # pixels of the squares that the background is laid with
FRAGMENT = 8  # pixels of the pieces of other objects


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures uint8 [n, c, h, w] with their classes [n], and where it is known which pixels are the object's."""

    x: Tensor
    y: Tensor
    masks: Tensor | None = None  # bool [n, h, w]

    def to(self, device: torch.device) -> "Scenes":
        return Scenes(self.x.to(device), self.y.to(device), None if self.masks is None else self.masks.to(device))


def as_channels(x: Tensor, channels: int) -> Tensor:
    """Pictures uint8 [n, 1 or 3, h, w] with 1 or 3 channels: grey is the mean of the colours."""
    if x.shape[1] == channels:
        return x
    return x.float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, channels, -1, -1)


def windows(pictures: Tensor, which: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Squares uint8 [n, c, size, size] of the pictures [m, c, h, w] numbered by `which`, from these corners [n] on."""
    rows, columns = top[:, None] + torch.arange(size), left[:, None] + torch.arange(size)
    return pictures[which[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def crops(pictures: Tensor, n: int, size: int, rng: numpy.random.Generator) -> Tensor:
    """Squares uint8 [n, c, size, size] cut from pictures [m, c, h, w] at random, each from a random one."""
    m, _, h, w = pictures.shape
    if size > min(h, w):
        raise Problem(f"a piece of {size} pixels cannot be cut from pictures of {h}x{w}; take smaller pieces")
    which = torch.from_numpy(rng.integers(m, size=n))
    top, left = (torch.from_numpy(rng.integers(reach - size + 1, size=n)) for reach in (h, w))
    return windows(pictures, which, top, left, size)


def paste(canvas: Tensor, pieces: Tensor, top: Tensor, left: Tensor, opaque: Tensor) -> None:
    """Put a piece [n, c, size, size] into each picture of the canvas [n, c, h, w], where `opaque` [n, size, size]."""
    size = pieces.shape[-1]
    which = torch.arange(len(canvas))[:, None, None]
    rows, columns = (top[:, None] + torch.arange(size))[:, :, None], (left[:, None] + torch.arange(size))[:, None, :]
    below = canvas[which, :, rows, columns]
    canvas[which, :, rows, columns] = torch.where(opaque[..., None], pieces.permute(0, 2, 3, 1), below)


def background(pictures: Tensor, n: int, side: int, rng: numpy.random.Generator) -> Tensor:
    """Clutter uint8 [n, c, side, side]: squares cut from pictures [m, c, h, w], side by side, shifted by chance."""
    patch = min(PATCH, *pictures.shape[2:])
    across = -(-side // patch) + 1
    laid = crops(pictures, n * across**2, patch, rng).reshape(n, across, across, -1, patch, patch)
    laid = laid.permute(0, 3, 1, 4, 2, 5).reshape(n, -1, across * patch, across * patch)
    top, left = torch.from_numpy(rng.integers(patch, size=(2, n)))
    return windows(laid, torch.arange(n), top, left, side).contiguous()


def compose(
    objects: Tensor, y: Tensor, clutter: Tensor, side: int, fragments: int, rng: numpy.random.Generator
) -> Scenes:
    """One scene of `side` pixels for each of the objects uint8 [n, c, s, s] of classes y: [n].

    Pixels of an object that are 0 are transparent. Below it lies clutter cut from pictures [m, c, h, w], and on that
    `fragments` pieces of other objects, so that a part of an object tells nothing. Raises Problem where the object does
    not fit.
    """
    n, channels, size, _ = objects.shape
    if size > side:
        raise Problem(f"an object of {size} pixels does not fit in a scene of {side}; take a smaller object")
    canvas = background(as_channels(clutter, channels), n, side, rng)
    piece = min(FRAGMENT, size)

    def places(reach: int) -> tuple[Tensor, Tensor]:
        top, left = (torch.from_numpy(rng.integers(side - reach + 1, size=n)) for _ in range(2))
        return top, left

    for _ in range(fragments):
        part = crops(objects, n, piece, rng)
        paste(canvas, part, *places(piece), part.amax(1) > 0)
    top, left = places(size)
    opaque = objects.amax(1) > 0
    paste(canvas, objects, top, left, opaque)
    masks = torch.zeros(n, 1, side, side, dtype=torch.bool)
    paste(masks, opaque[:, None], top, left, opaque)
    return Scenes(canvas, y, masks[:, 0])


def box_masks(masks: Tensor) -> Tensor:
    """Which pixels bool [n, h, w] lie in the smallest box around those of masks bool [n, h, w]."""

    def span(line: Tensor) -> Tensor:
        line = line.long()
        return (line.cummax(1).values & line.flip(1).cummax(1).values.flip(1)).bool()

    return span(masks.any(2))[:, :, None] & span(masks.any(1))[:, None, :]
