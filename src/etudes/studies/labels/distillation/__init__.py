"""distillation: train a small network on the softened probabilities of a large one."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, lower, positive, within
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.reports.charts import bars
from etudes.studies.labels.distillation.idea import Targets, best_offset, objective, shift, soft_targets
from etudes.studies.labels.distillation.teacher import network, outputs, pictures, teacher
from etudes.train import Adam, PictureSet, adam, descend, fitted, seeded


@dataclass(frozen=True)
class Config(PictureSet, Adam):
    dataset: str = "mnist"  # a picture set, as listed by `etudes data`
    held_out: Annotated[int, at_least(1)] = 1000  # training pictures for validation
    small: Annotated[int, at_least(1)] = 30  # units of each hidden layer of the small student
    large: Annotated[int, at_least(1)] = 300  # and of the large one
    is_large: bool = False  # which of the two is trained
    targets: Targets = "teacher"  # what the soft targets are: the teacher's, spoilt ones, or smoothed labels
    temperature: Annotated[float, positive] = 3.0  # T of teacher and student
    hard: Annotated[float, within(0, 1)] = 0.1  # weight of the hard labels; 1: no soft targets
    scaled: bool = True  # whether the soft targets' loss is multiplied by T^2
    epsilon: Annotated[float, within(0, 1)] = 0.1  # probability that smoothed labels spread over all classes
    transfer: Annotated[float, within(0, 1)] = 1.0  # share of the training pictures that the student sees
    missing: tuple[int, ...] = ()  # classes of which it sees no picture
    regularised: bool = True  # whether the teacher has dropout, bounded weights and moved pictures
    jitter: Annotated[int, at_least(0)] = 2  # pixels by which its pictures are moved at most
    teacher_width: Annotated[int, at_least(1)] = 1200  # units of each of its hidden layers
    teacher_steps: Annotated[int, at_least(1)] = 1000  # optimiser steps of its training
    teacher_lr: Annotated[float, positive] = 1e-3  # its peak learning rate


def transfer_rows(cfg: Config, labels: Tensor) -> Tensor:
    """The rows of the training pictures that the student sees."""
    rows = torch.arange(max(1, round(cfg.transfer * len(labels))), device=labels.device)
    absent = torch.isin(labels[rows], torch.tensor(cfg.missing, device=labels.device, dtype=labels.dtype))
    return rows[~absent]


def train(cfg: Config, run: Run) -> None:
    p = pictures(cfg, run)
    d = p.d
    record, logits = teacher(cfg, run, p)
    run.result(**record.metrics)
    rows = transfer_rows(cfg, d.y)
    x, y = unit(d.x[rows]), d.y[rows]
    target = soft_targets(cfg.targets, logits, d.y, cfg.temperature, cfg.epsilon, run.rng("permutation"))[rows]
    width = cfg.large if cfg.is_large else cfg.small
    model = seeded(run, "init", lambda: network(d, width))
    opt, schedule = adam(model, cfg)
    batches = Batches(len(rows), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        some = batches.at(i).to(run.device)
        loss = objective(model(x[some]), target[some], y[some], cfg.temperature, cfg.hard, cfg.scaled)
        return {"train/loss": descend(loss, opt, schedule)}

    def evaluate() -> dict[str, float]:
        found, tested = outputs(model, p.x), outputs(model, d.test_x)
        threes = d.test_y == 3
        wrong = (tested.argmax(1) != d.test_y).double()
        numbers = {
            "validation/error": (found.argmax(1) != p.y).double().mean().item(),
            "validation/loss": cross_entropy(found, one_hot(p.y, d.classes)).item(),
            "train/error": (outputs(model, x).argmax(1) != y).double().mean().item(),
            "test/error": wrong.mean().item(),
            "test/error-threes": wrong[threes].mean().item(),
        }
        if cfg.missing:
            offset = best_offset(found, p.y, cfg.missing)
            wrong = (shift(tested, cfg.missing, offset).argmax(1) != d.test_y).double()
            numbers |= {
                "validation/offset": offset,
                "test/error-corrected": wrong.mean().item(),
                "test/error-threes-corrected": wrong[threes].mean().item(),
            }
        return numbers

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    losses = run.logged("validation/loss")
    run.result(**{"validation/loss-rise": losses[-1] - min(losses)})


FEW = {"transfer": 0.03}
NO_THREE = {"missing": (3,)}
LAPTOP = {"examples": 600, "batch": 100, "steps": 1500, "eval_every": 250, "teacher_width": 400, "teacher_steps": 2000,
          "lr": 3e-3, "log_every": 50}  # fmt: skip
SMOKE = {"dataset": "digits", "examples": 40, "held_out": 100, "batch": 50, "steps": 12, "eval_every": 6,
         "teacher_width": 20, "teacher_steps": 20, "large": 60, "jitter": 1, "log_every": 4}  # fmt: skip

STUDY = Study(
    name="distillation",
    question="What does a small network learn from a large one's probabilities that labels do not say?",
    paper=Paper(
        "Distilling the Knowledge in a Neural Network", "Hinton, Vinyals, Dean", 2015, "https://arxiv.org/abs/1503.02531"
    ),
    config=Config,
    program=train,
    variants=(
        Variant("plain", {"hard": 1.0}),
        Variant("soft"),
        Variant("soft-1", {"temperature": 1.0}),
        Variant("soft-8", {"temperature": 8.0}),
        Variant("soft-20", {"temperature": 20.0}),
        Variant("soft-alone", {"hard": 0.0}),
        Variant("soft-half", {"hard": 0.5}),
        Variant("unscaled", {"scaled": False, "hard": 0.5}),
        Variant("smoothing", {"targets": "smoothed", "temperature": 1.0, "hard": 0.0}),
        Variant("even", {"targets": "even"}),
        Variant("permuted", {"targets": "permuted"}),
        Variant("overfitted-teacher", {"regularised": False}),
        Variant("overfitted-teacher-1", {"regularised": False, "temperature": 1.0}),
        Variant("no-three-plain", NO_THREE | {"hard": 1.0}),
        Variant("no-three", NO_THREE | {"hard": 0.0}),
        Variant("no-three-1", NO_THREE | {"hard": 0.0, "temperature": 1.0}),
        Variant("sevens-eights", {"missing": (0, 1, 2, 3, 4, 5, 6, 9), "hard": 0.0}),
        Variant("few-plain", FEW | {"hard": 1.0}),
        Variant("few", FEW),
        Variant("large-plain", {"is_large": True, "hard": 1.0}),
        Variant("large-soft", {"is_large": True}),
        Variant("large-soft-8", {"is_large": True, "temperature": 8.0}),
        Variant("large-soft-20", {"is_large": True, "temperature": 20.0}),
        Variant("large-no-three", NO_THREE | {"is_large": True, "hard": 0.0}),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5),
    },
    claims={
        "soft targets lower the test error": lower("soft", "plain", "sec. 3"),
    },
    charts=(bars("test/error"),),
    precision="fp32",
    origin="C",
)
