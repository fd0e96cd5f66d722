"""cifar-ladder: the rungs from an overfitting VGG to a good one: dropout, weight decay, augmentation, normalisation.

The tutorial's network has three blocks of two 3x3 convolutions and a max-pool (32, 64, 128 channels) and a dense layer
of 128, with weights drawn after He and pictures in [0, 1]. Each rung adds one remedy to the same baseline:

    dropout         0.2 behind each block and behind the dense layer
    weight-decay    0.001 |w|^2 added to the loss
    augmentation    pictures mirrored with probability 1/2 and shifted by up to a tenth of their side
    batch-norm      behind every convolution and the dense layer; the tutorial has it in its last rung alone
    all             dropout rising from 0.2 to 0.5, augmentation and batch normalisation: the tutorial's last rung
    all-decay       that and weight decay

Keras's l2(a) adds a |w|^2 to the loss, whose gradient is 2 a w: the weight decay of SGD is twice the tutorial's 0.001.

    etudes run cifar-ladder                 6 minutes on two cores, 7 variants, 5 seeds
    etudes run cifar-ladder --scale full    baseline and all, 8 epochs of CIFAR-10: 10 minutes
    etudes run cifar-ladder --scale paper   the tutorial's recipe for 400 epochs, on a GPU

Departures from the tutorial: shifts are by whole pixels and fill by reflection, where Keras interpolates and repeats
the edge; the penalty is on all parameters, not on kernels alone; normalisation stands behind the pool of a block, not
before it; the last layer is drawn like the others. At `paper` every variant has the epochs that the tutorial gives to
its last rung, and the test error after 100, which its first rungs get, is in the log: the learning rate is constant.
At laptop scale 2,000 pictures of 16 pixels, half the width, and a learning rate that falls: comparisons at equal steps.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from etudes.core.claims import Claim, Interval, above, below, difference, within
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.labels import few
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.nn.vgg import vgg
from etudes.reports.charts import bars, curves
from etudes.train.distribute import part
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, seeded, sgd

RATES = {"none": (0, 0, 0, 0), "even": (0.2, 0.2, 0.2, 0.2), "rising": (0.2, 0.3, 0.4, 0.5)}
PENALTY = 0.001  # the tutorial's, in Keras's convention


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, above(0)] = 0  # training pictures a class; 0: all
    side: Annotated[int, above(8)] = 32  # height and width in pixels to which the pictures are brought
    width: Annotated[int, above(1)] = 32  # channels of the first block; each later one has twice as many
    dropout: Literal["none", "even", "rising"] = "none"  # 0.2 everywhere; or 0.2, 0.3, 0.4 and, dense, 0.5
    weight_decay: Annotated[float, above(0)] = 0.0  # L2 penalty on all parameters: twice Keras's l2
    augment: bool = False  # random flips, and shifts by up to `shift`
    shift: Annotated[int, within(0, 7)] = 3  # pixels, down and across
    norm: Literal["none", "batch"] = "none"  # normalisation behind every convolution and the dense layer


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]."""
    return vgg(d.shape[0], d.classes, cfg.side, width=cfg.width, kind=cfg.norm, rates=RATES[cfg.dropout])


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    if cfg.examples:
        d = d.take(few(d.y, cfg.examples, run.rng("subset")))
    run.note(data=d.source)
    d = d.resized(cfg.side).to(run.device)

    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        pick = batches.at(i).to(run.device)
        x = unit(d.x[pick])
        if cfg.augment:
            x = shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=cfg.shift)
        x, y = part(x, one_hot(d.y[pick], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        return {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, d.y)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    final = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    run.result(**final, parameters=count_parameters(model), **{"test/error-majority": d.majority_error})


ALL = {"dropout": "rising", "augment": True, "norm": "batch"}
LOWER = below(0)
SMALL = {"side": 16, "width": 16, "examples": 200, "shift": 2, "batch": 50, "lr": 0.02}

# 1 - accuracy, as the tutorial prints it, each of a single run
TUTORIAL = {"baseline": 0.2650, "dropout": 0.1655, "weight-decay": 0.2745, "augmentation": 0.1553, "all": 0.1138}


def _claim(name: str, says: str, variant: str, other: str, where: str, expect: Interval = LOWER) -> Claim:
    """On the test error of `variant` minus that of `other`, with the tutorial's difference beside it."""
    return Claim(
        name,
        says,
        where,
        difference(variant, other),
        expect,
        paper=TUTORIAL[variant] - TUTORIAL[other],
    )


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
    threads=1,
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
        "smoke": Scale(
            SMALL
            | {"dataset": "digits", "side": 8, "width": 8, "examples": 10, "shift": 1, "steps": 4, "log_every": 1},
            seeds=1,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(SMALL | {"steps": 1_600}, seeds=5, minutes=6, offline={"dataset": "digits", "examples": 100}),
        "full": Scale(
            {"steps": 3_125, "lr": 0.02, "schedule": "warmup", "log_every": 50},
            seeds=1,
            minutes=10,
            judges=False,
            variants=("baseline", "all"),
        ),
        "paper": Scale(
            {
                "batch": 64,
                "steps": 312_500,
                "lr": 0.001,
                "schedule": "constant",
                "eval_every": 78_125,
                "log_every": 500,
            },
            seeds=3,
            minutes=600,
        ),
    },
    claims=(
        _claim(
            "dropout generalises",
            "dropout alone has a lower test error than the baseline",
            "dropout",
            "baseline",
            "Dropout Regularization",
        ),
        _claim(
            "weight decay changes little",
            "weight decay alone changes the test error by at most 0.02, a fifth of what dropout brings the tutorial",
            "weight-decay",
            "baseline",
            "Weight Decay",
            within(-0.02, 0.02),
        ),
        _claim(
            "augmentation generalises",
            "augmentation alone has a lower test error than the baseline",
            "augmentation",
            "baseline",
            "Data Augmentation",
        ),
        _claim(
            "augmentation beats dropout",
            "augmentation alone has a lower test error than dropout alone",
            "augmentation",
            "dropout",
            "How to Develop an Improved Model, Discussion",
        ),
        _claim(
            "together they are best",
            "dropout, augmentation and batch normalisation together have a lower test error than augmentation, "
            "the tutorial's best single remedy",
            "all",
            "augmentation",
            "Dropout and Data Augmentation and Batch Normalization",
        ),
    ),
    charts=(bars("test/error", "train/error", paper=TUTORIAL), curves("train/loss")),
    origin="C",
)
