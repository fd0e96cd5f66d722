"""The plane as a picture: a function's values as shades with level lines, and points over them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.core.files import appearing

COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115))  # of the sets of points
LEVELS = 12  # level lines between the lowest and the highest value
SCALE = 3  # pixels of a value


def plane(values: Tensor, points: Sequence[Tensor], reach: float) -> np.ndarray:
    """uint8 [height, width, 3]: values [h, w] from white to grey, from the top left corner (-reach, reach) down to the
    right, with level lines; over them sets of points [n, 2], each in a colour of its own.

    Raises Problem on other shapes, on more sets than colours, and on values that are not finite.
    """
    if values.ndim != 2 or len(points) > len(COLOURS) or any(p.ndim != 2 or p.shape[1] != 2 for p in points):
        raise Problem(f"a plane needs values [h, w] and at most {len(COLOURS)} sets of points [n, 2]")
    field = values.detach().cpu().double()
    if not torch.isfinite(field).all():
        raise Problem("a plane needs finite values; the function has diverged")
    low, high = field.min(), field.max()
    unit = ((field - low) / (high - low).clamp_min(1e-12)).numpy().repeat(SCALE, 0).repeat(SCALE, 1)
    picture = (255 - 110 * unit)[..., None].repeat(3, 2)
    band = np.floor(unit * LEVELS)
    edges = np.zeros(band.shape, bool)
    edges[:-1] |= band[:-1] != band[1:]
    edges[:, :-1] |= band[:, :-1] != band[:, 1:]
    picture[edges] -= 45
    h, w = unit.shape
    for colour, chosen in zip(COLOURS, points, strict=False):
        x, y = chosen.detach().cpu().double().numpy().T
        across, down = (x + reach) / (2 * reach) * w, (reach - y) / (2 * reach) * h
        for right in (-1, 0, 1):
            for below in (-1, 0, 1):
                columns, rows = np.floor(across).astype(int) + right, np.floor(down).astype(int) + below
                inside = (columns >= 0) & (columns < w) & (rows >= 0) & (rows < h)
                picture[rows[inside], columns[inside]] = colour
    return picture.clip(0, 255).astype(np.uint8)


def save_plane(path: Path, values: Tensor, points: Sequence[Tensor], reach: float) -> None:
    """Write the plane as a PNG; the same bytes for the same values and points."""
    from PIL import Image

    with appearing(path) as draft:
        Image.fromarray(plane(values, points, reach)).save(draft, "png", optimize=True)
