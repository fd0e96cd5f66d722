"""The pictures of a run: scenes of small objects on clutter, or natural pictures as they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from etudes.core import Problem, Run
from etudes.data.images import Images, images
from etudes.data.resize import resize
from etudes.studies.convnets.entropy_pooling.scenes import Scenes, compose

if TYPE_CHECKING:
    from etudes.studies.convnets.entropy_pooling import Config

CLUTTER = 3000  # pictures at most that pieces of clutter are cut from, for training; a third of it for each other part


@dataclass(frozen=True, eq=False)
class Materials:
    """What a run trains on, chooses by and is tested on."""

    train: Scenes
    validation: Scenes
    test: Scenes
    classes: int


def materials(cfg: "Config", run: Run) -> Materials:
    """The pictures of the run's seed on its device, noted in env.json; the result has the error of always guessing the
    largest class. Validation is cut from the training part. All variants of a seed with as large objects have the same.
    """
    d = images(cfg.objects if cfg.world == "scenes" else cfg.natural)
    order = torch.from_numpy(run.rng("rows").permutation(len(d.y)))
    held, rest = order[: cfg.held_out], order[cfg.held_out :]
    learnt = rest[: cfg.examples] if cfg.examples else rest
    if not len(learnt):
        raise Problem(f"entropy-pooling: held_out is {cfg.held_out} of {len(d.y)} training pictures; keep fewer back")
    tested = torch.from_numpy(run.rng("tested").permutation(len(d.test_y))[: cfg.tested])
    rows = {"train": learnt, "validation": held, "test": tested}
    made = _scenes(cfg, run, d, rows) if cfg.world == "scenes" else _natural(cfg, run, d, rows)
    common = made["train"].y.mode().values
    run.result(**{"test/error-majority": (made["test"].y != common).double().mean().item()})
    return Materials(**{name: part.to(run.device) for name, part in made.items()}, classes=d.classes)


def _natural(cfg: "Config", run: Run, d: Images, rows: dict[str, torch.Tensor]) -> dict[str, Scenes]:
    run.note(data=d.source)

    def part(name: str) -> Scenes:
        x, y = (d.test_x, d.test_y) if name == "test" else (d.x, d.y)
        x = x[rows[name]]
        return Scenes(resize(x, cfg.natural_side) if cfg.natural_side else x, y[rows[name]])

    return {name: part(name) for name in rows}


def _scenes(cfg: "Config", run: Run, d: Images, rows: dict[str, torch.Tensor]) -> dict[str, Scenes]:
    """Clutter is cut from other pictures for each part, so that nothing in a test scene was seen in training."""
    other = images(cfg.clutter)
    run.note(data=[d.source] if other.name == d.name else [d.source, other.source])
    third = min(CLUTTER, len(other.x) - len(other.x) // 3) // 3
    pieces = {"train": other.x[: 2 * third], "validation": other.x[-third:], "test": other.test_x[:third]}

    def part(name: str) -> Scenes:
        x, y = (d.test_x, d.test_y) if name == "test" else (d.x, d.y)
        small = resize(x[rows[name]], cfg.object_side)
        rng = run.rng(f"scenes {name}")
        return compose(small, y[rows[name]], pieces[name], cfg.side, cfg.fragments, rng)

    return {name: part(name) for name in rows}
