"""Random crops of whole batches of pictures [n, c, h, w], brought back to their size; and patches that share no pixel.

As in `augment`, every function takes the pictures, then a numpy Generator: the draws are made on the CPU.
"""

import numpy as np
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.data.resize import in_format_of


def resized_crop(
    x: torch.Tensor,
    rng: np.random.Generator,
    area: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """The pictures, float [n, c, h, w], each replaced by a crop of its own, enlarged bilinearly to the same size.

    A crop has a share of the picture drawn from `area`, and a width over height, relative to the picture's, whose
    logarithm is uniform within `ratio`; its place is uniform. A side that does not fit is cut to the picture's. Szegedy
    et al. 2015, arXiv:1409.4842, sec. 6; areas from 0.2 on as in Wu et al. 2018, arXiv:1805.01978. Raises Problem on
    other ranges.
    """
    if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise Problem(f"a crop needs 0 < low <= high, and areas up to 1, not {area} and {ratio}")
    n = len(x)
    share, shape = rng.uniform(*area, n), np.exp(rng.uniform(*np.log(ratio), n))
    across, down = np.minimum((share * shape) ** 0.5, 1), np.minimum((share / shape) ** 0.5, 1)
    maps = np.zeros((n, 2, 3))  # of places in the crop to places in the picture, in grid_sample's units (-1 .. 1)
    maps[:, 0, 0], maps[:, 1, 1] = across, down
    maps[:, 0, 2], maps[:, 1, 2] = (2 * rng.random((2, n)) - 1) * (1 - np.stack([across, down]))
    with torch.autocast(x.device.type, enabled=False):  # bf16 would blur where a pixel comes from
        places = torch.from_numpy(maps).to(x.device, x.dtype)
        grid = functional.affine_grid(places, list(x.shape), align_corners=False)
        y = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return in_format_of(y, x)


def patches(x: torch.Tensor, rng: np.random.Generator, grid: int, size: int, gap: int = 0) -> torch.Tensor:
    """A patch [c, size, size] of each cell of a grid x grid over pictures [n, c, s, s]: [n, grid^2, c, size, size].

    Cells go row by row. Each patch lies anywhere in its cell, but so that at least `gap` pixels are between it and its
    neighbours: no pixel is in two patches, and with a gap no edge goes from one into the other (Noroozi and Favaro
    2016, arXiv:1603.09246, sec. 3.3). Raises Problem where patch and gap do not fit into a cell.
    """
    n, side = len(x), x.shape[-1]
    cell = side // grid
    room = cell - size - gap
    if grid < 1 or size < 1 or gap < 0 or room < 0 or x.shape[-2] != side:
        raise Problem(
            f"patches of {size} pixels and gaps of {gap} do not fit into a grid of {grid} x {grid} over pictures of "
            f"{x.shape[-2]} x {side}; take smaller ones"
        )
    begin = (side - grid * cell) // 2 + cell * np.arange(grid)
    corners = np.stack(np.meshgrid(begin, begin, indexing="ij"), -1).reshape(-1, 2)
    drawn = corners + rng.integers(room + 1, size=(n, grid * grid, 2))
    top, left = torch.from_numpy(drawn).to(x.device).unbind(-1)
    crops = x.unfold(2, size, 1).unfold(3, size, 1)  # a view of all patches; one copy takes those that are asked for
    return crops[torch.arange(n, device=x.device)[:, None], :, top, left]
