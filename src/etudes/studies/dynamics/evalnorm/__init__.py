"""evalnorm: evaluate batch normalisation with the statistics that its small training batches would have had.

Trained in batches of B pictures, a picture is normalised by a mean and a variance that it has a share of 1 / B in. The
running averages m and v, by which it is usually evaluated, have none of it. EvalNorm adds the picture's own mean m_i
and variance s_i^2, with nothing trained anew:

    m <- a m + (1 - a) m_i,    v <- b v + (1 - b) s_i^2 + a (1 - a) (m - m_i)^2,    a = b = (B - 1) / B,

or a and b, for each layer, such that its outputs are nearest to those in training. Derived in `idea.py`.

    etudes run evalnorm                   2 minutes on two cores, 8 variants, 5 seeds
    etudes run evalnorm --scale small     2 minutes, 3 variants, 1 seed: true batches of 2 in place of groups
    etudes run evalnorm --scale cifar10   10 minutes, 8 variants, 5 seeds: CIFAR-10 pictures, four times the steps
    etudes run evalnorm --scale paper     12000 minutes on a GPU, 5 variants, 1 seed: ResNet-50 on ImageNet

`--until decided` goes on to 20 seeds. To expect: with one picture in a batch the usual way fails and EvalNorm regains
all; with two it gains little, and much where test pictures have less contrast than those of training.

Departures from the paper: small pictures and five convolutions; every step has 64 pictures, normalised in groups of B,
so that steps and gradients are alike for all B. We had the paper's abstract and reviews, not its text: the equations
are derived, the learnt weights are fitted after training, and what they minimise is our reading.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Trial,
    Variant,
    above,
    alike,
    at_least,
    below,
    higher,
    lower,
    positive,
    within,
)
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.reports.charts import against, bars
from etudes.studies.dynamics.evalnorm.findings import measure
from etudes.studies.dynamics.evalnorm.idea import statistics
from etudes.studies.dynamics.evalnorm.networks import network
from etudes.train import PictureRecipe, descend, fitted, opened, seeded, sgd, shown, weights


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    held_out: Annotated[int, at_least(1)] = 500  # training pictures that are kept for validation
    tested: Annotated[int, at_least(64)] = 2048  # test pictures, drawn by the seed; a multiple of every group
    network: Literal["chain", "resnet50"] = "chain"  # five convolutions, or ResNet-50
    width: Annotated[int, at_least(1)] = 8  # channels of the chain's first convolution
    norm: Literal["batch", "renorm", "group"] = "batch"  # batch (re)normalisation, or group normalisation
    group: Annotated[int, at_least(1)] = 64  # B, pictures that share their statistics in training
    channel_groups: Annotated[int, at_least(1)] = 4  # of group normalisation
    averaging: Annotated[float, within(0, 1)] = 0.1  # weight of a step in the running statistics
    looked_at: Annotated[int, at_least(1)] = 512  # training pictures to recalibrate and to learn alpha and beta from
    contrast: Annotated[float, positive] = 0.75  # of the faded test pictures; 1: as they are


def train(cfg: Config, run: Run) -> None:
    for name, n in (("batch", cfg.batch), ("tested", cfg.tested), ("looked_at", cfg.looked_at)):
        if n % cfg.group:
            raise Problem(f"evalnorm: {name} is {n}, which does not fall into groups of {cfg.group}; take a multiple")
    d, _ = opened(cfg, run)
    order = torch.from_numpy(run.rng("held out").permutation(len(d.x))).to(d.x.device)
    held = d.x[order[: cfg.held_out]], d.y[order[: cfg.held_out]]
    d = d.take(order[cfg.held_out :])
    model = seeded(run, "init", lambda: network(cfg, d)).to(
        memory_format=torch.contiguous_format
    )  # groups need no copy
    opt, schedule = sgd(model, cfg)
    pictures = shown(cfg, run, d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        loss = cross_entropy(model(x.contiguous()), one_hot(d.y[rows], d.classes))
        return {"train/loss": descend(loss, opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    run.result(**fitted(run, cfg, parts, step, lambda: measure(cfg, run, model, d, held)))
    weights.save(run.path("model.safetensors"), model)


def nearness(trial: Trial) -> float:
    """How far EvalNorm's answers are from those in training mode, over how far the usual ones are."""
    return trial["bn-2"]["test/divergence-evalnorm"] / trial["bn-2"]["test/divergence"]


def faded_gain(trial: Trial) -> float:
    """How much more of the error EvalNorm saves on faded pictures than on plain ones."""
    bn = trial["bn-2"]
    return bn[FADED] - bn["test/error-faded-evalnorm"] - (bn[ERROR] - bn[EVALNORM])


LAPTOP = {"side": 14, "examples": 350, "batch": 64, "steps": 300, "weight_decay": 5e-4}
TINY = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 50, "steps": 4, "width": 4}
FEW = {"tested": 64, "looked_at": 64}
SMALL = {"batch": 2, "lr": 0.1 / 32, "steps": 300 * 32, "averaging": 0.1 / 32, "log_every": 100}
CIFAR = {"dataset": "cifar10", "side": 16, "examples": 0, "width": 16, "steps": 1200, "log_every": 20}
RESNET = {"dataset": "ILSVRC/imagenet-1k", "side": 224, "network": "resnet50", "channel_groups": 32, "batch": 64}
LONG = {"steps": 1_800_000, "lr": 0.025, "schedule": "decay", "augment": True, "log_every": 100}
PAPER = RESNET | LONG | {"held_out": 10_000, "tested": 49_984}
OFFLINE = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 200, "tested": 320}
SIZES = (1, 2, 4, 8, 16, 64)
ERROR, EVALNORM, LEARNT = "test/error", "test/error-evalnorm", "test/error-learnt"
RECALIBRATED, BATCH, FADED = "test/error-recalibrated", "test/error-batch", "test/error-faded"
MATTERS = 0.01  # of an error: a sixth of what the paper gains with two pictures

