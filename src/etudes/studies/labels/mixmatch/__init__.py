"""mixmatch: few labels, many pictures without one, and guesses in place of the labels that are missing.

An unlabelled picture u is seen in K random changes u_k; the mean of the network's answers p(u_k) is sharpened,
q = p^(1/T) / sum p^(1/T), and is the guessed label of all K. Then all pictures, labelled or not, are mixed in pairs
with their labels, x' = l x_i + (1 - l) x_j with l = max(b, 1 - b), b ~ Beta(alpha, alpha). The loss is the
cross-entropy of those that are mostly labelled, and lambda_U times the squared error of the others' probabilities,
where lambda_U rises from 0 (algorithm 1, eqs. 2 to 5). What is evaluated is an average of the weights.

    etudes run mixmatch                  3 minutes on two cores, 13 variants, 5 seeds (to 20 with --until decided)
    etudes run mixmatch --scale cifar    300 minutes on two cores, 6 variants and 3 seeds: CIFAR-10 and ten layers
    etudes run mixmatch --scale paper    90000 minutes on a GPU, 15 variants, 5 seeds: WRN-28-2, a million steps

To expect: with 100 labels MixMatch errs on about a third of what labels alone leave; without sharpening it is no
better than they are, and without MixUp it loses most of its gain.

Departures from the paper at laptop scale: MNIST at 14 pixels, three convolutions, 250 steps and a fast average; in
general ReLU in place of its leaky form, and all pictures of a step in one batch, where the authors' code interleaves
three chunks.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, at_least, higher, lower, positive, within
from etudes.measure.error import error_rate
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.labels.mixmatch.idea import mixmatch_batch
from etudes.studies.labels.mixmatch.training import Nets, Pictures, loss_of, network, split_rows
from etudes.train import EMA, Adam, PictureSet, descend, fitted, opened, scheduled, seeded

Method = Literal["labels-only", "pseudo-labels", "mean-teacher", "mixmatch", "fixmatch"]


@dataclass(frozen=True)
class Config(PictureSet, Adam):
    dataset: str = "mnist"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 500  # training pictures a class, most of them without label; 0: all
    side: Annotated[int, at_least(0)] = 14  # height and width to which pictures are brought; 0: as they are
    mirrored: bool = False  # whether pictures are mirrored by chance, beside shifts by up to an eighth of the side
    tested: Annotated[int, at_least(1)] = 4000  # test pictures, drawn, at most
    labels: Annotated[int, at_least(1)] = 10  # labelled pictures a class, and as many for validation
    multiple: Annotated[float, positive] = 1.0  # times as many labels, rounded to whole pictures a class
    method: Method = "mixmatch"  # what is done with the unlabelled pictures; "labels-only": nothing
    views: Annotated[int, at_least(1)] = 2  # K, in how many ways each unlabelled picture is seen to guess its label
    temperature: Annotated[float, within(0, 1)] = 0.5  # T, of the sharpening; 1: none
    alpha: Annotated[float, at_least(0)] = 0.75  # of Beta(alpha, alpha), from which MixUp's weights come; 0: no MixUp
    weight: Annotated[float, at_least(0)] = 75.0  # lambda_U, of the unlabelled loss once it has risen
    rise: Annotated[int, at_least(0)] = 125  # steps over which that weight rises from 0
    threshold: Annotated[float, within(0, 1)] = 0.95  # probability that a pseudo-label needs
    ema: Annotated[float, within(0, 1)] = 0.99  # decay a step of the averaged weights
    steps: Annotated[int, at_least(1)] = 250  # optimiser steps
    batch: Annotated[int, at_least(1)] = 32  # labelled pictures a step, and as many unlabelled ones
    lr: Annotated[float, positive] = 1e-2  # learning rate of Adam
    schedule: Schedule = "constant"  # learning rate over the steps
    weight_decay: Annotated[float, at_least(0)] = 0.02  # share of the learning rate by which weights shrink each step
    network: Literal["small", "wide"] = "small"  # three convolutions, or a wide residual network
    stem: Annotated[int, at_least(1)] = 16  # channels of the first convolution
    depth: Annotated[int, at_least(10)] = 10  # layers of the wide residual network, 6 n + 4
    widen: Annotated[int, at_least(1)] = 2  # its widening factor


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    known, held, unlabelled = split_rows(d.y, round(cfg.labels * cfg.multiple), run)
    run.result(**{"train/labels": len(known), "train/unlabelled": len(unlabelled)})
    order = torch.from_numpy(run.rng("tested").permutation(len(d.test_y)))[: cfg.tested].to(run.device)
    test_x, test_y = d.test_x[order], d.test_y[order]
    model = seeded(run, "init", lambda: network(cfg, d))
    nets = Nets(model, EMA(model, cfg.ema))
    opt = torch.optim.AdamW(model.parameters(), cfg.lr, weight_decay=cfg.weight_decay, fused=True)
    schedule = scheduled(opt, cfg)
    pictures = Pictures(cfg, run, d, known, unlabelled)

    def step(i: int) -> dict[str, Tensor]:
        numbers = loss_of(cfg, run, pictures, nets, i)
        loss = descend(numbers["train/loss"], opt, schedule)
        nets.average.update()
        return numbers | {"train/loss": loss}

    def evaluate() -> dict[str, float]:
        return {
            "test/error": error_rate(nets.average.model, test_x, test_y),
            "test/error-last": error_rate(model, test_x, test_y),
            "validation/error": error_rate(nets.average.model, d.x[held], d.y[held]),
            "validation/error-last": error_rate(model, d.x[held], d.y[held]),
        }

    parts = {"model": model, "average": nets.average, "opt": opt, "schedule": schedule}
    run.result(**fitted(run, cfg, parts, step, evaluate))


SUPERVISED = {"method": "labels-only", "alpha": 0.0}
FIXMATCH = {"method": "fixmatch", "weight": 1.0, "threshold": 0.8}
FEWEST, MANY, MOST = {"multiple": 0.16}, {"multiple": 5.0}, {"multiple": 16.0}
TINY = {
    "dataset": "digits",
    "examples": 50,
    "side": 0,
    "tested": 100,
    "labels": 4,
    "steps": 3,
    "batch": 4,
    "rise": 2,
    "eval_every": 2,
    "stem": 4,
}
REAL = {"dataset": "cifar10", "examples": 0, "side": 0, "mirrored": True, "tested": 10_000, "labels": 25}
WIDE = REAL | {"network": "wide", "lr": 2e-3, "ema": 0.999}
CIFAR = WIDE | {"steps": 4000, "rise": 2000, "log_every": 50}
LONG = {"steps": 1_048_576, "rise": 16_000, "eval_every": 65_536, "log_every": 1024}
PAPER = WIDE | {"depth": 28, "batch": 64} | LONG
ONE_NUMBER = ("supervised", "mixup", "pseudo-labels", "mean-teacher", "mixmatch", "fixmatch")
PARTS = ("mixmatch", "one-view", "no-sharpening", "no-mixup")
NUMBERS = ("supervised-fewest", "mixmatch-fewest", "supervised-many", "mixmatch-many")
LAPTOP = (*ONE_NUMBER, *PARTS[1:], *NUMBERS)
MATTERS = 0.01  # of test error: about twice the spread of MixMatch's own over seeds

STUDY = Study(
    name="mixmatch",
    question="How much do pictures without labels help where labels are few, and which part of MixMatch does it?",
    paper=Paper(
        "MixMatch: A Holistic Approach to Semi-Supervised Learning",
        "Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel",
        2019,
        "https://arxiv.org/abs/1905.02249",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("supervised", SUPERVISED, "labelled pictures alone"),
        Variant("mixup", {"method": "labels-only"}, "labelled pictures alone, mixed"),
        Variant("pseudo-labels", {"method": "pseudo-labels", "weight": 1.0}, "learns its own confident answers"),
        Variant("mean-teacher", {"method": "mean-teacher", "weight": 50.0}, "learns what its average says"),
        Variant("mixmatch", {}, "as in the paper"),
        Variant("fixmatch", FIXMATCH, "the later idea: confident answers, changed more"),
        Variant("one-view", {"views": 1}, "mixmatch whose guesses are of one view"),
        Variant("no-sharpening", {"temperature": 1.0}, "mixmatch with guesses as they are"),
        Variant("no-mixup", {"alpha": 0.0}, "mixmatch that mixes nothing"),
        Variant("supervised-fewest", SUPERVISED | FEWEST, "a sixth of the labels, rounded to whole pictures a class"),
        Variant("mixmatch-fewest", FEWEST),
        Variant("supervised-many", SUPERVISED | MANY, "five times the labels"),
        Variant("mixmatch-many", MANY),
        Variant("supervised-most", SUPERVISED | MOST, "sixteen times the labels"),
        Variant("mixmatch-most", MOST),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False, variants=LAPTOP),
        "laptop": Scale(
            {}, seeds=(5, 8, 12, 20), minutes=3, offline={"dataset": "digits", "examples": 120}, variants=LAPTOP
        ),
        "cifar": Scale(CIFAR, seeds=3, minutes=300, judges=False, variants=ONE_NUMBER),
        "paper": Scale(PAPER, seeds=5, minutes=90_000),
    },
    words={
        "test/error": "test error",
        "test/error-last": "test error of the last weights",
        "validation/error": "validation error",
        "train/labels": "labelled pictures",
    },
    idea=mixmatch_batch,
    claims={
        "with few labels MixMatch has a lower test error than training on the labelled pictures alone": lower(
            "mixmatch", "supervised", "table 5, fig. 2"
        ),
        "with few labels MixMatch has a lower test error than MixUp of the labelled pictures": lower(
            "mixmatch", "mixup", "table 5, fig. 2"
        ),
        "with few labels MixMatch has a lower test error than pseudo-labels": lower(
            "mixmatch", "pseudo-labels", "table 5, fig. 2"
        ),
        "with few labels MixMatch has a lower test error than a mean teacher": lower(
            "mixmatch", "mean-teacher", "table 5, fig. 2"
        ),
        "without MixUp MixMatch has a higher test error": higher(
            "no-mixup", "mixmatch", "table 4", paper=0.3911 - 0.1180
        ),
        "without sharpening MixMatch has a higher test error": higher(
            "no-sharpening", "mixmatch", "table 4", paper=0.2783 - 0.1180
        ),
        "with guesses of one view in place of two MixMatch has a higher test error": higher(
            "one-view", "mixmatch", "table 4", paper=0.1709 - 0.1180, matters=MATTERS
        ),
        "MixMatch's averaged weights have a lower test error than its last ones": lower(
            ("mixmatch", "test/error"), ("mixmatch", "test/error-last"), "sec. 4.1"
        ),
        "MixMatch has a lower test error than training on five times as many labelled pictures alone": lower(
            "mixmatch", "supervised-many", "beyond the paper", matters=MATTERS
        ),
        "MixMatch gains more points of test error with the fewest labels than with many": Claim(
            lambda m: (
                (m["supervised-fewest"]["test/error"] - m["mixmatch-fewest"]["test/error"])
                - (m["supervised-many"]["test/error"] - m["mixmatch-many"]["test/error"])
            ),
            above(0),
            "fig. 2",
            number="what MixMatch gains over supervised with the fewest labels, less what it gains with many",
        ),
        "with few labels FixMatch has a lower test error than MixMatch": lower(
            "fixmatch", "mixmatch", "Sohn et al. 2020 (arXiv:2001.07685), table 2", paper=0.0507 - 0.1105
        ),
    },
    charts=(
        bars(
            "test/error",
            by="method",
            key="method",
            title="Test error by method and number of labels",
            sections={"few labels": ONE_NUMBER, "the fewest": NUMBERS[:2], "many": NUMBERS[2:]},
        ),
        bars(
            "test/error",
            "test/error-last",
            sections={"few labels": PARTS},
            title="MixMatch without one of its parts: by averaged, by last weights",
        ),
        curves(
            "train/guess-error",
            title="How many guesses are wrong",
            variants=("pseudo-labels", "mean-teacher", "mixmatch", "fixmatch"),
        ),
    ),
    origin="C",
    precision="fp32",  # differences of probabilities, squared, are small: bf16 has three digits of them
)
