"""What is measured of a network that has learnt a pretext: block by block, turn by turn, class by class."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.data.images import unit
from etudes.measure.error import predictions
from etudes.measure.layers import pooled_features, probe_errors, wrong
from etudes.measure.probe import linear_classes, neighbour_classes
from etudes.studies.labels.rotnet.idea import all_turns, turned_distance
from etudes.studies.labels.rotnet.training import BLOCKS, labelled_rows
from etudes.train import HeldOut

if TYPE_CHECKING:
    from etudes.studies.labels.rotnet import Config

PLACES = 2  # height and width to which a block's maps are averaged before they are probed
ROUND = (0, 1, 8)  # digits that look alike upside down
SIX_NINE = (6, 9)  # digits of which one is the other upside down
OTHERS = (3, 4, 7)  # 2 and 5 are of neither kind: Z and S keep their shape


def block_features(model: nn.Module, x: Tensor, places: int = PLACES) -> list[Tensor]:
    """What each of the four blocks gives for pictures x: [n, c, h, w], averaged to places x places: [n, d]."""
    return pooled_features(model, x, [str(block) for block in range(1, BLOCKS + 1)], places)


def block_errors(
    cfg: "Config", run: Run, p: HeldOut, features: list[tuple[Tensor, ...]], share: float
) -> list[tuple[float, float]]:
    """(validation error, test error) of linear probes on each block, fitted to a share of the labels.

    `features` has for each block those of the training, validation and test pictures. Of a share below 1 the errors are
    means over `draws` sets of labelled pictures.
    """
    sets = [labelled_rows(p.d.y, share, run, draw) for draw in range(cfg.draws if share < 1 else 1)]
    found = []
    for train, held, test in features:
        held_error, test_error = probe_errors(train, p.d.y, sets, [(held, p.y), (test, p.d.test_y)], cfg.penalty)
        found.append((held_error, test_error))
    return found


def best_block(errors: list[tuple[float, float]]) -> int:
    """The block, counted from 0, with the least validation error: the first of (validation, test)."""
    return min(range(len(errors)), key=lambda block: errors[block][0])


def measure_turns(cfg: "Config", model: nn.Module, p: HeldOut) -> list[tuple[float, float]]:
    """For each block: how far its features, averaged over places, move when a picture is turned by quarters, and what
    a linear probe errs that names the turn by them. Each as in `turned_distance`; chance is 0.75."""
    (some, which), (other, asked) = (all_turns(x[: cfg.turned], 4) for x in (p.d.x, p.d.test_x))
    found = []
    for known, seen in zip(block_features(model, some, 1), block_features(model, other, 1), strict=True):
        distance = turned_distance(seen.view(4, -1, seen.shape[1]))
        found.append((distance, wrong(linear_classes(known, which, seen, cfg.penalty), asked)))
    return found


def measure_blocks(cfg: "Config", run: Run, p: HeldOut, model: nn.Module) -> dict[str, float]:
    """The numbers of every block, which are logged with the block as the step, and those of the best one."""
    sets = [block_features(model, x) for x in (p.d.x, p.x, p.d.test_x)]
    features = list(zip(*sets, strict=True))
    whole, few = (block_errors(cfg, run, p, features, share) for share in (1.0, cfg.few))
    k = min(cfg.neighbours, len(p.d.y))
    votes = [wrong(neighbour_classes(train, p.d.y, test, k), p.d.test_y) for train, _, test in features]
    turns = measure_turns(cfg, model, p)
    numbers = {}
    for block in range(BLOCKS):
        distance, turn_error = turns[block]
        row = {"error": whole[block][1], "few": few[block][1], "neighbours": votes[block], "distance": distance}
        row |= {"turn-probe": turn_error}
        numbers |= {f"test/{name}-block{block + 1}": number for name, number in row.items()}
        run.log(block + 1, **{LOGGED[name]: number for name, number in row.items()})
    best, best_few = best_block(whole), best_block(few)
    return numbers | {
        "test/error-probe": whole[best][1],
        "test/few-probe": few[best_few][1],
        "test/error-neighbours": votes[best],
        "validation/error-probe": whole[best][0],
        "validation/few-probe": few[best_few][0],
        "validation/best-block": best + 1,
    }


LOGGED = {
    "error": "probe-error",
    "few": "probe-error-with-few-labels",
    "neighbours": "neighbours-error",
    "distance": "distance-when-turned",
    "turn-probe": "turn-probe-error",
}


def measure_pretext(cfg: "Config", run: Run, p: HeldOut, model: nn.Module) -> dict[str, float]:
    """How often the network names a turn of a test picture wrongly; of eight turns also how often it takes an odd one
    for an even one, which interpolation tells; of digits by class, logged with the digit as the step."""
    x, y = p.d.test_x, p.d.test_y
    says = torch.cat([predictions(model, all_turns(some, cfg.turns)[0]).view(cfg.turns, -1) for some in units(x)], 1)
    truth = torch.arange(cfg.turns, device=x.device)[:, None].expand_as(says)
    missed = (says != truth).double().mean(0)
    numbers = {"test/turn-error": missed.mean().item()}
    if cfg.turns == 8:
        numbers["test/parity-error"] = wrong(says % 2, truth % 2)
    if cfg.on_digits:
        upright = (says[cfg.turns // 2] == 0).double()
        for name, classes in {"round": ROUND, "six-nine": SIX_NINE, "others": OTHERS}.items():
            rows = torch.isin(y, torch.tensor(classes, device=y.device))
            numbers[f"test/turn-error-{name}"] = missed[rows].mean().item()
            numbers[f"test/called-upright-{name}"] = upright[rows].mean().item()
        for digit in range(p.d.classes):
            run.log(digit, **{"turn-error-of-digit": missed[y == digit].mean()})
    return numbers


def units(x: Tensor) -> tuple[Tensor, ...]:
    """Pictures uint8 [n, c, h, w] as parts of 250 in [0, 1], so that all their turns fit into memory."""
    return tuple(unit(some) for some in x.split(250))
