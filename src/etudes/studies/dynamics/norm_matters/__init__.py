"""norm-matters: batch normalisation makes the length of weights a learning rate, and weight decay its schedule.

Behind a convolution with weights w batch normalisation undoes their length: outputs depend on w / |w| alone. A step of
SGD turns that direction by about eta / |w|^2, the effective rate, and weight decay, which shrinks w, raises it. Then
without decay the corrected rate of each channel

    eta_hat = eta |w|^2 / |w_decay|^2

gives the decayed run, whose lengths |w_decay| at each step were written down (`idea.py`); so does a constant rate with
scheduled lengths. And as only the direction counts, other norms than L2 can normalise: L1, the mean of the ten largest.

    etudes run norm-matters                   4 minutes on two cores, 19 variants, 5 seeds
    etudes run norm-matters --scale cifar10   30 minutes, 19 variants, 5 seeds: CIFAR-10, more steps and channels
    etudes run norm-matters --scale paper     900 minutes on a GPU, 6 variants, 1 seed: VGG-11 on CIFAR-10

`--until decided` goes on to 20 seeds. To expect: the corrected run stays as near to the decayed one as a twin of it
from nearly the same first weights; L1 and L2 err alike, and in half precision L2 fails on large weights.

Departures from the paper: four layers of small pictures at laptop scale, with stronger decay over fewer steps; half
precision is simulated by rounding in normalisation alone; its ImageNet networks are not here.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import (
    Claim,
    Paper,
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
)
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.norm_matters.idea import Kind, correct_step
from etudes.studies.dynamics.norm_matters.networks import VGG11
from etudes.studies.dynamics.norm_matters.training import (
    Examples,
    copy,
    curve_distance,
    decayed_run,
    learn,
    logged,
    reference_config,
)
from etudes.train import PictureRecipe


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    held_out: Annotated[int, at_least(1)] = 500  # training pictures that are kept for validation
    tested: Annotated[int, at_least(1)] = 3000  # test pictures, drawn by the seed; at most as many as there are
    plan: tuple[int, ...] = (8, 0, 16, 16, 0, 32)  # channels of the convolutions in order; 0: a 2x2 max-pool
    norm: Kind = "l2"  # norm by which batch normalisation measures a deviation
    k: Annotated[int, at_least(1)] = 10  # largest magnitudes that norm "top" averages
    half: bool = False  # whether normalisation rounds its numbers to half precision
    weights: Literal["plain", "norm", "bounded"] = "plain"  # weight normalisation in place of batch normalisation
    weight_scale: Annotated[float, positive] = 1.0  # of first weights, with rates that make up for it
    optimiser: Literal["sgd", "adamw"] = "sgd"  # of all weights
    adam_lr: Annotated[float, positive] = 0.003  # peak learning rate of AdamW
    adam_decay: Annotated[float, at_least(0)] = 3.0  # of AdamW: the share of weights that a step takes, over its rate
    last_decay: Annotated[float, at_least(0)] = 5e-4  # weight decay of the dense layer, in all variants
    decayed: Literal["all", "weights", "last"] = "weights"  # also scales and shifts; weights; the dense layer's alone
    mimic: Literal["none", "rates", "rates-linear", "norms"] = "none"  # what is set by norms of the decayed run
    jitter: Annotated[float, at_least(0)] = 0.0  # relative noise on the convolutions' first weights
    compared: bool = False  # whether the training curve is compared with that of the decayed run


def act(cfg: Config, run: Run) -> None:
    e = Examples(cfg, run)
    if not cfg.compared:
        learn(cfg, run, e)
        return
    record, norms = decayed_run(cfg, run, e)
    if cfg == reference_config(cfg):
        copy(run, record)
        return
    learn(cfg, run, e, norms)
    distance = curve_distance(run.logged("train/loss"), logged(record, "train/loss"))
    run.result(**{"train/distance": distance})


def nearness(trial: Trial, a: str, b: str) -> float:
    """How far a's training curve is from the decayed run's, over how far b's is."""
    return trial[a]["train/distance"] / trial[b]["train/distance"]


