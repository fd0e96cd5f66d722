"""cifar-training: how a small VGG is trained: the optimiser, the schedule, the inputs, dropout and normalisation.

Every variant changes one thing of the base `sgd`: SGD with momentum, a learning rate that falls along half a cosine,
inputs of mean 0 and deviation 1, neither dropout nor normalisation.

For SGD an L2 penalty and a decay of the weights are the same (prop. 1), for Adam they are not (prop. 2). So Adam can
take over from SGD either of two things, and the two variants differ in nothing else: `adam` has SGD's penalty, the
same loss; `adamw` has SGD's decay, w <- (1 - d) w, the same share d of every weight a step.

    etudes run cifar-training                  6 minutes on two cores, 12 variants, 5 seeds (to 20)
    etudes run cifar-training --scale paper    all of CIFAR-10, 100 epochs, 3 seeds: 5 hours on a GPU

`--until decided` adds seeds for the claims that the first do not decide. To expect of the first: all but `constant` and
the variants with dropout fit every training picture.

All variants take the same steps. All schedules have the same peak, so their mean rates differ. Dropout and batch
normalisation stand behind each block and the dense layer, in both orders, with equal rates; normalisation stands behind
the first convolution of each block too. So some normalisation follows some dropout in either order.

Departures from the papers: their networks are ResNets, and a VGG with normalisation and dropout; pictures are not
augmented. At laptop scale 1,000 pictures of 16 pixels and 40 epochs, comparisons at equal steps. Gradients longer than
5 are shortened to it there, since a rare long one can undo a short training.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, at_least, below, higher, lower, positive, within
from etudes.data.images import Images, unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate, evaluation_mode
from etudes.nn.norm import Standardise
from etudes.nn.vgg import Order, vgg
from etudes.reports.charts import bars, curves
from etudes.train import PictureRecipe, descend, fitted, opened, part, scheduled, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    side: Annotated[int, at_least(8)] = 32  # height and width in pixels to which the pictures are brought
    width: Annotated[int, at_least(1)] = 32  # channels of the first block; each later one has twice as many
    standardise: bool = True  # inputs of mean 0 and deviation 1 a channel; else in [0, 1]
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"  # SGD with momentum, Adam, or AdamW
    lr: Annotated[float, at_least(0)] = 0.02  # peak learning rate of SGD
    momentum: Annotated[float, within(0, 0.999)] = 0.9  # of SGD
    weight_decay: Annotated[float, at_least(0)] = 5e-4  # L2 penalty of SGD and Adam; AdamW decays as fast as SGD by it
    adam_lr: Annotated[float, positive] = 0.001  # peak learning rate of Adam
    adamw_lr: Annotated[float, positive] = 0.001  # peak learning rate of AdamW
    clip: Annotated[float, positive] | None = None  # largest norm of the gradient; longer ones are shortened to it
    dropout: Annotated[float, within(0, 0.9)] = 0.0  # share set to zero behind each block and the dense layer
    norm: Literal["none", "batch"] = "none"  # normalisation behind every convolution and the dense layer
    order: Order = "norm-dropout"  # which of the two comes first


def decay(cfg: Config) -> float:
    """The share of every weight that SGD's weight decay takes in a step at the peak learning rate.

    An L2 penalty is a decay of learning rate times penalty (prop. 1), and momentum m applies each gradient, in the end,
    1 / (1 - m) times.
    """
    return cfg.lr * cfg.weight_decay / (1 - cfg.momentum)


def optimiser(model: nn.Module, cfg: Config) -> tuple[Optimizer, LambdaLR]:
    """SGD, Adam with SGD's L2 penalty in its gradient, or AdamW with SGD's decay (algorithms 1 and 2), each with the
    recipe's schedule, which AdamW's decay follows."""
    if cfg.optimiser == "sgd":
        return sgd(model, cfg)
    opt: Optimizer
    if cfg.optimiser == "adam":
        opt = Adam(model.parameters(), lr=cfg.adam_lr, weight_decay=cfg.weight_decay)
    else:  # PyTorch multiplies the decay by the learning rate
        opt = AdamW(model.parameters(), lr=cfg.adamw_lr, weight_decay=decay(cfg) / cfg.adamw_lr)
    return opt, scheduled(opt, cfg)


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]."""
    rates = (cfg.dropout,) * 4
    body = vgg(d.shape[0], d.classes, cfg.side, width=cfg.width, kind=cfg.norm, rates=rates, order=cfg.order)
    return nn.Sequential(Standardise(d.mean, d.std), *body) if cfg.standardise else body


