"""cifar-architecture: from the tutorials' VGG to a ResNet, one change at a time, with three blocks and with four.

The VGG has blocks of two 3x3 convolutions and a 2x2 max-pool, then a dense layer. The steps accumulate:

    vgg         flatten, a dense layer of 128, a linear layer
    gap         global average pooling and the linear layer instead (Lin et al. 2014, sec. 3.2)
    stride      a block begins with a convolution of stride 2 where there was a max-pool (Springenberg et al. 2015)
    residual    a shortcut around each pair of convolutions (He et al. 2016, eqs. 1 and 2)

With four blocks, `stride` and `residual` are also three times as deep, where a plain network is to become hard to train
(sec. 4.1). On `residual` with three blocks, normalisation and augmentation are then exchanged. All steps have batch
normalisation, between convolution and ReLU: a deeper plain network is not to fail by vanishing signals (He et al., sec.
3.4, 4.1).

    etudes run cifar-architecture                  9 minutes on two cores, 17 variants, 5 seeds
    etudes run cifar-architecture --scale paper    two pairs a block, 200 epochs of CIFAR-10, 3 seeds: 30 hours on a GPU

The first judges at 5 seeds; `--until decided` goes on to 8, 12 and 20 with the variants that undecided claims read, in
about 20 minutes.

Departures. A block of VGG is one pair of convolutions and changes the shape, so at `depth` 1 every shortcut has a 1x1
convolution; further pairs have identity shortcuts. The fourth block is the widest too, 8 times the first; in pictures
of 32x32 its convolutions see 4x4 places, which max-pools alone then halve to 2x2 (of 16x16: 2x2, and 1). As in ResNets
no stride follows the last block, so `stride` has the parameters and the multiply-adds of `gap`. Shortcuts add both, the
dense layer adds parameters. The laptop scale has width 16, 2,000 pictures of 16 pixels, and for all variants the same
steps and learning rate: comparisons at equal steps, not equal multiply-adds, and not the papers' error rates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import (
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    alike,
    at_least,
    higher,
    lower,
    within,
)
from etudes.data.augment import affine, flip, photometric, shift
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.nn.norm import Norm, Standardise, norm
from etudes.reports.charts import bars, curves
from etudes.train import PictureSet, Sgd, descend, fitted, opened, part, seeded, sgd

Augment = Literal["none", "flip-shift", "geometric", "photometric"]


@dataclass(frozen=True)
class Config(PictureSet, Sgd):
    side: Annotated[int, at_least(8)] = 32  # height and width in pixels to which the pictures are brought
    flips: bool = False  # random flips and shifts in every variant, not in the augmented ones alone
    width: Annotated[int, at_least(1)] = 32  # channels of the first block; each later one has twice as many
    depth: Annotated[int, at_least(1)] = 1  # pairs of convolutions a block
    deepened: Annotated[int, at_least(1)] = 1  # so many times `depth` pairs instead
    blocks: Annotated[int, within(1, 5)] = 3  # blocks, each at half the height and width of the one before
    head: Literal["dense", "gap"] = "dense"  # a dense layer of 128, or global average pooling; then the linear layer
    down: Literal["pool", "stride"] = "pool"  # what halves the picture: a max-pool, or the next block's stride
    skip: bool = False  # shortcuts around pairs of convolutions
    norm: Norm = "batch"  # the normalisation behind each convolution
    augment: Augment = "none"  # flips and shifts; with rotation and scale; with light, contrast and colour


class Pair(nn.Module):
    """relu(F(x)), or relu(F(x) + shortcut(x)) with `skip`, F being two 3x3 convolutions (He et al., fig. 2, eq. 1).

    The first convolution has the stride. The shortcut is the identity or, where F changes the shape, a 1x1 convolution
    of that stride (eq. 2, option B). A normalisation follows every convolution, before ReLU and sum (sec. 3.4).
    """

    def __init__(self, channels: int, out: int, stride: int, kind: Norm, skip: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), *norm(kind, out))
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1), *norm(kind, out))
        same = channels == out and stride == 1
        self.shortcut = None
        if skip:
            self.shortcut = nn.Sequential(*([] if same else [nn.Conv2d(channels, out, 1, stride), *norm(kind, out)]))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(functional.relu(self.first(x)))
        return functional.relu(y if self.shortcut is None else y + self.shortcut(x))


def network(cfg: Config, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """A network [n, *shape] -> logits [n, classes]: without normalisation, by default, the tutorials' VGG.

    Sides that halving does not divide are rounded up, so that a side of 1 stays. Weights are drawn from
    N(0, 2 / fan-in), biases are 0 (He et al. 2015, arXiv:1502.01852, eq. 10).
    """
    channels, h, w = shape
    layers: list[nn.Module] = []
    for block in range(cfg.blocks):
        for i in range(cfg.depth * cfg.deepened):
            strided = cfg.down == "stride" and block > 0 and i == 0
            layers.append(Pair(channels, cfg.width * 2**block, 2 if strided else 1, cfg.norm, cfg.skip))
            channels = cfg.width * 2**block
        if cfg.down == "pool":
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    if cfg.head == "dense":
        halved = 2 ** (cfg.blocks if cfg.down == "pool" else cfg.blocks - 1)
        layers += [nn.Flatten(), nn.Linear(channels * math.ceil(h / halved) * math.ceil(w / halved), 128)]
        layers += [*norm(cfg.norm, 128, dense=True), nn.ReLU(), nn.Linear(128, classes)]
    else:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    for layer in nn.ModuleList(layers).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
    return nn.Sequential(*layers)


def augment(x: Tensor, kind: Augment, rng: Callable[[str], numpy.random.Generator]) -> Tensor:
    """The pictures [n, c, h, w] in [0, 1], each changed at random; `rng` gives the generator of a change.

    All but "none" flip, and shift by up to an eighth of the side (4 of 32 pixels, zeros outside: He et al., sec. 4.2).
    "geometric" then turns by up to 15 degrees and scales by 0.8 to 1.25; "photometric" scales light, contrast and
    colour by 0.6 to 1.4.
    """
    if kind == "none":
        return x
    x = shift(flip(x, rng("flip")), rng("shift"), pixels=x.shape[-1] // 8, mode="zeros")
    if kind == "geometric":
        return affine(x, rng("affine"), degrees=15, scale=(0.8, 1.25))
    if kind == "photometric":
        return photometric(x, rng("photometric"), brightness=0.4, contrast=0.4, saturation=0.4)
    return x


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    model = seeded(run, "init", lambda: nn.Sequential(Standardise(d.mean, d.std), network(cfg, d.shape, d.classes)))
    opt, schedule = sgd(model, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))
    changes = "flip-shift" if cfg.flips and cfg.augment == "none" else cfg.augment

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = augment(unit(d.x[rows]), changes, lambda change: run.rng(change, i))
        x, y = part(x, one_hot(d.y[rows], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        return {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, d.y)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


STEPS: dict[str, dict[str, object]] = {
    "vgg": {},
    "gap": {"head": "gap"},
    "stride": {"head": "gap", "down": "stride"},
    "residual": {"head": "gap", "down": "stride", "skip": True},
}
SAYS = {
    "vgg": "max-pools and a dense layer",
    "gap": "global average pooling for the dense layer",
    "stride": "strides for the max-pools too",
    "residual": "and shortcuts",
}
NORMS = {
    "none": "residual without normalisation",
    "layer": "over channels and places of each picture",
    "instance": "over places, for each picture and channel",
    "group": "over places and 8 groups of channels of each picture",
}
AUGMENTS = {
    "flip-shift": "residual with random flips and shifts",
    "geometric": "flips, shifts, rotation and scale",
    "photometric": "flips, shifts, light, contrast and colour",
}

LAPTOP = {"side": 16, "width": 16, "examples": 200, "batch": 50, "lr": 0.02, "steps": 500}
TINY = {"dataset": "digits", "side": 8, "width": 8, "examples": 10, "steps": 4, "log_every": 1}
DEEP = {"blocks": 4, "deepened": 3}
WIDE = {"width": 64, "depth": 2, "flips": True, "schedule": "decay"}
PAPER = WIDE | {"steps": 78_125, "eval_every": 3_906, "log_every": 100}

MARGIN = 0.01  # of test error: less is too small to matter

STUDY = Study(
    name="cifar-architecture",
    question="Which change from a VGG to a ResNet lowers the test error, with three blocks and with four?",
    paper=Paper(
        "Deep Residual Learning for Image Recognition",
        "He, Zhang, Ren, Sun",
        2016,
        "https://arxiv.org/abs/1512.03385",
    ),
    config=Config,
    program=train,
    variants=(
        *(Variant(name, changes, SAYS[name]) for name, changes in STEPS.items()),
        *(Variant(f"{name}-4", changes | {"blocks": 4}, f"{SAYS[name]}, 4 blocks") for name, changes in STEPS.items()),
        *(
            Variant(f"{name}-deep", STEPS[name] | DEEP, f"{SAYS[name]}, 4 blocks of three times the depth")
            for name in ("stride", "residual")
        ),
        *(Variant(f"norm-{kind}", STEPS["residual"] | {"norm": kind}, says) for kind, says in NORMS.items()),
        *(Variant(f"augment-{kind}", STEPS["residual"] | {"augment": kind}, says) for kind, says in AUGMENTS.items()),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=9, offline={"dataset": "digits"}),
        "paper": Scale(PAPER, seeds=3, minutes=1_800),
    },
    words={
        "test/error": "test error",
        "train/error": "training error",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=Pair,
    claims={
        "global average pooling has a lower test error than the dense layer": lower(
            "gap",
            "vgg",
            "Lin et al. 2014, arXiv:1312.4400, sec. 4.6, table 5",
            paper=0.1041 - 0.1159,
            matters=MARGIN,
        ),
        "strides in place of max-pools change the test error by at most 0.02": alike(
            "stride", "gap", 0.02, "Springenberg et al. 2015, arXiv:1412.6806, sec. 3, table 3", paper=0.1019 - 0.0974
        ),
        "without shortcuts, four blocks of three times the depth have a higher test error than four of the usual "
        "depth": (higher("stride-deep", "stride-4", "sec. 4.2, fig. 6, left", matters=MARGIN)),
        "in four blocks of three times the depth, the network with shortcuts has a lower test error than the one "
        "without": (lower("residual-deep", "stride-deep", "sec. 4.2, fig. 6", matters=MARGIN)),
        "at equal steps, batch normalisation has a lower test error than no normalisation": lower(
            "residual", "norm-none", "Ioffe and Szegedy 2015, arXiv:1502.03167, sec. 4.2", matters=MARGIN
        ),
        **{
            f"batch normalisation has a lower test error than {kind} normalisation": lower(
                "residual",
                f"norm-{kind}",
                "Wu and He 2018, arXiv:1803.08494, sec. 4.1, table 1",
                paper=0.236 - error,
                matters=MARGIN,
            )
            for kind, error in (("layer", 0.253), ("instance", 0.284))
        },
        "group and batch normalisation differ by at most 0.02 in test error": alike(
            "norm-group", "residual", 0.02, "Wu and He 2018, arXiv:1803.08494, sec. 4.1, table 1", paper=0.241 - 0.236
        ),
    },
    charts=(
        bars(
            "test/error",
            "train/error",
            title="Errors along the way from VGG to ResNet, and with other choices",
            by="blocks",
            sections={
                "From VGG to ResNet, three blocks": tuple(STEPS),
                "The same with four blocks": tuple(f"{name}-4" for name in STEPS),
                "Thrice as deep": ("stride-deep", "residual-deep"),
                "Normalisation of the residual network": ("residual", *(f"norm-{kind}" for kind in NORMS)),
                "Its augmentation": ("residual", *(f"augment-{kind}" for kind in AUGMENTS)),
            },
        ),
        curves(
            "train/loss",
            title="Training loss along the way from VGG to ResNet",
            variants=(*STEPS, *(f"{name}-4" for name in STEPS)),
            by="blocks",
        ),
    ),
    origin="C",
    revisions=(
        "claims on shortcuts are about depth, as the paper's are, in new networks of four blocks three times as deep, "
        "in place of two claims on the fourth block; the laptop scale has 200 pictures a class for 100, and a learning "
        "rate of 0.02 for 0.05, so that the network without normalisation trains; a margin of 0.01 of test error is "
        "named, and the claims may be judged at 8, 12 and 20 seeds as well",
    ),
)