LAPTOP = {"side": 14, "examples": 350, "batch": 64, "steps": 220, "eval_every": 55, "schedule": "decay"}
LAPTOP |= {"weight_decay": 0.01}
TINY = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 50, "tested": 100, "plan": (4, 0, 4)}
TINY |= {"steps": 6, "eval_every": 3, "log_every": 2}
CIFAR = {"dataset": "cifar10", "side": 16, "examples": 0, "plan": (16, 0, 32, 32, 0, 64), "steps": 2000}
PAPER = {"dataset": "cifar10", "plan": VGG11, "held_out": 5000, "tested": 10_000, "steps": 28_160, "batch": 128}
PAPER |= {"weight_decay": 5e-4, "schedule": "decay", "augment": True, "eval_every": 352, "log_every": 32}
OFFLINE = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 300, "tested": 350}
FAMILY = {"compared": True}
BARE = {"decayed": "last", "compared": True}
ADAM = {"optimiser": "adamw", "compared": True}
HALF = {"half": True, "weight_scale": 64.0}
DECAYS = ("decay", "twin", "no-decay", "corrected", "norm-schedule", "decay-all")
ERROR = "test/error"
MATTERS = 0.01  # of test error: about twice the difference of two trainings that differ by chance

STUDY = Study(
    name="norm-matters",
    question="With batch normalisation, is weight decay more than a learning rate, and which norm must normalise?",
    paper=Paper(
        "Norm matters: efficient and accurate normalization schemes in deep networks",
        "Hoffer, Banner, Golan, Soudry",
        2018,
        "https://arxiv.org/abs/1803.01814",
    ),
    config=Config,
    program=act,
    precision="fp32",
    variants=(
        Variant("decay", FAMILY, "weight decay on all weights"),
        Variant("twin", FAMILY | {"jitter": 1e-4}, "as decay, first weights changed by a ten-thousandth"),
        Variant("no-decay", BARE, "decay on the dense layer alone"),
        Variant("corrected", BARE | {"mimic": "rates"}, "as no-decay, rates corrected by the norms of decay"),
        Variant("norm-schedule", BARE | {"mimic": "norms"}, "as no-decay, norms scheduled in place of rates"),
        Variant("decay-all", FAMILY | {"decayed": "all"}, "weight decay on scales and shifts too"),
        Variant("l1", {"norm": "l1"}, "as decay, normalised by the mean magnitude"),
        Variant("top-10", {"norm": "top"}, "as decay, normalised by the ten largest magnitudes"),
        Variant("l-infinity", {"norm": "top", "k": 1}, "as decay, normalised by the largest magnitude"),
        Variant("l1-half", HALF | {"norm": "l1"}, "l1, rounded to half precision, weights 64 times as large"),
        Variant("l2-half", HALF, "the same by the mean square"),
        Variant("weight-norm", {"weights": "norm"}, "weight normalisation in place of batch normalisation"),
        Variant("bounded", {"weights": "bounded"}, "the same with fixed lengths"),
        Variant("weight-norm-slow", {"weights": "norm", "lr": 0.03}, "weight-norm at three tenths of the rate"),
        Variant("bounded-slow", {"weights": "bounded", "lr": 0.03}, "bounded at three tenths of the rate"),
        Variant("adamw", ADAM, "as decay, by AdamW"),
        Variant("adam", BARE | ADAM, "as no-decay, by Adam"),
        Variant("adam-corrected", BARE | ADAM | {"mimic": "rates-linear"}, "rates corrected by the ratio of norms"),
        Variant("adam-squared", BARE | ADAM | {"mimic": "rates"}, "rates corrected by its square"),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=4, offline=OFFLINE),
        "cifar10": Scale(LAPTOP | CIFAR, seeds=5, minutes=30, judges=False, offline=OFFLINE),
        "paper": Scale(
            PAPER,
            seeds=1,
            minutes=900,
            judges=False,
            variants=DECAYS,
            offline={"dataset": "digits", "side": 32, "held_out": 300, "tested": 350},
        ),
    },
    words={
        ERROR: "test error",
        "validation/error": "validation error",
        "train/distance": "distance from the decayed training curve",
        "train/growth": "length of the convolutions' weights, over that at first",
    },
    idea=correct_step,
    claims={
        "without decay a network with rates corrected by norms trains more like the decayed one than without": Claim(
            lambda trial: nearness(trial, "corrected", "no-decay"),
            below(1),
            "sec. 2, fig. 1",
            number="distance of the corrected training curve over that of the plain one without decay",
            kind="ratio",
        ),
        "with corrected rates training without decay parts from the decayed run little more than its twin": Claim(
            lambda trial: nearness(trial, "corrected", "twin"),
            below(1.5),
            "sec. 2, fig. 1",
            number="distance of the corrected training curve over that of the twin",
            kind="ratio",
        ),
        "with corrected rates a network without decay errs as the decayed one does, within a point": alike(
            "corrected", "decay", MATTERS, "sec. 2, fig. 1"
        ),
        "with scheduled norms in place of rates a network errs as the decayed one does, within a point": alike(
            "norm-schedule", "decay", MATTERS, "sec. 2, fig. 2"
        ),
        "decay of scales and shifts too parts the training curve from the decayed run more than chance does": Claim(
            lambda trial: nearness(trial, "decay-all", "twin"),
            above(1),
            "beyond the paper",
            number="distance of the curve with all decayed over that of the twin",
            kind="ratio",
        ),
        "normalised by L1 a network errs as by L2, within a point": alike("l1", "decay", MATTERS, "sec. 3"),
        "normalised by the ten largest magnitudes a network errs as by L2, within a point": alike(
            "top-10", "decay", MATTERS, "sec. 3"
        ),
        "with large weights in half precision a network normalised by L2 errs more than by L1": higher(
            "l2-half", "l1-half", "sec. 3, half precision"
        ),
        "with large weights in half precision a network normalised by L1 errs as in single, within a point": alike(
            "l1-half", "l1", MATTERS, "sec. 3, half precision"
        ),
        "at batch normalisation's rate weight normalisation errs less with fixed lengths than with learnt ones": lower(
            "bounded", "weight-norm", "sec. 4"
        ),
        "by Adam, rates corrected by the ratio of norms train more like AdamW than by its square": Claim(
            lambda trial: nearness(trial, "adam-corrected", "adam-squared"),
            below(1),
            "beyond the paper",
            number="distance of the training curve with the ratio over that with its square",
            kind="ratio",
        ),
    },
    charts=(
        bars(
            "train/distance",
            title="How far training curves part from the decayed run's",
            sections={
                "From decay, by SGD": DECAYS[1:],
                "From AdamW": ("adam", "adam-corrected", "adam-squared"),
            },
        ),
        curves(
            "train/effective-rate",
            title="Effective learning rate of the convolutions over training",
            says="Decay, corrected and norm-schedule have one curve, by their making.",
            log=True,
            variants=("decay", "no-decay", "corrected", "norm-schedule"),
        ),
        curves(
            "train/loss",
            title="Training loss with decay, without, and with corrected rates",
            variants=("decay", "no-decay", "corrected"),
        ),
        bars(
            ERROR,
            title="Test error of all variants",
            sections={
                "Weight decay": DECAYS,
                "Norms": ("l1", "top-10", "l-infinity", "l1-half", "l2-half"),
                "Norms of weights": ("weight-norm", "bounded", "weight-norm-slow", "bounded-slow"),
                "AdamW": ("adamw", "adam", "adam-corrected", "adam-squared"),
            },
        ),
    ),
    origin="C",
)
