"""distillation: train a small network on the softened probabilities of a large one.

A teacher's logits v give the probabilities p_i = exp(v_i / T) / sum_j exp(v_j / T), which the temperature T softens
(eq. 1). A student with logits z is trained on (1 - h) T^2 KL(p || softmax(z / T)) + h CE(labels, softmax(z)): h is the
weight of the hard labels, and T^2 keeps the share of the soft ones whatever T is (sec. 2). The soft targets say which
wrong classes a picture resembles. Variants take that away and keep the rest, leave digits out of what the student is
shown, or show it few pictures.

    etudes run distillation                  5 minutes on two cores, 22 variants, 5 seeds
    etudes run distillation --scale paper    120 minutes on a GPU, 22 variants, 3 seeds: all of MNIST

`--until decided` goes on to 20 seeds. To expect: the small student gains about half a point; a large student names
most 3s without having been shown one; few pictures stay too few, though they are learnt less by heart.

Departures from the paper at laptop scale: 5,000 training pictures, a teacher of 300 and 300 units with less dropout, a
large student of 300 and 300; the bias of a missing class is corrected on pictures held out, not on the test set.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    between,
    lower,
    positive,
    within,
)
from etudes.core.claims import Trial
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.reports.charts import bars, curves
from etudes.studies.labels.distillation.idea import Targets, best_offset, objective, shift, soft_targets
from etudes.studies.labels.distillation.networks import Pictures, network, outputs, pictures, teacher
from etudes.train import Adam, PictureSet, adam, descend, fitted, seeded


@dataclass(frozen=True)
class Config(PictureSet, Adam):
    dataset: str = "mnist"  # a picture set, as listed by `etudes data`
    held_out: Annotated[int, at_least(1)] = 1000  # training pictures for validation
    small: Annotated[int, at_least(1)] = 30  # units of each hidden layer of the small student
    large: Annotated[int, at_least(1)] = 300  # and of the large one
    large_lr: Annotated[float, positive] = 1e-3  # peak learning rate of the large student; lr: of the small one
    is_large: bool = False  # which of the two is trained
    targets: Targets = "teacher"  # what the soft targets are: the teacher's, spoilt ones, or smoothed labels
    temperature: Annotated[float, positive] = 3.0  # T of teacher and student
    hard: Annotated[float, within(0, 1)] = 0.1  # weight of the hard labels; 1: no soft targets
    scaled: bool = True  # whether the soft targets' loss is multiplied by T^2
    epsilon: Annotated[float, within(0, 1)] = 0.1  # probability that smoothed labels spread over all classes
    transfer: Annotated[float, within(0, 1)] = 1.0  # share of the training pictures that the student sees
    missing: tuple[int, ...] = ()  # classes of which it sees no picture
    regularised: bool = True  # whether the teacher has dropout, bounded weights and moved pictures
    pixels_dropped: Annotated[float, within(0, 1)] = 0.2  # share of its pixels that dropout sets to zero
    units_dropped: Annotated[float, within(0, 1)] = 0.5  # and of its hidden units
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
    width, lr = (cfg.large, cfg.large_lr) if cfg.is_large else (cfg.small, cfg.lr)
    model = seeded(run, "init", lambda: network(d, width))
    opt, schedule = adam(model, replace(cfg, lr=lr))
    batches = Batches(len(rows), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        some = batches.at(i).to(run.device)
        loss = objective(model(x[some]), target[some], y[some], cfg.temperature, cfg.hard, cfg.scaled)
        return {"train/loss": descend(loss, opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = outputs(model, p.x)
        loss = cross_entropy(found, one_hot(p.y, d.classes)).item()
        return {"validation/error": (found.argmax(1) != p.y).double().mean().item(), "validation/loss": loss}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    losses = run.logged("validation/loss")
    run.result(**{"validation/loss-rise": losses[-1] - min(losses), "train/error": error_rate(model, x, y)})
    run.result(**errors(model, p, cfg.missing))


def errors(model: nn.Module, p: Pictures, missing: tuple[int, ...]) -> dict[str, float]:
    """Errors on all test pictures and on the 3s; and, where classes were missing, with their bias corrected."""
    logits, y = outputs(model, p.d.test_x), p.d.test_y

    def wrong(offset: float) -> Tensor:
        return (shift(logits, missing, offset).argmax(1) != y).double()

    numbers = {"test/error": wrong(0).mean().item(), "test/error-threes": wrong(0)[y == 3].mean().item()}
    if missing:
        offset = best_offset(outputs(model, p.x), p.y, missing)
        numbers |= {
            "validation/offset": offset,
            "test/error-corrected": wrong(offset).mean().item(),
            "test/error-threes-corrected": wrong(offset)[y == 3].mean().item(),
        }
    return numbers


def more_than_half_corrected(trial: Trial) -> float:
    """Half of the errors on 3s of a large student that was shown none, minus those left once the bias is corrected."""
    numbers = trial["large-no-three"]
    return numbers["test/error-threes"] / 2 - numbers["test/error-threes-corrected"]


def more_than_half_recovered(trial: Trial) -> float:
    """The middle between hard labels on few pictures and on all, minus the test error of soft targets on few."""
    hard = (trial["few-plain"]["test/error"] + trial["large-plain"]["test/error"]) / 2
    return hard - trial["few"]["test/error"]


PLAIN, NO_THREE, LARGE = {"hard": 1.0}, {"missing": (3,), "hard": 0.0}, {"is_large": True}
FEW = LARGE | {"transfer": 0.03}
LAPTOP = {"examples": 700, "held_out": 2000, "batch": 100, "steps": 1200, "eval_every": 100, "log_every": 50,
          "lr": 1e-2, "large_lr": 3e-3, "teacher_width": 300, "teacher_steps": 2000, "teacher_lr": 3e-3,
          "pixels_dropped": 0.0, "units_dropped": 0.3}  # fmt: skip
PAPER = {"steps": 59_000, "batch": 100, "eval_every": 5_900, "teacher_steps": 118_000, "large": 800, "log_every": 100}
SMOKE = {"dataset": "digits", "examples": 40, "held_out": 100, "batch": 50, "steps": 12, "eval_every": 6,
         "teacher_width": 20, "teacher_steps": 20, "large": 60, "jitter": 1, "log_every": 4}  # fmt: skip
MATTERS = 0.003  # of the test error: 30 pictures in 10,000; the paper's gain is 0.0072

STUDY = Study(
    name="distillation",
    question="What does a small network learn from a large one's probabilities that labels do not say?",
    paper=Paper(
        "Distilling the Knowledge in a Neural Network",
        "Hinton, Vinyals, Dean",
        2015,
        "https://arxiv.org/abs/1503.02531",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("plain", PLAIN, "hard labels alone"),
        Variant("soft", says="T = 3, and a tenth of the weight on hard labels"),
        Variant("soft-1", {"temperature": 1.0}),
        Variant("soft-8", {"temperature": 8.0}),
        Variant("soft-20", {"temperature": 20.0}, "the paper's choice for its large student"),
        Variant("soft-alone", {"hard": 0.0}, "no hard labels"),
        Variant("soft-half", {"hard": 0.5}),
        Variant("unscaled", {"scaled": False, "hard": 0.5}, "soft-half without T^2"),
        Variant("smoothing", {"targets": "smoothed", "temperature": 1.0, "hard": 0.0}, "no teacher"),
        Variant("even", {"targets": "even"}, "wrong classes equally likely"),
        Variant("permuted", {"targets": "permuted"}, "wrong classes shuffled, picture by picture"),
        Variant("overfitted-teacher", {"regularised": False}, "whose teacher knows its pictures by heart"),
        Variant("no-three-plain", {"missing": (3,), "hard": 1.0}, "is shown no 3"),
        Variant("no-three", NO_THREE, "is shown no 3, soft targets alone"),
        Variant("no-three-1", NO_THREE | {"temperature": 1.0}),
        Variant("sevens-eights", {"missing": (0, 1, 2, 3, 4, 5, 6, 9), "hard": 0.0}, "is shown 7s and 8s alone"),
        Variant("few-plain", FEW | PLAIN, "is shown 3 % of the pictures"),
        Variant("few", FEW | {"hard": 0.0}, "is shown 3 % of the pictures, soft targets alone"),
        Variant("large-plain", LARGE | PLAIN, "ten times the units"),
        Variant("large-3", LARGE),
        Variant("large-20", LARGE | {"temperature": 20.0}),
        Variant("large-no-three", LARGE | NO_THREE),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(
            LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline={"dataset": "digits", "examples": 140, "held_out": 200}
        ),
        "paper": Scale(PAPER, seeds=3, minutes=120),
    },
    words={
        "test/error": "test error",
        "test/error-threes": "share of 3s named wrongly",
        "test/error-corrected": "test error with the bias corrected",
        "test/error-threes-corrected": "share of 3s named wrongly, bias corrected",
        "train/error": "error on the pictures shown",
        "validation/loss-rise": "rise of the validation loss from its lowest",
        "test/error-teacher": "test error of the teacher",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=objective,
    claims={
        "a small student has a lower test error with a teacher's soft targets than with hard labels alone": lower(
            "soft", "plain", "sec. 3"
        ),
        "for a student of 30 units a temperature of 3 gives a lower test error than a temperature of 1": lower(
            "soft", "soft-1", "sec. 3", matters=MATTERS
        ),
        "for a student of 30 units a temperature of 3 gives a lower test error than a temperature of 20": lower(
            "soft", "soft-20", "sec. 3", matters=MATTERS
        ),
        "a student of 300 units that was never shown a 3 names nine tenths of them rightly, once the bias of that "
        "class is corrected": between(
            "large-no-three", -math.inf, 0.1, "sec. 3", of="test/error-threes-corrected", paper=0.014
        ),
        "most errors of a student that was never shown a 3 on 3s are gone once the bias of that class is corrected": (
            Claim(
                more_than_half_corrected,
                above(0),
                "sec. 3",
                paper=(133 / 2 - 14) / 1010,
                number="of large-no-three: test/error-threes / 2 - test/error-threes-corrected",
            )
        ),
        "shown 3 % of the pictures, a large student has a lower test error with soft targets than with hard labels": (
            lower("few", "few-plain", "sec. 6, table 5")
        ),
        "shown 3 % of the pictures in place of all, a large student loses less than half as much with soft targets as "
        "with hard labels": Claim(
            more_than_half_recovered,
            above(0),
            "sec. 6, table 5",
            paper=0.570 - (0.445 + 0.589) / 2,
            number="of test/error: (few-plain + large-plain) / 2 - few",
        ),
        "shown 3 % of the pictures, the validation loss rises less from its lowest with soft targets than with hard "
        "labels": lower("few", "few-plain", "sec. 6", of="validation/loss-rise"),
        "a teacher's soft targets give a lower test error than smoothed labels": lower("soft", "smoothing", "sec. 3"),
        "a teacher's soft targets give a lower test error than the same with the wrong classes shuffled": lower(
            "soft", "permuted", "sec. 1", matters=MATTERS
        ),
        "a regularised teacher gives a student a lower test error than one that has learnt its pictures by heart": (
            lower("soft", "overfitted-teacher", "sec. 3")
        ),
    },
    charts=(
        bars(
            "test/error",
            title="Test error of a student of 30 units, by what it is taught",
            sections={"": ("plain", "smoothing", "overfitted-teacher", "permuted", "even", "soft")},
        ),
        bars(
            "test/error",
            "train/error",
            title="Errors by temperature and size",
            sections={
                "30 units": ("plain", "soft-1", "soft", "soft-8", "soft-20"),
                "300 units": ("large-plain", "large-3", "large-20"),
            },
        ),
        bars(
            "test/error-threes",
            "test/error-threes-corrected",
            "test/error-corrected",
            title="Students that were never shown a 3",
            sections={"": ("no-three-plain", "no-three-1", "no-three", "large-no-three")},
        ),
        curves(
            "validation/loss",
            title="Loss on pictures held out, of students that are shown 150 pictures",
            variants=("few-plain", "few"),
        ),
    ),
    precision="fp32",
    origin="C",
)
