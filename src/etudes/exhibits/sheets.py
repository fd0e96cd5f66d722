"""Contact sheets: many pictures as one, for a report to show."""

from pathlib import Path

import numpy as np
import torch

from etudes.core.errors import Problem
from etudes.core.files import appearing

GAP = 2  # white pixels between two pictures


def sheet(x: torch.Tensor, columns: int) -> np.ndarray:
    """The pictures x, row by row with `columns` a row, as one uint8 array [height, width] (grey) or [height, width, 3].

    x: [n, 1 or 3, h, w], uint8 or float in [0, 1]. Between pictures, and where the last row is not full, it is white.
    Raises Problem on other shapes, and on floats outside [0, 1].
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x) or columns < 1:
        raise Problem(f"a sheet needs pictures [n, 1 or 3, h, w] and a column or more, not {[*x.shape]} and {columns}")
    x = x.detach().cpu()
    if x.is_floating_point():
        if not ((x >= 0) & (x <= 1)).all():
            raise Problem(f"a sheet needs pictures in [0, 1], not {x.min():.3g} to {x.max():.3g}; clamp them first")
        x = (x.float() * 255).round()
    n, c, h, w = x.shape
    rows, columns = -(-n // columns), min(columns, n)
    cells = np.full((rows * columns, h + GAP, w + GAP, c), 255, np.uint8)
    cells[:n, :h, :w] = x.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    grid = cells.reshape(rows, columns, h + GAP, w + GAP, c).swapaxes(1, 2).reshape(rows * (h + GAP), -1, c)
    grid = grid[:-GAP, :-GAP]
    return grid[..., 0] if c == 1 else grid


def save_sheet(path: Path, x: torch.Tensor, columns: int, scale: int = 1) -> None:
    """Write the sheet as a PNG, each of its pixels `scale` wide and high; the same bytes for the same pictures."""
    from PIL import Image

    pixels = sheet(x, columns).repeat(scale, 0).repeat(scale, 1)
    with appearing(path) as draft:
        Image.fromarray(pixels).save(draft, "png", optimize=True)
