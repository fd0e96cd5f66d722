"""Cells that touch, drawn by a written-down process: pictures with the class and the cell of every pixel.

They stand for no tissue. The two kinds differ in size and in grain, not in their mean grey, so that no threshold tells
them apart: healthy cells are small and even, those of a tumour larger and speckled.
"""

import numpy as np
from scipy import ndimage

KINDS = ("background", "healthy", "tumour")
SIDE = 64
COUNTS = {"train": 160, "test": 40}


def drawn_cells(seed: int = 0, dark: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]]:
    """{split: (pictures uint8 [n, 64, 64, 1], classes uint8 [n, 64, 64], cells int32 [n, 64, 64], groups)}.

    A group is one picture, as each is drawn apart. `dark` cells lie on a light ground.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for split, n in COUNTS.items():
        x, y, cells = (np.stack(some) for some in zip(*(draw(rng) for _ in range(n)), strict=True))
        found[split] = ((255 - x if dark else x)[..., None], y, cells, [f"{split} {i}" for i in range(n)])
    return found


def draw(rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture uint8 [side, side], its classes uint8 and its cells int32: 3 to 12 ellipses, over half of which lie
    against an earlier one. Where two overlap the earlier keeps its pixels."""
    rows, columns = np.mgrid[:side, :side]
    cells = np.zeros((side, side), np.int32)
    light = np.full((side, side), 0.25)
    kinds = [0]
    placed: list[tuple[float, float, float]] = []
    for number in range(1, rng.integers(3, 13) + 1):
        kind = int(rng.integers(1, 3))
        radius = rng.uniform(4.5, 6.5) if kind == 1 else rng.uniform(6.5, 9.5)
        stretch, angle, grey = rng.uniform(1, 1.4), rng.uniform(0, np.pi), rng.uniform(0.45, 0.75)
        if placed and rng.random() < 0.6:
            r, c, other = placed[rng.integers(len(placed))]
            way = rng.uniform(0, 2 * np.pi)
            row, column = r + (radius + other) * np.sin(way), c + (radius + other) * np.cos(way)
        else:
            row, column = rng.uniform(0, side, 2)
        along = (rows - row) * np.sin(angle) + (columns - column) * np.cos(angle)
        across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
        inside = ((along / stretch) ** 2 + (across * stretch) ** 2 < radius**2) & (cells == 0)
        grain = rng.normal(0, 0.12 if kind == 2 else 0.02, (side, side))
        cells[inside] = number
        light[inside] = grey + grain[inside]
        kinds.append(kind)
        placed.append((row, column, radius))
    light = ndimage.gaussian_filter(light, 0.8) + rng.normal(0, 0.03, (side, side))
    return (light.clip(0, 1) * 255).round().astype(np.uint8), np.array(kinds, np.uint8)[cells], cells
