"""What is measured on drawn shapes, where it is known which colours a grey shape may have, and how probable each is."""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Run
from etudes.data.colour import lab
from etudes.data.images import Images, unit
from etudes.data.shapes import LABELS, PALETTE
from etudes.studies.generative.colorization.bins import nearest_bins
from etudes.studies.generative.colorization.findings import colorize, grey, save_colours
from etudes.studies.generative.colorization.painter import Painter

AWAY, PATCHES = "test/away", "test/patchiness"


def two_coloured(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(rows [k] of the pictures whose shape has two colours, those colours [k, 2, 2], each as (a, b))."""
    pairs = {i: PALETTE[name] for i, name in enumerate(LABELS) if len(PALETTE[name]) == 2}
    rows = [i for i, y in enumerate(labels.tolist()) if y in pairs]
    return torch.tensor(rows, dtype=torch.long), torch.tensor([pairs[int(labels[i])] for i in rows])


def cells_inside(ab: Tensor, shrink: int) -> Tensor:
    """Which cells [n, h', w'] of shrink x shrink pixels lie wholly in the shape, by the true colours ab [n, 2, h, w]:
    the paper around it has none."""
    return functional.avg_pool2d((ab.norm(dim=1) > 5).float(), shrink) == 1


def away_from_both(ab: Tensor, pairs: Tensor, inside: Tensor) -> float:
    """The mean distance in ab of the colours [n, 2, h, w] inside from the nearer of the two that are possible."""
    distance = (ab.movedim(1, -1)[:, :, :, None] - pairs[:, None, None]).norm(dim=-1)
    return distance.amin(-1)[inside].mean().item()


def patchiness(ab: Tensor, inside: Tensor) -> float:
    """How far the colours [n, 2, h, w] inside are from the mean colour of their own shape: the root of the mean square.
    A true shape has 0, as it is of one colour."""
    held = inside[:, None].to(ab.dtype)
    mean = (ab * held).sum((2, 3), keepdim=True) / held.sum((2, 3), keepdim=True).clamp_min(1)
    return ((ab - mean).square().sum(1)[inside].mean() ** 0.5).item()


def odds_errors(odds: Tensor, pairs: Tensor, centres: Tensor, weights: Tensor, inside: Tensor) -> dict[str, float]:
    """How far odds [n, Q, h, w] inside are from those that minimise the loss, and their share beside both colours.

    The best odds of the first colour against the second are w_1 : w_2, as both are alike probable and each pixel weighs
    by the bin of its colour.
    """
    _, nearest = nearest_bins(pairs.movedim(-1, 1)[:, :, :, None], centres)  # [n, k, 2, 1]
    mass = torch.stack(
        [odds.gather(1, nearest[:, :, i, :, None].expand(-1, -1, *odds.shape[2:])).sum(1) for i in (0, 1)]
    )
    best = weights[nearest[:, 0, :, 0]]  # [n, 2]
    ideal = (best[:, 0] / best.sum(1))[:, None, None]
    share = mass[0] / mass.sum(0).clamp_min(1e-12)
    return {
        "test/odds-error": (share - ideal).abs()[inside].mean().item(),
        "test/odds-elsewhere": (1 - mass.sum(0))[inside].mean().item(),
    }


def compare_drawn(run: Run, d: Images, painter: Painter, temperature: float, weights: Tensor, shrink: int) -> None:
    """Put into the result how far the colours of test shapes that have two alike probable ones are from both, beside
    half the distance between the two: that of their mean, which is the best that least squares can do."""
    rows, pairs = two_coloured(d.test_y)
    pairs, true = pairs.to(run.device), lab(unit(d.test_x[rows]))
    inside = cells_inside(true[:, 1:], shrink)
    temperatures = painter.temperatures(temperature)
    for end, t in temperatures.items():
        ab = painter.colours(true[:, :1], t)
        run.result(**{f"{AWAY}{end}": away_from_both(ab, pairs, inside), f"{PATCHES}{end}": patchiness(ab, inside)})
    halves = (pairs[:, 0] - pairs[:, 1]).norm(dim=1)[:, None, None].expand(inside.shape) / 2
    run.result(**{f"{AWAY}-of-their-mean": halves[inside].mean()})
    if painter.centres is not None:
        run.result(**odds_errors(painter.odds(true[:, :1]), pairs, painter.centres, weights, inside))
    x = unit(d.test_x[:10])
    made = [colorize(x, painter.at(t)) for t in temperatures.values()]
    save_colours(run, "coloured.png", [grey(x), *made, x])
