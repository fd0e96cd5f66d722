"""What is learnt and tested on: the domains of a set, a second set, and the tasks that are made of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.domains import Domains, Part, domains
from etudes.data.images import Images, images
from etudes.data.resize import resize

if TYPE_CHECKING:
    from etudes.studies.adapt.hetero_task_vectors import Config

HEADS = ("things", "other")  # the classifiers: of the set with domains, and of the second set


@dataclass(frozen=True)
class Materials:
    """The pictures of a run: uint8 [n, 3, side, side] with labels, by part and task."""

    things: Domains
    other: Images
    known: tuple[str, ...]
    fresh: str
    second: tuple[str, ...]
    held_out: int
    tested: int
    device: torch.device

    @property
    def classes(self) -> dict[str, int]:
        """Of each head."""
        return {"things": len(self.things.classes), "other": self.other.classes}

    def of(self, task: str, part: Part) -> tuple[Tensor, Tensor, str]:
        """Pictures, labels [n] and the head of a task.

        "known" are the domains that are pretrained on, "fresh" is the one that is not; "first" and "second" are the two
        groups of classes, in either; "other" is the second set, whose last training
        pictures are for validation.
        """
        if task == "other":
            rows = {"train": slice(None, -self.held_out), "validation": slice(-self.held_out, None)}
            if part == "test":
                x, y = self.other.test_x[: self.tested], self.other.test_y[: self.tested]
            else:
                x, y = self.other.x[rows[part]], self.other.y[rows[part]]
            return x.to(self.device), y.to(self.device), "other"
        kind, _, group = task.partition(" ")
        within = {"known": self.known, "fresh": (self.fresh,)}[kind]
        first = tuple(name for name in self.things.classes if name not in self.second)
        chosen = self.things.rows(part, within, {"": (), "first": first, "second": self.second}[group])
        most = {"train": None, "validation": self.held_out, "test": self.tested}[part]
        chosen = chosen[:most]
        return self.things.x[chosen].to(self.device), self.things.y[chosen].to(self.device), "things"


def materials(cfg: "Config", run: Run) -> Materials:
    """What the config names, at its size, noted in env.json."""
    things, other = domains(cfg.dataset).resize(cfg.side), images(cfg.other)
    run.note(data=things.source, other=other.source)
    wanted = cfg.examples + cfg.held_out
    small = Images(
        other.name,
        _square(other.x[:wanted], cfg.side),
        other.y[:wanted],
        _square(other.test_x[: cfg.tested], cfg.side),
        other.test_y[: cfg.tested],
        other.classes,
        other.labels,
        other.source,
    )
    return Materials(things, small, cfg.known, cfg.fresh, cfg.second, cfg.held_out, cfg.tested, run.device)


def _square(x: Tensor, side: int) -> Tensor:
    return resize(x, side).expand(-1, 3, -1, -1)
