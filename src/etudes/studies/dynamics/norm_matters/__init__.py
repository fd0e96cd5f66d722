"""norm-matters: TODO

    etudes run norm-matters                   4 minutes on two cores, 16 variants, 5 seeds
    etudes run norm-matters --scale paper     600 minutes on a GPU, 16 variants, 1 seed
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Claim, Paper, Run, Scale, Study, Trial, Variant, alike, at_least, below, higher, lower, positive
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.norm_matters.idea import Kind, correct_step
from etudes.studies.dynamics.norm_matters.networks import VGG11
from etudes.studies.dynamics.norm_matters.training import Examples, copy, curve_distance, decayed, learn, logged
from etudes.studies.dynamics.norm_matters.training import reference_config
from etudes.train import PictureRecipe


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    held_out: Annotated[int, at_least(1)] = 500  # training pictures that are kept for validation
    tested: Annotated[int, at_least(1)] = 4000  # test pictures, drawn by the seed
    plan: tuple[int, ...] = VGG11  # channels of the convolutions in order; 0: a 2x2 max-pool
    norm: Kind = "l2"  # norm by which batch normalisation measures a deviation
    k: Annotated[int, at_least(1)] = 10  # largest magnitudes that norm "top" averages
    half: bool = False  # whether normalisation rounds its numbers to half precision
    weights: Literal["plain", "norm", "bounded"] = "plain"  # weight normalisation in place of batch normalisation
    weight_scale: Annotated[float, positive] = 1.0  # of the convolutions' first weights, with rates that make up for it
    optimiser: Literal["sgd", "adamw"] = "sgd"
    adam_lr: Annotated[float, positive] = 0.003  # peak learning rate of AdamW
    adam_decay: Annotated[float, at_least(0)] = 1.0  # of AdamW: the share of weights that a step takes, over its rate
    decayed: Literal["all", "weights", "last"] = "weights"  # all parameters, no scales and shifts, or the last layer alone
    mimic: Literal["none", "rates", "rates-linear", "norms"] = "none"  # what is set by norms of the decayed run
    jitter: Annotated[float, at_least(0)] = 0.0  # relative noise on the convolutions' first weights
    compared: bool = False  # whether the training curve is compared with that of the decayed run


def act(cfg: Config, run: Run) -> None:
    e = Examples(cfg, run)
    if not cfg.compared:
        learn(cfg, run, e)
        return
    record, norms = decayed(cfg, run, e)
    if cfg == reference_config(cfg):
        copy(run, record)
        return
    learn(cfg, run, e, norms)
    distance = curve_distance(run.logged("train/loss"), logged(record, "train/loss"))
    run.result(**{"train/distance": distance})


LAPTOP = {"dataset": "fashion-mnist", "side": 14, "examples": 350, "batch": 64, "steps": 300, "eval_every": 30, "plan": (8, 0, 16, 16, 0, 32), "lr": 0.3,
    "weight_decay": 0.005, "schedule": "decay"}
TINY = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 50, "tested": 100, "steps": 6, "eval_every": 3, "plan": (4, 0, 4), "log_every": 2}
FAMILY = {"compared": True}
ADAM = {"optimiser": "adamw", "compared": True}

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
        Variant("decay", FAMILY, "weight decay on all parameters"),
        Variant("twin", FAMILY | {"jitter": 1e-4}, "decay, from first weights changed by a ten-thousandth"),
        Variant("no-decay", FAMILY | {"decayed": "last"}, "no decay but of the last layer"),
        Variant("corrected", FAMILY | {"decayed": "last", "mimic": "rates"}, "as no-decay, rates corrected"),
        Variant("norm-schedule", FAMILY | {"decayed": "last", "mimic": "norms"}, ""),
        Variant("decay-all", FAMILY | {"decayed": "all"}, "decay, of scales and shifts too"),
        Variant("l1", {"norm": "l1"}, ""),
        Variant("top-10", {"norm": "top"}, ""),
        Variant("l-infinity", {"norm": "top", "k": 1}, ""),
        Variant("l1-half", {"norm": "l1", "half": True, "weight_scale": 64}, ""),
        Variant("l2-half", {"norm": "l2", "half": True, "weight_scale": 64}, ""),
        Variant("weight-norm", {"weights": "norm"}, ""),
        Variant("bounded", {"weights": "bounded"}, ""),
        Variant("adamw", ADAM, ""),
        Variant("adam", ADAM | {"decayed": "last"}, ""),
        Variant("adam-corrected", ADAM | {"decayed": "last", "mimic": "rates-linear"}, ""),
        Variant("adam-squared", ADAM | {"decayed": "last", "mimic": "rates"}, ""),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=4),
        "paper": Scale({}, seeds=1, minutes=600, judges=False),
    },
    idea=correct_step,
    claims={"without weight decay a network errs more": higher("no-decay", "decay", "sec. 2")},
    charts=(curves("validation/error"), bars("test/error")),
    origin="C",
)
