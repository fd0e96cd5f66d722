"""cifar-ladder: the rungs from an overfitting VGG to a good one: dropout, weight decay, augmentation, normalisation.

The tutorial's network has three blocks of two 3x3 convolutions and a max-pool (32, 64, 128 channels) and a dense layer
of 128, with weights drawn after He and pictures in [0, 1]. Each rung adds one remedy to the same baseline:

    dropout         0.2 behind each block and behind the dense layer
    weight-decay    the loss + 0.001 |w|^2
    augmentation    pictures mirrored with probability 1/2 and shifted by up to a tenth of their side
    batch-norm      behind every convolution and the dense layer; the tutorial has it in its last rung alone
    all             dropout rising from 0.2 to 0.5, augmentation and batch normalisation: the tutorial's last rung
    all-decay       that and weight decay

Keras's l2(a) adds a |w|^2 to the loss, whose gradient is 2 a w: the weight decay of SGD is twice the tutorial's 0.001.

    etudes run cifar-ladder                 8 minutes on two cores, 5 variants, 5 seeds (to 20)
    etudes run cifar-ladder --scale full    baseline and all, 8 epochs of CIFAR-10, 1 seed: 10 minutes on two cores
    etudes run cifar-ladder --scale paper   the tutorial's recipe for 400 epochs, 3 seeds: 10 hours on a GPU

The first runs the five rungs that claims are about; `--variants` names the others. `--until decided` adds seeds for the
claims that five do not decide. To expect of it: without dropout and augmentation every picture is fitted; with them by
far not all are when the steps end.

Departures from the tutorial: shifts are by whole pixels and fill by reflection, where Keras interpolates and repeats
the edge; the penalty is on all parameters, not on kernels alone; normalisation stands behind the pool of a block, not
before it; the last layer is drawn like the others. At `paper` every variant has the epochs that the tutorial gives to
its last rung, and the test error after 100, which its first rungs get, is in the log: the learning rate is constant.
At laptop scale 2,000 pictures of 16 pixels, half the width, and a learning rate that falls: comparisons at equal steps.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from etudes.core import Paper, Run, Scale, Study, Variant, alike, at_least, lower, within
from etudes.data.images import Images
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.nn.vgg import vgg
from etudes.reports.charts import bars, curves
from etudes.train import PictureRecipe, descend, fitted, opened, part, seeded, sgd, shown

RATES = {"none": (0, 0, 0, 0), "even": (0.2, 0.2, 0.2, 0.2), "rising": (0.2, 0.3, 0.4, 0.5)}
PENALTY = 0.001  # the tutorial's, in Keras's convention


@dataclass(frozen=True)
class Config(PictureRecipe):
    side: Annotated[int, at_least(8)] = 32  # height and width in pixels to which the pictures are brought
    width: Annotated[int, at_least(1)] = 32  # channels of the first block; each later one has twice as many
    dropout: Literal["none", "even", "rising"] = "none"  # 0.2 everywhere; or 0.2, 0.3, 0.4 and, dense, 0.5
    weight_decay: Annotated[float, at_least(0)] = 0.0  # L2 penalty on all parameters: twice Keras's l2
    augment: bool = False  # random flips, and shifts by up to `shift`
    shift: Annotated[int, within(0, 7)] = 3  # pixels, down and across
    norm: Literal["none", "batch"] = "none"  # normalisation behind every convolution and the dense layer


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]: the tutorial's network.

    Two of the remedies are in it, dropout (its section "Dropout Regularization") and batch normalisation (its last).
    Weight decay is SGD's own, and augmentation changes the pictures before they come here.
    """
    return vgg(d.shape[0], d.classes, cfg.side, width=cfg.width, kind=cfg.norm, rates=RATES[cfg.dropout])


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    pictures = shown(cfg, run, d, pixels=cfg.shift)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        x, y = part(x, one_hot(d.y[rows], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        return {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, d.y)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


ALL = {"dropout": "rising", "augment": True, "norm": "batch"}

LAPTOP = {"side": 16, "width": 16, "examples": 200, "shift": 2, "batch": 50, "lr": 0.02, "steps": 2_400}
TINY = {"dataset": "digits", "side": 8, "width": 8, "examples": 10, "shift": 1, "steps": 4, "log_every": 1}
FULL = {"steps": 3_125, "lr": 0.02, "schedule": "warmup", "log_every": 50}
PAPER = {"batch": 64, "lr": 0.001, "schedule": "constant", "steps": 312_500, "eval_every": 78_125, "log_every": 500}

# 1 - accuracy, as the tutorial prints it, each of a single run
TUTORIAL = {"baseline": 0.2650, "dropout": 0.1655, "weight-decay": 0.2745, "augmentation": 0.1553, "all": 0.1138}
MATTERS = 0.02  # of the test error: a fifth of what dropout is worth in the tutorial

STUDY = Study(
    name="cifar-ladder",
    question="How much does each remedy against overfitting lower the test error of a small VGG, alone and together?",
    paper=Paper(
        "How to Develop a CNN From Scratch for CIFAR-10 Photo Classification",
        "Brownlee",
        2019,
        "https://machinelearningmastery.com/how-to-develop-a-cnn-from-scratch-for-cifar-10-photo-classification/",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("baseline", says="no remedy"),
        Variant("dropout", {"dropout": "even"}, "0.2 behind each block and the dense layer"),
        Variant("weight-decay", {"weight_decay": 2 * PENALTY}, "0.001 times the squared weights in the loss"),
        Variant("augmentation", {"augment": True}, "flips and shifts"),
        Variant("batch-norm", {"norm": "batch"}, "behind every convolution and the dense layer"),
        Variant("all", ALL, "rising dropout, augmentation, batch normalisation"),
        Variant("all-decay", ALL | {"weight_decay": 2 * PENALTY}, "all, and weight decay"),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(
            LAPTOP,
            seeds=(5, 8, 12, 20),
            minutes=8,
            offline={"dataset": "digits", "examples": 100},
            variants=("baseline", "dropout", "weight-decay", "augmentation", "all"),
        ),
        "full": Scale(FULL, seeds=1, minutes=10, judges=False, variants=("baseline", "all")),
        "paper": Scale(PAPER, seeds=3, minutes=600),
    },
    words={
        "test/error": "test error",
        "train/error": "training error",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=network,
    claims={
        "dropout alone has a lower test error than no remedy against overfitting": lower(
            "dropout",
            "baseline",
            "Dropout Regularization",
            paper=TUTORIAL["dropout"] - TUTORIAL["baseline"],
            matters=MATTERS,
        ),
        "weight decay alone changes the test error by at most 0.02, a fifth of dropout's worth in the tutorial": alike(
            "weight-decay", "baseline", MATTERS, "Weight Decay", paper=TUTORIAL["weight-decay"] - TUTORIAL["baseline"]
        ),
        "augmentation alone has a lower test error than no remedy against overfitting": lower(
            "augmentation",
            "baseline",
            "Data Augmentation",
            paper=TUTORIAL["augmentation"] - TUTORIAL["baseline"],
            matters=MATTERS,
        ),
        "augmentation alone has a lower test error than dropout alone": lower(
            "augmentation",
            "dropout",
            "How to Develop an Improved Model, Discussion",
            paper=TUTORIAL["augmentation"] - TUTORIAL["dropout"],
            matters=MATTERS,
        ),
        "dropout, augmentation and batch normalisation together have a lower test error than augmentation alone": lower(
            "all",
            "augmentation",
            "Dropout and Data Augmentation and Batch Normalization",
            paper=TUTORIAL["all"] - TUTORIAL["augmentation"],
            matters=MATTERS,
        ),
    },
    charts=(
        bars("test/error", "train/error", paper=TUTORIAL, title="Errors with each remedy against overfitting"),
        curves("train/loss", title="Training loss with each remedy"),
    ),
    revisions=(
        "half as many steps again, as variants with dropout or augmentation were judged before they had learnt; paid "
        "for by leaving the two variants without a claim out of the laptop scale; margins of 0.02 on the test errors",
    ),
    origin="C",
)