def mean_loss(model: nn.Module, d: Images) -> float:
    """The cross entropy over all training pictures, in nats, in evaluation mode: without dropout."""
    with evaluation_mode(model):
        batches = zip(d.x.split(500), d.y.split(500), strict=True)
        losses = [cross_entropy(model(unit(x)), one_hot(y, d.classes)) * len(x) for x, y in batches]
    return torch.stack(losses).sum().item() / len(d.x)


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = optimiser(model, cfg)
    pictures = shown(cfg, run, d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        x, y = part(x, one_hot(d.y[rows], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule, cfg.clip or math.inf)}

    def evaluate() -> dict[str, float]:
        return {
            "test/error": error_rate(model, d.test_x, d.test_y),
            "train/error": error_rate(model, d.x, d.y),
            "train/cross-entropy": mean_loss(model, d),
        }

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


DROPOUT = {"dropout": 0.2}
NORM = {"norm": "batch"}
SCHEDULES = ("sgd", "constant", "step-decay", "warm-up", "restarts")

RATES = {"lr": 0.02, "adam_lr": 0.003, "adamw_lr": 0.003}
LAPTOP = RATES | {
    "side": 16,
    "width": 16,
    "examples": 100,
    "batch": 50,
    "weight_decay": 5e-3,
    "steps": 800,
    "clip": 5.0,
}
TINY = {"dataset": "digits", "side": 8, "width": 8, "examples": 10, "steps": 3, "log_every": 1}
PAPER = {"steps": 39_063, "eval_every": 3_907, "log_every": 100}
MATTERS = 0.01  # of the test error: one picture in a hundred

STUDY = Study(
    name="cifar-training",
    question="Which optimiser, schedule, inputs and order of dropout and normalisation train a small VGG best?",
    paper=Paper(
        "Decoupled Weight Decay Regularization",
        "Loshchilov, Hutter",
        2019,
        "https://arxiv.org/abs/1711.05101",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("sgd", says="the base: momentum, cosine, standardised inputs"),
        Variant("adam", {"optimiser": "adam"}, "SGD's L2 penalty in the gradient"),
        Variant("adamw", {"optimiser": "adamw"}, "SGD's decay, apart from the gradient"),
        Variant("constant", {"schedule": "constant"}, "the peak learning rate throughout"),
        Variant("step-decay", {"schedule": "decay"}, "a tenth from half of the steps on, a hundredth from 3/4"),
        Variant("warm-up", {"schedule": "warmup"}, "rising over a tenth of the steps, then the cosine"),
        Variant("restarts", {"schedule": "restarts"}, "three cosines, each twice as long as the one before"),
        Variant("raw-inputs", {"standardise": False}, "inputs in [0, 1]"),
        Variant("dropout", DROPOUT, "0.2 behind each block and the dense layer"),
        Variant("batch-norm", NORM, "behind every convolution and the dense layer"),
        Variant("norm-dropout", NORM | DROPOUT, "both, normalisation before dropout"),
        Variant("dropout-norm", NORM | DROPOUT | {"order": "dropout-norm"}, "both, dropout before normalisation"),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, offline={"dataset": "digits"}),
        "paper": Scale(PAPER, seeds=3, minutes=300),
    },
    words={
        "test/error": "test error",
        "train/error": "training error",
        "train/cross-entropy": "training loss in nats a picture",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=optimiser,
    claims={
        "AdamW has a lower test error than Adam with an L2 penalty": lower(
            "adamw", "adam", "sec. 4.1 and 4.3", matters=MATTERS
        ),
        "SGD with momentum has a lower test error than Adam": lower(
            "sgd", "adam", "Wilson et al. 2017, arXiv:1705.08292, sec. 4", matters=MATTERS
        ),
        "a learning rate that falls along a cosine has a lower test error than one that stays at its peak": lower(
            "sgd",
            "constant",
            "sec. 4.1; the schedule: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5",
            matters=MATTERS,
        ),
        "after equal steps the training loss is lower with standardised inputs than with inputs in [0, 1]": Claim(
            lambda t: t["sgd"]["train/cross-entropy"] / t["raw-inputs"]["train/cross-entropy"],
            below(1),
            "LeCun et al. 1998, Efficient BackProp, sec. 4.3",
            number="train/cross-entropy: sgd over raw-inputs",
            kind="ratio",
        ),
        "batch normalisation before dropout has a lower test error than dropout before batch normalisation": lower(
            "norm-dropout", "dropout-norm", "Li et al. 2019, arXiv:1801.05134, abstract", matters=MATTERS
        ),
        "dropout before batch normalisation has a higher test error than batch normalisation alone": higher(
            "dropout-norm",
            "batch-norm",
            "Li et al. 2019, fig. 1: DenseNet on CIFAR-100",
            paper=0.7742 - 0.6855,
            matters=MATTERS,
        ),
        "batch normalisation, then dropout, has a lower test error than the better of the two alone": Claim(
            lambda t: (
                t["norm-dropout"]["test/error"] - min(t[name]["test/error"] for name in ("dropout", "batch-norm"))
            ),
            below(0),
            "Brownlee 2019, last rung; Li et al. 2019 with dropout behind all normalisation",
            matters=MATTERS,
            number="test/error: norm-dropout minus the better of dropout and batch-norm",
        ),
    },
    charts=(
        bars(
            "test/error",
            "train/error",
            title="Errors by optimiser, schedule, inputs and order of layers",
            sections={
                "Optimisers": ("sgd", "adam", "adamw"),
                "Schedules of SGD": SCHEDULES,
                "Inputs, standardised or not": ("sgd", "raw-inputs"),
                "Dropout and normalisation": ("sgd", "dropout", "batch-norm", "norm-dropout", "dropout-norm"),
            },
        ),
        bars("train/cross-entropy", title="Cross entropy left on the training pictures"),
        curves("train/loss", title="Training loss by schedule", variants=SCHEDULES),
        curves("train/loss", title="Training loss by optimiser", variants=("sgd", "adam", "adamw")),
        curves("train/loss", title="Training loss by inputs", variants=("sgd", "raw-inputs")),
    ),
    revisions=(
        "gradients longer than 5 are shortened to it, as single seeds had not recovered from one; the training losses "
        "of the two inputs are compared by their ratio; margins of 0.01 on the test errors; up to 20 seeds",
    ),
    origin="C",
)
