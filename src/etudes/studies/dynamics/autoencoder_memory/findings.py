"""What a trained map has stored: which pictures attract, where iteration ends, and a sheet to look at."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from etudes.core import Run
from etudes.exhibits.sheets import save_sheet
from etudes.studies.dynamics.autoencoder_memory.idea import (
    Map,
    distances,
    iterate,
    jacobians,
    nearest,
    off_span,
    spectral_radii,
)

AT = 0.01  # root mean square over pixels within which a picture is the same as another
NUDGE = 0.05  # standard deviation of the noise after which an attractor must be come back to
NOISE = 0.3  # of the noise on corrupted pictures
SHOWN = (0, 1, 3, 10, 30, 100)  # iterations after which the sheet shows a picture
CHUNK = 20  # pictures whose Jacobians are computed at once
ROWS = 3  # starts of each kind on the sheet


@dataclass(frozen=True, eq=False)
class Starts:
    """Where iteration begins: pictures in [0, 1], [n, d] each."""

    stored: Tensor  # what was trained on
    nudged: Tensor  # the same with a little noise
    corrupted: Tensor  # and with much
    unseen: Tensor  # pictures of the test split
    noise: Tensor  # every pixel uniform in [0, 1]


def draw_starts(stored: Tensor, unseen: Tensor, run: Run) -> Starts:
    """The starts of one seed, alike for all variants: as many of noise as there are unseen pictures."""

    def normal(stream: str, scale: float) -> Tensor:
        return torch.from_numpy(run.rng(stream).normal(0, scale, stored.shape)).to(stored)

    noise = torch.from_numpy(run.rng("noise").random(unseen.shape)).to(stored)
    return Starts(stored, stored + normal("nudge", NUDGE), stored + normal("corrupt", NOISE), unseen, noise)


def resting_places(x: Tensor) -> int:
    """How many of the pictures x [n, d] are apart from each other: each counts that is not at one counted before."""
    count = 0
    while len(x):
        x = x[distances(x, x[:1]) > AT]
        count += 1
    return count


def settle(f: Map, starts: Starts, most: int) -> dict[str, tuple[Tensor, Tensor]]:
    """For each kind of start but the stored pictures themselves, where iteration leads and whether it rests there, as
    of `iterate`. All are iterated together, as many small batches would take longer."""
    kinds = ("nudged", "corrupted", "unseen", "noise")
    parts = [getattr(starts, kind) for kind in kinds]
    sizes = [len(part) for part in parts]
    ends, rests = iterate(f, torch.cat(parts), most)
    return dict(zip(kinds, zip(ends.split(sizes), rests.split(sizes), strict=True), strict=True))


def attraction(f: Map, starts: Starts, length: int, most: int) -> dict[str, float]:
    """What f has stored, from its Jacobian at training pictures and from where iteration leads.

    A training picture is an attractor if the spectral radius is below 1 and iteration from the nudged picture comes to
    rest at it. Of a map that applies the network `length` times the radius and the singular value are those a step: the
    root. From unseen pictures and noise: the share that rests at a training picture, at how many of them, and how many
    other places starts come to rest at.
    """
    some = [jacobians(f, x) for x in starts.stored.split(CHUNK)]
    radii = torch.cat([spectral_radii(jacobian) for jacobian in some])
    values = torch.cat([torch.linalg.matrix_norm(jacobian, 2) for jacobian in some])
    settled = settle(f, starts, most)

    def back(kind: str) -> Tensor:
        ends, rests = settled[kind]
        return rests & (distances(ends, starts.stored) < AT)

    numbers = {
        "train/radius": radii.median().item() ** (1 / length),
        "train/singular-value": values.median().item() ** (1 / length),
        "train/contractive": (radii < 1).float().mean().item(),
        "train/attractors": ((radii < 1) & back("nudged")).float().mean().item(),
        "train/recalled": back("corrupted").float().mean().item(),
    }
    others = []
    for kind, suffix in (("unseen", ""), ("noise", "-noise")):
        ends, rests = settled[kind]
        apart, row = nearest(ends, starts.stored)
        recalled = rests & (apart < AT)
        numbers[f"test/recalled{suffix}"] = recalled.float().mean().item()
        numbers[f"test/pictures{suffix}"] = float(len(row[recalled].unique()))
        others.append(ends[rests & ~recalled])
    return {**numbers, "test/spurious": float(resting_places(torch.cat(others)))}


@torch.no_grad()
def one_step(f: Map, starts: Starts) -> dict[str, float]:
    """What one application does to unseen pictures: the squared error of the reconstruction beside that of the mean
    training picture, and which share of what it gives lies off the span of the training pictures."""
    y = f(starts.unseen)
    return {
        "test/error": (y - starts.unseen).square().mean().item(),
        "test/error-mean": (starts.stored.mean(0) - starts.unseen).square().mean().item(),
        "test/off-span": (off_span(y, starts.stored).square().sum() / y.square().sum().clamp_min(1e-12)).item(),
    }


@torch.no_grad()
def draw_recall(path: Path, f: Map, around: Map, starts: Starts, shape: tuple[int, int, int], most: int) -> None:
    """Write a sheet: a row for each of some corrupted, unseen and noise starts; the start, what the network f makes of
    it step by step, where f or its cycle `around` ends, and after a gap the training picture nearest to that end."""
    x = torch.cat([starts.corrupted[:ROWS], starts.unseen[:ROWS], starts.noise[:ROWS]])
    columns, y, done = [], x, 0
    for steps in SHOWN:
        for _ in range(steps - done):
            y = f(y).nan_to_num(0).clamp(-1, 2)  # only what is drawn is kept in bounds
        columns.append(y)
        done = steps
    ends, _ = iterate(around, x, most)
    _, row = nearest(ends, starts.stored)
    columns += [ends, torch.ones_like(x), starts.stored[row]]
    pictures = torch.stack(columns, 1).reshape(-1, *shape).clamp(0, 1)
    save_sheet(path, pictures, len(columns), scale=max(1, 56 // shape[-1]))
