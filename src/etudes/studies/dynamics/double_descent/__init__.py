"""double-descent: with wrong labels the test error falls with width, rises to a peak, and falls again.

The peak stands where a network can just fit all of its training examples, wrong labels included. For least squares
with p features and n examples the theory is exact: the variance is that of the noise times g / (1 - g) where g = p / n
is below 1, and times 1 / (g - 1) above, without bound at p = n. The best penalty on the weights leaves no peak.

    etudes run double-descent                    3 minutes on two cores, 11 variants, 5 seeds (to 20)
    etudes run double-descent --scale cifar      5-layer CNNs on 4,000 pictures of CIFAR-10, 1 seed: 1 hour
    etudes run double-descent --scale paper      ResNet-18s of width 1 to 64, 4,000 epochs, 3 seeds: weeks on a GPU

To expect at laptop scale: a peak under label noise at the width whose training error has just become 0, and none
without noise, with early stopping or with the best penalty.

Departures from the papers at laptop scale: one hidden layer on 800 digits for convolutional networks on CIFAR-10, all
pictures in every step of Adam. Each seed has two draws of pictures, labels and weights; dip and peak of one are where
the validation errors of the other have them.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Claim, Paper, Run, Scale, Study, Variant
from etudes.core.claims import at_least, between, higher, lower, within
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.double_descent.networks import Kind
from etudes.studies.dynamics.double_descent.regression import regress_numbers, regress_pictures
from etudes.studies.dynamics.double_descent.theory import expected_error
from etudes.studies.dynamics.double_descent.training import train_networks
from etudes.train import Adam


@dataclass(frozen=True)
class Config(Adam):
    model: Literal["network", "random-features", "least-squares"] = "network"  # what is fitted
    network: Kind = "mlp"  # one hidden layer; or the paper's networks
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(10)] = 800  # training pictures of a network, before `multiple`
    multiple: Annotated[float, at_least(0.1)] = 1.0  # of the number of examples
    validation: Annotated[int, at_least(10)] = 400  # training pictures held out for validation
    draws: Annotated[int, at_least(1)] = 2  # of pictures, labels and first weights under each seed
    noise: Annotated[float, within(0, 1)] = 0.0  # share of training labels that are wrong
    widths: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 20, 32, 128)  # hidden units, or channels of the stem
    around: tuple[int, ...] = (10, 12, 14, 16, 20)  # widths around the peak, at which numbers of examples are compared
    dropout: Annotated[float, within(0, 0.95)] = 0.0  # share of hidden units left out of a step
    weight_decay: Annotated[float, at_least(0)] = 0.0  # L2 penalty on all weights of a network
    steps: Annotated[int, at_least(1)] = 500  # optimiser steps
    batch: Annotated[int, at_least(0)] = 0  # examples a step; 0: all
    lr: Annotated[float, at_least(0)] = 0.01  # learning rate of Adam
    schedule: Literal["constant", "cosine"] = "constant"  # learning rate over the steps
    eval_every: Annotated[int, at_least(1)] = 25  # steps between two looks at the errors
    regression_examples: Annotated[int, at_least(10)] = 200  # examples of a regression, before `multiple`
    features: tuple[float, ...] = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)  # an example
    regression_draws: Annotated[int, at_least(1)] = 4  # of the examples of a regression under each seed
    ridge: bool = False  # whether a regression has its best penalty
    answer_noise: Annotated[float, at_least(0)] = (
        0.5  # standard deviation of the noise of drawn answers, whose signal has 1
    )


def study(cfg: Config, run: Run) -> None:
    if cfg.model == "network":
        train_networks(cfg, run)
    elif cfg.model == "random-features":
        regress_pictures(cfg, run)
    else:
        regress_numbers(cfg, run)


NOISY = {"noise": 0.2}
FEATURES = NOISY | {"model": "random-features"}
NUMBERS = {"model": "least-squares"}
NETWORKS = ("noise-0", "noise-10", "noise-20", "half", "weight-decay", "dropout")
NAKKIRAN = "Nakkiran et al. 2019"
WIDTH = "hidden units"
OPTIMAL = "Nakkiran et al. 2020 (arXiv:2003.01897)"
SMALL = {"examples": 40, "validation": 40, "widths": (1, 2, 5), "around": (2, 5), "steps": 10, "eval_every": 2}
FEW = {"regression_examples": 20, "features": (0.2, 1.0, 2.0, 3.0), "regression_draws": 2}
CIFAR = {"dataset": "cifar10", "network": "cnn", "examples": 4000, "validation": 1000, "draws": 1, "batch": 128}
SOME = {"widths": (1, 2, 3, 4, 6, 8, 12), "around": (3, 4, 6), "steps": 3000, "eval_every": 250, "lr": 1e-3}
PAPER = CIFAR | {"network": "resnet", "examples": 45_000, "validation": 5000, "lr": 1e-4}
ALL = {"widths": (1, 2, 4, 6, 8, 10, 12, 16, 20, 32, 48, 64), "around": (10, 12, 16)}
LONG = {"steps": 1_408_000, "eval_every": 3520}  # 4,000 epochs, of which every tenth ends in a look

STUDY = Study(
    name="double-descent",
    question="Does the test error of ever wider networks fall, rise and fall again, and what removes the peak?",
    paper=Paper(
        "Deep Double Descent: Where Bigger Models and More Data Hurt",
        "Nakkiran, Kaplun, Bansal, Yang, Barak, Sutskever",
        2019,
        "https://arxiv.org/abs/1912.02292",
    ),
    config=Config,
    program=study,
    precision="fp32",
    variants=(
        Variant("noise-20", NOISY, "20 % of the training labels are wrong"),
        Variant("noise-10", {"noise": 0.1}, "10 % are"),
        Variant("noise-0", {"noise": 0.0}, "none is"),
        Variant("half", NOISY | {"multiple": 0.5}, "as noise-20, with half as many training pictures"),
        Variant("weight-decay", NOISY | {"weight_decay": 0.01}, "as noise-20, with a penalty on the squared weights"),
        Variant("dropout", NOISY | {"dropout": 0.5}, "as noise-20, with a share of units left out of every step"),
        Variant("features", FEATURES, "least squares on random features, 20 % wrong labels"),
        Variant("features-double", FEATURES | {"multiple": 2.0}, "with twice as many training pictures"),
        Variant("features-ridge", FEATURES | {"ridge": True}, "with the penalty that validation pictures prefer"),
        Variant("least-squares", NUMBERS, "drawn numbers, for which the error is known exactly"),
        Variant("least-squares-ridge", NUMBERS | {"ridge": True}, "with the best penalty, which is known too"),
    ),
    scales={
        "smoke": Scale(SMALL | FEW, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3),
        "cifar": Scale(
            CIFAR | SOME,
            seeds=1,
            minutes=60,
            judges=False,
            threads=2,
            variants=("noise-20", "noise-0"),
            offline={"dataset": "digits", "examples": 800, "validation": 400},
        ),
        "paper": Scale(PAPER | ALL | LONG, seeds=3, minutes=40_000, variants=NETWORKS),
    },
    claims={
        "with 20 % wrong labels the test error of networks rises with their width before it falls again": between(
            "noise-20", 0, math.inf, f"{NAKKIRAN}, fig. 1 and 4", of="test/rise"
        ),
        "the test error is highest at the width at which the training error has just reached zero, within a factor of "
        "1.5": Claim(
            lambda trial: trial["noise-20"]["test/peak-over-threshold"],
            within(1 / 1.5, 1.5),
            f"{NAKKIRAN}, hypothesis 1 and fig. 4",
            paper=1.0,
            number="width at the peak over the least width without training error",
            kind="ratio",
        ),
        "with 20 % wrong labels the test error rises higher than with 10 %": higher(
            "noise-20", "noise-10", f"{NAKKIRAN}, fig. 4", of="test/rise", matters=0.02
        ),
        "with 20 % wrong labels the widest network has a lower test error than the best one before the peak": lower(
            ("noise-20", "test/error-widest"), ("noise-20", "test/error-dip"), f"{NAKKIRAN}, fig. 4", matters=0.02
        ),
        "at widths around the peak half as many examples give a lower test error": lower(
            "half", "noise-20", f"{NAKKIRAN}, sec. 7", of="test/error-around", matters=0.02
        ),
        "a wide network's test error rises during training and then falls again": between(
            "noise-20", 0, math.inf, f"{NAKKIRAN}, sec. 6", of="test/fall-in-time", matters=0.02
        ),
        "where each network is stopped at its least validation error the test error rises with width by less than "
        "0.02": between("noise-20", -math.inf, 0.02, f"{NAKKIRAN}, sec. 6", of="test/rise-stopped"),
        "with the best weight decay the test error of networks rises with their width by less than 0.02": between(
            "weight-decay", -math.inf, 0.02, OPTIMAL, of="test/rise"
        ),
        "with dropout the test error rises with width by less than without": lower(
            "dropout", "noise-20", "no paper", of="test/rise"
        ),
        "with the best penalty the test error of random features rises with their number by less than 0.02": between(
            "features-ridge", -math.inf, 0.02, OPTIMAL, of="test/rise"
        ),
        "on random features least squares has a higher test error with twice as many examples, where these are as many "
        "as the features": higher(
            "features-double", "features", f"{NAKKIRAN}, sec. 7", of="test/error-around", matters=0.02
        ),
    },
    words={
        "test/rise": "rise of the test error from dip to peak",
        "test/error-peak": "test error at the peak",
        "test/error-dip": "test error at the dip before it",
        "test/error-widest": "test error of the widest",
        "test/rise-stopped": "rise where each is stopped early",
        "test/fall-in-time": "fall of the widest's test error from its peak in time",
        "test/peak-over-threshold": "width at the peak over the least that fits",
        "test/error-around": "test error around the peak",
    },
    idea=expected_error,
    charts=(
        curves(
            "test/error",
            title="Test error by width, for three shares of wrong labels",
            variants=("noise-0", "noise-10", "noise-20"),
            step=WIDTH,
            log_step=True,
        ),
        curves(
            "test/error",
            "train/error",
            title="Test error and training error by width",
            variants=("noise-20", "half"),
            step=WIDTH,
            log_step=True,
        ),
        curves(
            "test/error",
            "test/error-stopped-early",
            title="Test error by width: with weight decay, with dropout, stopped early",
            variants=("noise-20", "weight-decay", "dropout"),
            step=WIDTH,
            log_step=True,
        ),
        curves(
            "test/error",
            title="Test error by the number of random features, for 200 and 400 pictures",
            variants=("features", "features-double", "features-ridge"),
            step="random features",
            log_step=True,
        ),
        curves(
            "test/squared-error",
            "test/theory",
            title="Least squares on drawn numbers, beside the exact theory",
            variants=("least-squares", "least-squares-ridge"),
            facet=True,
            step="features that are seen, of 1,000",
            log_step=True,
            says="200 examples; at as many features the exact error has no bound, and is left out.",
        ),
        curves(
            "test/error-widest",
            title="The widest network during training",
            variants=("noise-0", "noise-10", "noise-20"),
        ),
        bars(
            "test/rise",
            "test/error-widest",
            title="How far the test error rises with width, and where it ends",
            sections={"networks": NETWORKS},
        ),
    ),
    origin="D5",
)
