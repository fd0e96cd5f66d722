"""What the blocks of a network know: of classes, and of transformations that it learnt to see through or to name."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.crops import patches
from etudes.data.images import unit
from etudes.data.labels import balanced_subset
from etudes.measure.layers import pooled_features, probe_errors, wrong
from etudes.measure.probe import linear_classes, neighbour_classes
from etudes.nn.norm import recalibrate
from etudes.studies.labels.pirl.idea import invariance
from etudes.studies.labels.pirl.training import BLOCKS, TURNS, Network, quarter_turns
from etudes.train import HeldOut

if TYPE_CHECKING:
    from etudes.studies.labels.pirl import Config

PLACES = 2  # height and width to which a block's maps are averaged before classes are read from them
LAYERS = [str(block) for block in range(1, BLOCKS + 1)]
LOGGED = {
    "error": "probe-error",
    "few": "probe-error-with-few-labels",
    "neighbours": "neighbours-error",
    "turn-invariance": "invariance-to-turning",
    "turn-error": "error-in-telling-the-turn",
    "patch-invariance": "invariance-to-cutting",
    "cell-error": "error-in-telling-the-cell",
}  # what is measured of a block, and how it is called in the log


def measure_blocks(cfg: "Config", run: Run, p: HeldOut, model: Network) -> dict[str, float]:
    """The numbers of every block, which are logged with the block as the step, and those of the best one."""
    y, test_y = p.d.y, p.d.test_y
    train, held, test = (pooled_features(model.body, x, LAYERS, PLACES) for x in (p.d.x, p.x, p.d.test_x))
    every = [torch.arange(len(y), device=y.device)]
    few = [balanced_subset(y, cfg.few, run.rng("labelled", draw)) for draw in range(cfg.draws)]
    turns, cells = measure_turns(cfg, model, p), measure_patches(cfg, run, model, p)
    rows, numbers = [], {}
    for block in range(BLOCKS):
        asked = [(held[block], p.y), (test[block], test_y)]
        (held_all, test_all), (held_few, test_few) = (
            probe_errors(train[block], y, sets, asked, cfg.penalty) for sets in (every, few)
        )
        vote = wrong(neighbour_classes(train[block], y, test[block], cfg.neighbours), test_y)
        values = (test_all, test_few, vote, *turns[block], *cells[block])
        rows.append((held_all, held_few, *values))
        numbers |= {f"test/{name}-block{block + 1}": number for name, number in zip(LOGGED, values, strict=True)}
        numbers[f"validation/error-block{block + 1}"] = held_all
        run.log(block + 1, **dict(zip(LOGGED.values(), values, strict=True)))
    best, best_few = (min(range(BLOCKS), key=lambda b, k=k: rows[b][k]) for k in (0, 1))
    return numbers | {
        "test/error-probe": rows[best][2],
        "test/few-probe": rows[best_few][3],
        "test/error-neighbours": rows[best][4],
        "validation/error-probe": rows[best][0],
        "validation/few-probe": rows[best_few][1],
        "validation/best-block": best + 1,
    }


def measure_turns(cfg: "Config", model: Network, p: HeldOut) -> list[tuple[float, float]]:
    """Of each block: `invariance` of the means over its places when test pictures are turned, each by 90, 180 or 270
    degrees; and what a linear probe errs that names the turn, of four, by them."""
    known, asked = (every_turn(x[: cfg.looked]) for x in (p.d.x, p.d.test_x))
    n = len(asked) // TURNS
    which = [torch.arange(TURNS, device=p.d.y.device).repeat_interleave(len(x) // TURNS) for x in (known, asked)]
    found = []
    for a, b in zip(*(pooled_features(model.body, x, LAYERS) for x in (known, asked)), strict=True):
        same = sum(invariance(b[:n], b[k * n : (k + 1) * n]) for k in range(1, TURNS)) / (TURNS - 1)
        found.append((same, wrong(linear_classes(a, which[0], b, cfg.penalty), which[1])))
    return found


def every_turn(x: Tensor) -> Tensor:
    """Pictures uint8 [n, c, s, s] in [0, 1] in four turns, those of no turn first: [4 n, c, s, s]."""
    x = unit(x)
    return torch.cat([quarter_turns(x, torch.full((len(x),), k)) for k in range(TURNS)])


def measure_patches(cfg: "Config", run: Run, model: Network, p: HeldOut) -> list[tuple[float, float]]:
    """Of each block: `invariance` of the means over its places when test pictures are cut into patches, whose features
    are averaged; and what a linear probe errs that names the cell of a patch by them.

    The network for patches has their statistics in its batch normalisations, as it had while it learnt.
    """
    known, asked = (
        patches(unit(x[: cfg.looked]), run.rng("patches", split), cfg.grid, cfg.patch, cfg.gap).flatten(0, 1)
        for split, x in enumerate((p.d.x, p.d.test_x))
    )
    own = copy.deepcopy(model)
    recalibrate(own, known.split(500))
    cells = cfg.grid**2
    which = [torch.arange(cells, device=p.d.y.device).repeat(len(x) // cells) for x in (known, asked)]
    whole = pooled_features(model.body, p.d.test_x[: cfg.looked], LAYERS)
    found = []
    for a, b, picture in zip(*(pooled_features(own.body, x, LAYERS) for x in (known, asked)), whole, strict=True):
        same = invariance(picture, b.view(len(picture), cells, -1).mean(1))
        found.append((same, wrong(linear_classes(a, which[0], b, cfg.penalty), which[1])))
    return found
