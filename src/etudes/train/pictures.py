"""What studies of pictures share: the fields of their data, the set opened, the pictures that a step is shown."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from etudes.core.claims import at_least
from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.labels import balanced_subset
from etudes.train.recipe import Sgd


@dataclass(frozen=True)
class PictureSet:
    """Which pictures: for a recipe of one's own, as in `class Config(PictureSet, Adam)`."""

    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 0  # training pictures a class; 0: all
    side: Annotated[int, at_least(0)] = 0  # height and width to which pictures are brought; 0: as they are


@dataclass(frozen=True)
class PictureRecipe(PictureSet, Sgd):
    """A recipe on a picture set. Studies add their own fields, and set other defaults."""

    augment: bool = False  # random flips, and shifts by up to an eighth of the side


def opened(cfg: PictureSet, run: Run) -> tuple[Images, Tensor]:
    """The pictures of a set on the run's device, and which rows [n] of the whole training set they are.

    Notes the set in env.json, and puts what always guessing the largest class errs into the result.
    """
    d = images(cfg.dataset)
    run.note(data=d.source)
    rows = balanced_subset(d.y, cfg.examples, run.rng("subset")) if cfg.examples else torch.arange(len(d.y))
    d = d.take(rows) if cfg.examples else d
    d = (d.resize(cfg.side) if cfg.side else d).to(run.device)
    run.result(**{"test/error-majority": d.majority_error})
    return d, rows


@dataclass(frozen=True)
class HeldOut:
    """A set d without some of its training pictures; those, x: [n, c, h, w] of classes y: [n], are for validation."""

    d: Images
    x: Tensor
    y: Tensor


def hold_out(d: Images, n: int, run: Run, tested: int = 0) -> HeldOut:
    """A set without n of its training pictures, and with `tested` of its test pictures, 0 for all; drawn by the seed.

    Raises Problem where no picture would be left to train on.
    """
    if n >= len(d.y):
        raise Problem(f"{n} pictures are to be held out of {len(d.y)}; lower --held-out")
    order = torch.from_numpy(run.rng("held out").permutation(len(d.y))).to(d.x.device)
    asked = torch.from_numpy(run.rng("tested").permutation(len(d.test_y)))[: tested or None].to(d.x.device)
    held, rest = order[:n], order[n:]
    seen = replace(d.take(rest), test_x=d.test_x[asked], test_y=d.test_y[asked])
    return HeldOut(seen, d.x[held], d.y[held])


def shown(cfg: PictureRecipe, run: Run, d: Images, pixels: int | None = None) -> Callable[[int], tuple[Tensor, Tensor]]:
    """A function of a step: the rows [batch] that it sees, and their pictures [batch, c, h, w] in [0, 1].

    Every row comes once an epoch. Where the recipe augments, the pictures are mirrored by chance and shifted by up to
    `pixels`, by default an eighth of their side.
    """
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))
    reach = d.shape[-1] // 8 if pixels is None else pixels

    def pictures(i: int) -> tuple[Tensor, Tensor]:
        rows = batches.at(i).to(run.device)
        x = unit(d.x[rows])
        if cfg.augment:
            x = shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=reach)
        return rows, x

    return pictures
