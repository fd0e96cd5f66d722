"""What is learnt, held out and tested on: pictures of digits, or spectra of spoken ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.audio.features import log_mel, wave
from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.audio import sounds
from etudes.data.batches import Batches
from etudes.data.images import images, unit
from etudes.train import part

if TYPE_CHECKING:
    from etudes.studies.adapt.unlearning import Config

SPOKEN = "spoken-digits"
SECONDS, SIZE, HOP, BANDS = 0.6, 256, 160, 32  # of a recording; samples of a frame and between frames; mel bands


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures float [n, c, h, w] with classes int64 [n]: to train on, held out for validation, and to test on."""

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    mean: Tensor  # [c] of the training pictures
    std: Tensor

    def rows(self, *labels: int) -> Tensor:
        """The rows [n] of the training pictures of these classes. Raises Problem where there is none."""
        found = torch.isin(self.y, torch.tensor(labels, device=self.y.device)).nonzero()[:, 0]
        if not len(found):
            raise Problem(f"there are no training pictures of class {labels}; choose others to forget and to learn")
        return found


def read(cfg: "Config", run: Run) -> Examples:
    """The set's pictures on the run's device; `held_out` a class for validation, and then `examples` to train on."""
    if cfg.dataset == SPOKEN:
        s = sounds(SPOKEN, SECONDS)
        run.note(data=s.source)
        x, test_x = (log_mel(wave(part.x), s.rate, SIZE, HOP, BANDS)[:, None] for part in (s.train, s.test))
        y, test_y, classes = s.train.y, s.test.y, len(s.labels)
    else:
        d = images(cfg.dataset)
        run.note(data=d.source)
        x, y, test_x, test_y, classes = unit(d.x), d.y, unit(d.test_x), d.test_y, d.classes
    if not (0 <= cfg.forgets < classes and 0 <= cfg.learns < classes and cfg.forgets != cfg.learns):
        raise Problem(f"forgets and learns are two classes of 0 to {classes - 1}, not {cfg.forgets} and {cfg.learns}")
    held, kept = split_rows(y, cfg.held_out, cfg.examples, run)
    mean, std = x[kept].double().mean((0, 2, 3)).float(), x[kept].double().std((0, 2, 3)).float()
    d = Examples(x[kept], y[kept], x[held], y[held], test_x, test_y, classes, mean, std)
    return replace(d, **{name: value.to(run.device) for name, value in vars(d).items() if isinstance(value, Tensor)})


def split_rows(y: Tensor, held_out: int, examples: int, run: Run) -> tuple[Tensor, Tensor]:
    """Random rows, ascending, of each class: so many for validation, and so many others to train on (0: all others)."""
    least = int(y.bincount().min())
    if held_out + max(1, examples) > least:
        raise Problem(f"{held_out} held out and {examples or 1} to train on are more than the {least} of a class")
    order = torch.from_numpy(run.rng("rows").permutation(len(y)))
    groups = [order[y[order] == label] for label in y.unique().tolist()]
    stop = held_out + examples if examples else None
    held, kept = (torch.cat([group[part] for group in groups]) for part in (slice(held_out), slice(held_out, stop)))
    return held.sort().values, kept.sort().values


def batches(cfg: "Config", run: Run, d: Examples) -> Callable[[str, int], tuple[Tensor, Tensor]]:
    """A function of "new", "old" or "retained" and a step: pictures [n, c, h, w] of the class to learn, of the one to
    forget, or of the others' first `rehearsed` a class, with their classes. Of the first two there are a quarter as
    many in a batch."""
    others = [k for k in range(d.classes) if k not in (cfg.forgets, cfg.learns)]
    rehearsed = torch.cat([d.rows(k)[: cfg.rehearsed or None] for k in others])
    rows = {"new": d.rows(cfg.learns), "old": d.rows(cfg.forgets), "retained": rehearsed}
    sizes = {"new": cfg.batch // 4, "old": cfg.batch // 4, "retained": cfg.batch}
    order = {name: Batches(len(rows[name]), sizes[name], run.seed(f"order {name}")) for name in rows}

    def shown(name: str, i: int) -> tuple[Tensor, Tensor]:
        these = rows[name][order[name].at(i).to(run.device)]
        return part(d.x[these], d.y[these])

    return shown
