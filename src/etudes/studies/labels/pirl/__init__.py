"""pirl: learn features without labels that are the same before and after a picture is cut up or turned.

The loss is weight L(m_I, g(v_It)) + (1 - weight) L(m_I, f(v_I)) (eq. 5), where v are features of a picture I and of its
transformed copy I^t, f and g linear, m_I the memory's row of the picture, and L tells m_I from rows of other pictures.

    etudes run pirl                  5 minutes on two cores, 10 variants, 5 seeds (to 20 with --until decided)
    etudes run pirl --scale paper    6000 minutes on a GPU, 10 variants, 3 seeds: the paper's network and length

To expect: 

Departures from the paper at laptop scale:
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.claims import Trial
from etudes.measure.size import count_parameters
from etudes.reports.charts import bars, curves, plane
from etudes.studies.labels.pirl.findings import measure_blocks
from etudes.studies.labels.pirl.idea import pirl_loss
from etudes.studies.labels.pirl.training import pictures_of, pretrain
from etudes.train import PictureRecipe


@dataclass(frozen=True)
class Config(PictureRecipe):
    pretext: Literal["pirl", "predict", "simclr", "classes", "none"] = "pirl"  # what is learnt; classes: from labels
    transform: Literal["jigsaw", "rotation"] = "jigsaw"  # to which features are invariant, or which is predicted
    mix: Annotated[float, within(0, 1)] = 0.5  # lambda: weight of the loss of transformed pictures
    negatives: Annotated[int, at_least(1)] = 32_000  # pictures of the memory that a step compares with
    fewer: Annotated[int, at_least(1)] = 1  # by which their number is divided
    memory: Annotated[float, within(0, 1)] = 0.5  # share of its row that a picture keeps
    temperature: Annotated[float, positive] = 0.07  # of the losses that compare pictures
    grid: Annotated[int, at_least(2)] = 3  # cells of a puzzle along each side
    patch: Annotated[int, at_least(1)] = 64  # pixels of a side of its patches
    gap: Annotated[int, at_least(0)] = 0  # least pixels between two of them
    orders: Annotated[int, at_least(2)] = 2000  # that are told apart where the order is predicted
    smallest_crop: Annotated[float, within(0, 1)] = 0.2  # least share of a picture's area in a view
    network: Literal["small", "resnet50"] = "small"  # four convolutions, or ResNet-50 in four blocks
    width: Annotated[int, at_least(1)] = 16  # channels of the small network's first block; the last has four times them
    size: Annotated[int, at_least(2)] = 128  # numbers of a representation in the memory
    few: Annotated[int, at_least(1)] = 20  # labelled pictures a class in the probes with few labels
    draws: Annotated[int, at_least(1)] = 3  # sets of labelled pictures that such a probe averages
    penalty: Annotated[float, positive] = 0.1  # of the probes, on squared weights of standardised features
    neighbours: Annotated[int, at_least(1)] = 20  # k of the nearest neighbours that vote
    looked: Annotated[int, at_least(2)] = 500  # pictures whose features are compared before and after
    held_out: Annotated[int, at_least(1)] = 5000  # training pictures for validation
    tested: Annotated[int, at_least(0)] = 0  # test pictures that are looked at; 0: all


def train(cfg: Config, run: Run) -> None:
    p = pictures_of(cfg, run)
    model = pretrain(cfg, run, p.d)
    run.result(parameters=count_parameters(model), **measure_blocks(cfg, run, p, model))


LAPTOP: dict[str, Any] = {"dataset": "cifar10", "side": 20, "examples": 300, "held_out": 1000, "tested": 5000, "width": 16, "size": 64,
                          "steps": 250, "batch": 96, "lr": 0.1, "log_every": 50, "grid": 2, "patch": 8, "gap": 1, "orders": 24, "negatives": 1000}  # fmt: skip
OFFLINE = {"dataset": "digits", "side": 12, "examples": 120, "held_out": 200, "patch": 5, "negatives": 200}
SMOKE = LAPTOP | OFFLINE | {"examples": 40, "held_out": 100, "tested": 120, "width": 4, "size": 8, "steps": 2, "batch": 16,
                   "looked": 20, "draws": 1, "neighbours": 5, "few": 3, "negatives": 50}  # fmt: skip

STUDY = Study(
    name="pirl",
    question="Are features better that ignore how a picture was transformed than features that tell it?",
    paper=Paper(
        "Self-Supervised Learning of Pretext-Invariant Representations",
        "Misra, van der Maaten",
        2020,
        "https://arxiv.org/abs/1912.01991",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("random", {"pretext": "none"}, "first weights: nothing is learnt"),
        Variant("pirl-jigsaw", {}, "pictures like their shuffled patches"),
        Variant("jigsaw", {"pretext": "predict"}, "the order of patches is named"),
        Variant("pirl-rotation", {"transform": "rotation"}, "pictures like their turned copies"),
        Variant("rotnet", {"pretext": "predict", "transform": "rotation"}, "the turn is named"),
        Variant("pictures-alone", {"mix": 0.0}, "lambda = 0: pictures like themselves"),
        Variant("patches-alone", {"mix": 1.0}, "lambda = 1: patches alone are compared with the memory"),
        Variant("few-negatives", {"fewer": 100}, "as `pirl-jigsaw`"),
        Variant("simclr", {"pretext": "simclr"}, "two views of a picture alike, without a memory"),
        Variant("supervised", {"pretext": "classes"}, "all labels"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=OFFLINE),
    },
    claims={
        "x": lower("pirl-jigsaw", "jigsaw", "x", of="test/error-probe"),
    },
    charts=(bars("test/error-probe"),),
    origin="C",
    precision="fp32",
)
