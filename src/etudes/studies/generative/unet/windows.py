"""What the network is shown: windows of the training pictures, flipped, deformed or strongly augmented."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.augment import elastic, flip, photometric
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.nn.segmentation import centre, mirror

Shown = tuple[Tensor, Tensor, Tensor]  # pictures [n, c, h, w] in [0, 1], classes uint8 and weights float [n, h, w]
Change = Callable[[Tensor, Tensor, Tensor, Run, int], Shown]
SPREAD = 0.25  # about the standard deviation of pictures in [0, 1], which nnU-Net's noise is counted in


@dataclass(frozen=True)
class Windows:
    """The training pictures, continued by mirroring as far as the network sees beyond its output."""

    x: Tensor
    y: Tensor
    weights: Tensor
    batches: Batches
    side: int  # of a window of the output, in pixels
    margin: int  # of the network

    @classmethod
    def of(cls, x: Tensor, y: Tensor, weights: Tensor, batches: Batches, side: int, margin: int) -> "Windows":
        """From pictures uint8 [n, c, h, w], classes uint8 and weights float [n, h, w]; `side` 0: whole pictures."""
        around = (margin // 2,) * 4
        wide = [mirror(part[:, None] if part.ndim == 3 else part, *around) for part in (x, y, weights)]
        return cls(wide[0], wide[1][:, 0], wide[2][:, 0], batches, side or min(x.shape[-2:]), margin)

    def at(self, run: Run, i: int, change: Change) -> Shown:
        """The batch of step i, windows drawn by chance, changed while they are as large as the network's input."""
        rows, side = self.batches.at(i).to(self.x.device), self.side + self.margin
        tops, lefts = (
            run.rng(way, i).integers(0, length - side + 1, len(rows))
            for way, length in zip(("top", "left"), self.x.shape[-2:], strict=True)
        )
        places = [
            (row, slice(top, top + side), slice(left, left + side))
            for row, top, left in zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)
        ]
        x = unit(torch.stack([self.x[row, :, down, across] for row, down, across in places]))
        y, weights = (torch.stack([part[place] for place in places]) for part in (self.y, self.weights))
        x, y, weights = change(x, y, weights, run, i)
        return x, *(centre(part, self.side, self.side) for part in (y, weights))


def plainly(flips: bool, pixels: float) -> Change:
    """Flips left to right and top to bottom, and elastic deformation of so many pixels (0: none)."""

    def change(x: Tensor, y: Tensor, weights: Tensor, run: Run, i: int) -> Shown:
        if flips:
            x, y, weights = flip_all(x, y, weights, run, i)
        if pixels:
            x, y, weights = elastic(x, run.rng("elastic", i), pixels, (y, weights))
        return x, y, weights

    return change


def flip_all(x: Tensor, y: Tensor, weights: Tensor, run: Run, i: int) -> Shown:
    """All three, each picture mirrored by chance left to right, and by chance top to bottom."""
    whole = torch.cat([x, y[:, None].to(x.dtype), weights[:, None].to(x.dtype)], 1)
    whole = flip(whole, run.rng("flip", i))
    whole = flip(whole.transpose(2, 3), run.rng("flip down", i)).transpose(2, 3)
    return whole[:, :-2].contiguous(memory_format=torch.channels_last), whole[:, -2].to(y.dtype), whole[:, -1]


def strongly(x: Tensor, y: Tensor, weights: Tensor, run: Run, i: int) -> Shown:
    """After nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, supplementary note 4): flips; by a chance of
    0.2 turned any way and enlarged by 0.7 to 1.4; by 0.15 each light and contrast by 0.7 to 1.3, a power of 0.7 to 1.5,
    and noise. Its blur and its loss of resolution are left out."""
    rng = run.rng("strong", i)
    x, y, weights = flip_all(x, y, weights, run, i)

    def sometimes(chance: float, new: Tensor, old: Tensor) -> Tensor:
        chosen = torch.from_numpy(rng.random(len(x)) < chance).to(x.device)
        return torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)

    draws = rng.random(len(x))
    turned = torch.from_numpy(draws < 0.2).to(x.device)
    for old, new in zip((x, y, weights), elastic(x, rng, 0, (y, weights), degrees=180, scale=(0.7, 1.4)), strict=True):
        old[turned] = new[turned]
    x = sometimes(0.15, photometric(x, rng, brightness=0.3), x)
    x = sometimes(0.15, photometric(x, rng, contrast=0.3), x)
    power = torch.from_numpy(rng.uniform(0.7, 1.5, (len(x), 1, 1, 1))).to(x)
    x = sometimes(0.15, x.clamp_min(1e-6) ** power, x)
    noise = torch.from_numpy(rng.normal(0, 1, x.shape) * rng.uniform(0, 0.1, (len(x), 1, 1, 1)) ** 0.5 * SPREAD).to(x)
    return sometimes(0.15, x + noise, x), y, weights
