"""The pictures of a seed: a long tail to train on, and as many of every class to validate and to test on."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.data.augment import flip, photometric, shift
from etudes.data.images import images, unit
from etudes.data.labels import balanced_subset, long_tail
from etudes.data.listed import Listed, picture_lists
from etudes.data.sources import find

if TYPE_CHECKING:
    from etudes.studies.labels.long_tail_images import Config

JITTER = 0.4  # of light, contrast and colour, where pictures are read from files
STANDARD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of ImageNet's channels


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures x, uint8 [n, c, h, w] or files of them, and their classes y [n]."""

    x: Tensor | Listed
    y: Tensor

    def take(self, rows: Tensor) -> "Part":
        return Part(self.x.take(rows) if isinstance(self.x, Listed) else self.x[rows], self.y[rows])


@dataclass(frozen=True, eq=False)
class Task:
    train: Part
    validation: Part
    test: Part
    shape: tuple[int, int, int]  # c, h, w of what the network sees
    mean: Tensor  # [c] of the training pictures in [0, 1]
    std: Tensor

    @property
    def counts(self) -> Tensor:
        """Training pictures of each class [classes]."""
        return torch.bincount(self.train.y)


def shots(counts: Tensor, many: int, few: int) -> dict[str, Tensor]:
    """{many, medium, few: bool [classes]}: classes of more than `many` training pictures, of fewer than `few`, and of
    those between (Liu et al. 2019, arXiv:1904.05160, sec. 5.1: 100 and 20)."""
    return {"many": counts > many, "medium": (counts <= many) & (counts >= few), "few": counts < few}


def split_rows(y: Tensor, cfg: "Config", run: Run) -> tuple[Tensor, Tensor]:
    """Rows of pictures y: [n] to train on, and cfg.held_out of each class to validate on: no row is in both.

    With an exponential profile which class is the most frequent, and so on, is drawn under the seed: no verdict hangs
    on one class that happens to be hard. Raises Problem where classes are too small.
    """
    held = balanced_subset(y, cfg.held_out, run.rng("held out"))
    free = torch.ones(len(y), dtype=torch.bool)
    free[held] = False
    rest = free.nonzero()[:, 0]
    classes = int(y.max()) + 1
    if len(y[rest].unique()) < classes:
        raise Problem(f"--held-out {cfg.held_out} leaves a class without a picture to train on; take fewer")
    if cfg.profile == "natural":
        return rest, held
    if cfg.examples:
        rest = rest[balanced_subset(y[rest], cfg.examples, run.rng("subset"))]
    rank = torch.from_numpy(run.rng("ranks").permutation(classes))
    return rest[long_tail(rank[y[rest]], classes, cfg.ratio, run.rng("tail"))], held


def opened_task(cfg: "Config", run: Run) -> Task:
    """The task of the run's seed, on its device; its data are noted. Lists come with a split of their own."""
    if find(cfg.dataset).task == "lists":
        lists = picture_lists(cfg.dataset)
        run.note(data=lists.source)
        train, validation, test = (
            Part(some, some.y.to(run.device)) for some in (lists.train, lists.validation, lists.test)
        )
        return Task(train, validation, test, (3, cfg.side, cfg.side), *map(torch.tensor, STANDARD))
    whole = images(cfg.dataset)
    run.note(data=whole.source)
    rows, held = split_rows(whole.y, cfg, run)
    kept = whole.take(torch.cat([rows, held]))
    if cfg.tested:
        asked = balanced_subset(whole.test_y, cfg.tested, run.rng("tested"))
        kept = replace(kept, test_x=whole.test_x[asked], test_y=whole.test_y[asked])
    d = (kept.resize(cfg.side) if cfg.side else kept).to(run.device)
    train = d.take(torch.arange(len(rows), device=run.device))  # mean and deviation are of these alone
    return Task(
        Part(train.x, train.y),
        Part(d.x[len(rows) :], d.y[len(rows) :]),
        Part(d.test_x, d.test_y),
        d.shape,
        train.mean,
        train.std,
    )


def view(part: Part, rows: Tensor, side: int) -> Tensor:
    """The rows' pictures as they are evaluated: float [n, c, h, w] in [0, 1], on the device of the classes."""
    x = part.x.read(rows.tolist(), side) if isinstance(part.x, Listed) else part.x[rows]
    return unit(x.to(part.y.device))


def changed_view(part: Part, rows: Tensor, cfg: "Config", run: Run, i: int) -> Tensor:
    """The rows' pictures as step i learns from them. With `augment` mirrored by chance, and moved by up to an eighth of
    the side; those from files are random parts, with changed light and colour."""
    if not cfg.augment:
        return view(part, rows, cfg.side)
    if isinstance(part.x, Listed):
        x = unit(part.x.read(rows.tolist(), cfg.side, run.rng("crop", i)).to(part.y.device))
        return photometric(x, run.rng("light", i), JITTER, JITTER, JITTER)
    x = unit(part.x[rows])
    return shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=x.shape[-1] // 8)
