"""pirl: learn features without labels that stay as they are when a picture is cut up or turned.

The loss is lambda L(m_I, g(v_It)) + (1 - lambda) L(m_I, f(v_I)) (eq. 5). v_I are features of a picture, v_It those of
its transformed copy, f and g linear. m_I is the picture's row of a memory; L is low where it is told from other rows.
Tasks that name the transformation have features that change with it; here they must not.

    etudes run pirl                       3 minutes on two cores, 10 variants, 5 seeds (to 20 with --until decided)
    etudes run pirl --scale cifar-small   150 minutes on two cores, 10 variants, 5 seeds: CIFAR-10
    etudes run pirl --scale imagenette    150 minutes on two cores, 10 variants, 5 seeds: photos of ten classes
    etudes run pirl --scale cifar         900 minutes on a GPU, 10 variants, 3 seeds: CIFAR-10, ResNet-18
    etudes run pirl --scale paper         20000 minutes on a GPU, 10 variants, 3 seeds: ResNet-50, nine patches

To expect: the last block serves better after PIRL than after puzzles, most of all with few labels. From the last block
of a network that solves puzzles a probe reads better where a patch was. With turns it may be the other way round.

Departures from the paper at laptop scale: Fashion-MNIST at 16 pixels, 3,000 pictures, four convolutions, puzzles of 2x2
patches, a temperature of 0.2, hundreds of steps. Everywhere: ridge regression for probes, one set of negatives for a
batch, as many views a step for all pretexts; at scale `paper` Tiny ImageNet in place of ImageNet.
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
    difference,
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
    negatives: Annotated[int, at_least(1)] = 32_000  # pictures of the memory that a step compares with, if so many
    fewer: Annotated[int, at_least(1)] = 1  # by which their number is divided
    memory: Annotated[float, within(0, 1)] = 0.5  # share of its row that a picture keeps
    temperature: Annotated[float, positive] = 0.07  # of the losses that compare pictures
    grid: Annotated[int, at_least(2)] = 3  # cells of a puzzle along each side
    patch: Annotated[int, at_least(1)] = 64  # pixels of a side of its patches
    gap: Annotated[int, at_least(0)] = 0  # least pixels between two of them
    orders: Annotated[int, at_least(2)] = 2000  # that are told apart where the order is predicted
    smallest_crop: Annotated[float, within(0, 1)] = 0.2  # least share of a picture's area in a view
    network: Literal["small", "resnet18", "resnet50"] = "small"  # four convolutions, or a ResNet in four blocks
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


BEST, LAST, FEW = "test/error-probe", "test/error-block4", "test/few-probe"
TURN, CELL = "test/turn-error-block4", "test/cell-error-block4"
SAME_TURNED, SAME_CUT = "test/turn-invariance-block4", "test/patch-invariance-block4"


MATTERS = 0.01  # of test error: a point


def deeper(trial: Trial) -> float:
    """By how much more PIRL errs less than the task of ordering patches on the last block than on the second."""
    gains = [difference("jigsaw", "pirl-jigsaw", of=f"test/error-block{block}")(trial) for block in (4, 2)]
    return gains[0] - gains[1]


LAPTOP: dict[str, Any] = {"dataset": "fashion-mnist", "side": 16, "examples": 400, "held_out": 1000, "tested": 4000,
                          "size": 64, "negatives": 1000, "steps": 300, "batch": 64, "lr": 0.1, "temperature": 0.2,
                          "log_every": 50, "grid": 2, "patch": 6, "gap": 1, "orders": 24, "looked": 300}  # fmt: skip
OFFLINE = {"dataset": "digits", "side": 12, "examples": 120, "held_out": 200, "patch": 5}
SMOKE = LAPTOP | OFFLINE | {"examples": 40, "held_out": 100, "tested": 120, "width": 4, "size": 8, "steps": 2,
                            "batch": 16, "looked": 20, "draws": 1, "neighbours": 5, "few": 3}  # fmt: skip
COLOUR = LAPTOP | {"dataset": "cifar10", "side": 24, "patch": 10, "examples": 1000, "width": 32, "steps": 3000,
                   "batch": 128, "looked": 500}  # fmt: skip
CIFAR = {"network": "resnet18", "steps": 35_000, "batch": 512, "lr": 0.12, "log_every": 100, "grid": 2, "patch": 14,
         "gap": 1, "orders": 24, "negatives": 4096, "looked": 2000, "temperature": 0.2}  # fmt: skip
PAPER = {"dataset": "tiny-imagenet", "network": "resnet50", "steps": 300_000, "batch": 512, "lr": 0.03, "gap": 1,
         "patch": 16, "log_every": 100, "looked": 2000}  # fmt: skip

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
        Variant("jigsaw", {"pretext": "predict"}, "the order of patches is named"),
        Variant("pirl-jigsaw", {}, "pictures like their shuffled patches"),
        Variant("rotnet", {"pretext": "predict", "transform": "rotation"}, "the turn is named"),
        Variant("pirl-rotation", {"transform": "rotation"}, "pictures like their turned copies"),
        Variant("pictures-alone", {"mix": 0.0}, "lambda = 0: no patches"),
        Variant("patches-alone", {"mix": 1.0}, "lambda = 1: no loss of whole pictures"),
        Variant("few-negatives", {"fewer": 100}, "a hundredth of the negatives of `pirl-jigsaw`"),
        Variant("simclr", {"pretext": "simclr"}, "two views of a picture alike, without a memory"),
        Variant("supervised", {"pretext": "classes"}, "all labels"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE),
        "cifar-small": Scale(COLOUR, seeds=5, minutes=150),
        "imagenette": Scale(COLOUR | {"dataset": "imagenette", "examples": 0}, seeds=5, minutes=150),
        "cifar": Scale(CIFAR, seeds=3, minutes=900),
        "paper": Scale(PAPER, seeds=3, minutes=20_000),
    },
    words={
        LAST: "test error of a probe on the last block",
        BEST: "test error of a probe on the best block",
        FEW: "test error of a probe with few labels, best block",
        "test/error-neighbours": "test error of the nearest neighbours",
        SAME_CUT: "invariance to cutting, last block",
        SAME_TURNED: "invariance to turning, last block",
        CELL: "error in telling a patch's cell, last block",
        TURN: "error in telling the turn, last block",
    },
    idea=pirl_loss,
    claims={
        "a linear probe errs less on the last block of a network that learnt invariance to puzzles than of one that "
        "learnt to solve them": lower("pirl-jigsaw", "jigsaw", "table 1", of=LAST, paper=0.457 - 0.636),
        "a linear probe errs less on the last block of a network that learnt invariance to turns than of one that "
        "learnt to name them": lower("pirl-rotation", "rotnet", "sec. 4.3", of=LAST),
        "what a probe gains if puzzles are ignored in place of solved is more on the last block than on the second": (
            Claim(deeper, above(0), "sec. 4.1, fig. 5", number="what pirl-jigsaw errs less: block 4 minus block 2")
        ),
        "cutting a picture changes the last block's features less after invariance to puzzles than after solving "
        "them": higher("pirl-jigsaw", "jigsaw", "sec. 4.1, fig. 4", of=SAME_CUT),
        "turning a picture changes the last block's features less after invariance to turns than after naming "
        "them": higher("pirl-rotation", "rotnet", "sec. 4.1", of=SAME_TURNED),
        "a linear probe on the last block tells the cell of a patch worse after invariance to puzzles than after "
        "solving them": higher("pirl-jigsaw", "jigsaw", "sec. 1", of=CELL),
        "with lambda = 0.5 a linear probe errs less on the last block than with lambda = 0": lower(
            "pirl-jigsaw", "pictures-alone", "sec. 4.2", of=LAST, matters=MATTERS
        ),
        "with lambda = 0.5 a linear probe errs less on the last block than with lambda = 1": lower(
            "pirl-jigsaw", "patches-alone", "sec. 4.2", of=LAST, matters=MATTERS
        ),
        "with a hundred times the negatives a linear probe errs less on the last block": lower(
            "pirl-jigsaw", "few-negatives", "sec. 4.2", of=LAST, matters=MATTERS
        ),
        "a linear probe errs less on the last block of PIRL than of SimCLR that saw as many views": lower(
            "pirl-jigsaw", "simclr", "beyond the paper", of=LAST, matters=MATTERS
        ),
        "with few labels a linear probe errs less on the best block of PIRL than on that of first weights": lower(
            "pirl-jigsaw", "random", "sec. 3.3", of=FEW
        ),
    },
    charts=(
        bars(LAST, FEW, title="Test errors of linear probes"),
        curves(
            "probe-error",
            "probe-error-with-few-labels",
            "neighbours-error",
            title="What each block knows of classes",
            variants=("random", "jigsaw", "pirl-jigsaw", "rotnet", "pirl-rotation", "simclr"),
            step="block",
        ),
        curves(
            "invariance-to-cutting",
            "error-in-telling-the-cell",
            "invariance-to-turning",
            "error-in-telling-the-turn",
            title="What each block knows of cutting and turning",
            variants=("random", "jigsaw", "pirl-jigsaw", "rotnet", "pirl-rotation", "simclr"),
            step="block",
        ),
        plane((SAME_CUT, LAST), title="Invariance to cutting, and test error"),
    ),
    origin="C",
    precision="fp32",
)