STUDY = Study(
    name="evalnorm",
    question="Does a test picture's own mean and variance repair batch normalisation that learnt from tiny batches?",
    paper=Paper(
        "EvalNorm: Estimating Batch Normalization Statistics for Evaluation",
        "Singh, Shrivastava",
        2019,
        "https://arxiv.org/abs/1904.06031",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        *(Variant(f"bn-{size}", {"group": size}, f"statistics of {size} picture{'s' * (size > 1)}") for size in SIZES),
        Variant("renorm-2", {"norm": "renorm", "group": 2}, "batch renormalisation, statistics of 2 pictures"),
        Variant("gn", {"norm": "group"}, "group normalisation: no statistics of other pictures"),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY | FEW, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=2, offline=OFFLINE),
        "small": Scale(LAPTOP | SMALL, seeds=1, minutes=2, judges=False, variants=("bn-2", "renorm-2", "gn")),
        "cifar10": Scale(LAPTOP | CIFAR, seeds=5, minutes=10, offline=OFFLINE),
        "paper": Scale(
            PAPER,
            seeds=1,
            minutes=12_000,
            judges=False,
            variants=("bn-2", "bn-4", "bn-64", "renorm-2", "gn"),
            offline={"dataset": "digits", "side": 32, "held_out": 200, "tested": 320},
        ),
    },
    words={
        ERROR: "test error as usual",
        EVALNORM: "with EvalNorm",
        LEARNT: "with learnt EvalNorm",
        RECALIBRATED: "with recalibrated statistics",
        BATCH: "with true batches",
        FADED: "faded pictures, as usual",
        "test/error-faded-evalnorm": "faded pictures, with EvalNorm",
        "test/error-no-cross": "without the cross term",
    },
    idea=statistics,
    claims={
        "trained with two pictures a batch a network, as usually evaluated, errs more than with 64": higher(
            "bn-2", "bn-64", "abstract", matters=MATTERS
        ),
        "trained with one picture a batch a network errs less with EvalNorm than as usually evaluated": lower(
            ("bn-1", EVALNORM), ("bn-1", ERROR), "abstract"
        ),
        "trained with two pictures a batch a network errs less with EvalNorm than as usually evaluated": lower(
            ("bn-2", EVALNORM), ("bn-2", ERROR), "abstract, ImageNet", paper=-0.0618, matters=MATTERS
        ),
        "trained with 64 pictures a batch a network errs alike with EvalNorm and as usually evaluated": alike(
            ("bn-64", EVALNORM), ("bn-64", ERROR), MATTERS, "abstract; fig. 1a"
        ),
        "trained with two pictures a batch a network with EvalNorm errs as one with 64, usually evaluated, does": alike(
            ("bn-2", EVALNORM), ("bn-64", ERROR), MATTERS, "what EvalNorm is to regain"
        ),
        "trained with two pictures a batch a network errs less with learnt EvalNorm than with the rule of thumb": lower(
            ("bn-2", LEARNT), ("bn-2", EVALNORM), "introduction, both ways", matters=MATTERS
        ),
        "trained with one picture a batch a network errs less with EvalNorm than with recalibrated statistics": lower(
            ("bn-1", EVALNORM), ("bn-1", RECALIBRATED), "beyond the paper"
        ),
        "trained with two pictures a batch a network answers more as in training with EvalNorm than usually": Claim(
            nearness,
            below(1),
            "introduction, fig. 1",
            number="divergence from training mode with EvalNorm over that as usual",
            kind="ratio",
            matters=0.1,
        ),
        "trained with two pictures a batch a network errs less with true batches than as usually evaluated": lower(
            ("bn-2", BATCH), ("bn-2", ERROR), "beyond the paper", matters=MATTERS
        ),
        "with two pictures a batch, batch renormalisation errs less than batch normalisation usually evaluated": lower(
            "renorm-2", "bn-2", "Ioffe 2017 (arXiv:1702.03275), abstract"
        ),
        "trained with two pictures a batch a network gains more by EvalNorm on faded pictures than on plain": Claim(
            faded_gain,
            above(0),
            "beyond the paper",
            number="error saved by EvalNorm on faded pictures minus that on plain ones, of bn-2",
        ),
    },
    charts=(
        against(
            "group",
            ERROR,
            EVALNORM,
            RECALIBRATED,
            BATCH,
            together="test error",
            x="pictures that shared their statistics in training, B",
            title="Test error by size of training batches, evaluated in four ways",
        ),
        against(
            "group",
            FADED,
            "test/error-faded-evalnorm",
            together="test error",
            x="pictures that shared their statistics in training, B",
            title="The same of test pictures with less contrast than in training",
        ),
        bars(ERROR, FADED, title="Test error as usually evaluated, of each normalisation"),
        bars(
            "test/error-mean",
            "test/error-variance",
            "test/error-no-cross",
            title="Parts of EvalNorm: mean alone, variance alone, no cross term",
        ),
        bars("train/alpha", "train/beta", title="Learnt weights of the running mean and variance, mean over layers"),
    ),
    origin="C",
)
