"""octave-conv: keep a share of a network's channels at half the height and width; what is saved, and what is lost?

An octave convolution has high-frequency channels X^H, and low-frequency ones X^L at half the height and width. Each
octave is convolved, and each is told of the other (eq. 4):

    Y^H = f(X^H; W^(H->H)) + upsample(f(X^L; W^(L->H)), 2),    Y^L = f(X^L; W^(L->L)) + f(pool(X^H, 2); W^(H->L))

Where a share alpha of all channels is low, it takes 1 - 3/4 alpha (2 - alpha) of the plain convolution's multiply-adds
and 1 - 3/4 alpha of its memory (table 1), with as many parameters. alpha = 0 is the plain convolution.

    etudes run octave-conv                          2 minutes on two cores, 14 variants, 5 seeds (to 20)
    etudes run octave-conv --scale cifar10          100 minutes on two cores, 14 variants, 3 seeds: all of CIFAR-10
    etudes run octave-conv --scale tiny-imagenet    100 minutes on two cores, 7 variants, 3 seeds: 200 classes
    etudes run octave-conv --scale imagenette       60 minutes on two cores, 7 variants, 3 seeds: 96 pixels
    etudes run octave-conv --scale paper            10000 minutes on a GPU, 7 variants, 1 seed: ResNet-50, ImageNet
    python -m etudes.studies.convnets.octave_conv.seconds    a table of seconds, on a machine that does nothing else

`--until decided` adds seeds. To expect: the error falls to a quarter of low channels, then rises; most is lost where
pictures have nothing but fine detail. Seconds on a CPU follow multiply-adds in wide layers and rise in narrow ones.

Departures from the paper: three stages of one basic block each, 2,000 pictures of CIFAR-10 at 16 pixels and 90 steps:
comparisons early in training, and not the paper's error rates. Pictures are mirrored and shifted at the larger scales,
not cropped at random sizes. The paper's baseline may have had strided convolutions; ours has what octaves have,
means of 2x2 pixels, and strided ones are a variant.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, within
from etudes.data.images import Images
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.measure.size import multiply_adds
from etudes.nn.norm import Standardise
from etudes.nn.octave import Downsample, Exchange, Kind, OctaveConv, octave_resnet, octave_resnet50
from etudes.reports.charts import bars, curves, plane
from etudes.studies.convnets.octave_conv.claims import CLAIMS, ERROR
from etudes.studies.convnets.octave_conv.frequencies import Frequencies, frequency_part
from etudes.train import PictureRecipe, descend, fitted, opened, part, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    tested: Annotated[int, at_least(0)] = 0  # test pictures that are asked, drawn by the seed; 0: all
    frequencies: Frequencies = "all"  # of the pictures: all, means of 2x2 pixels alone, or what these leave out
    network: Literal["small", "resnet50"] = "small"  # basic blocks for small pictures, or Oct-ResNet-50
    width: Annotated[int, at_least(1)] = 16  # channels of the first stage
    narrower: Annotated[float, within(0.1, 1)] = 1.0  # factor on the width, rounded
    depth: Annotated[int, at_least(1)] = 1  # blocks a stage of the small network
    stages: Annotated[int, within(2, 4)] = 3  # of the small network, each of half the picture and twice the channels
    alpha: Annotated[float, within(0, 1)] = 0.0  # share of channels that are low, in all stages but the last
    exchange: Exchange = "both"  # paths between the octaves: high to low ("down"), low to high ("up")
    downsample: Downsample = "pool"  # what halves a picture: means of 2x2 pixels, or a strided convolution


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes]."""
    channels, width, kind = d.shape[0], round(cfg.width * cfg.narrower), Kind(cfg.exchange, cfg.downsample)
    if cfg.network == "resnet50":
        body = octave_resnet50(channels, d.classes, cfg.alpha, kind, width)
    else:
        body = octave_resnet(channels, d.classes, width, (cfg.depth,) * cfg.stages, cfg.alpha, kind)
    return nn.Sequential(Standardise(d.mean, d.std), body)


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    if cfg.tested:
        rows = torch.from_numpy(run.rng("tested").permutation(len(d.test_y))[: cfg.tested]).to(run.device)
        d = replace(d, test_x=d.test_x[rows], test_y=d.test_y[rows])
    if cfg.frequencies != "all":
        d = replace(d, **{name: frequency_part(getattr(d, name), cfg.frequencies) for name in ("x", "test_x")})
    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    pictures = shown(cfg, run, d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        x, y = part(x, one_hot(d.y[rows], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        return {ERROR: error_rate(model, d.test_x, d.test_y)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**{"test/multiply-adds": multiply_adds(model, d.shape)})


LAPTOP = {"side": 16, "examples": 200, "tested": 3000, "batch": 64, "steps": 90, "lr": 0.05, "weight_decay": 5e-4}
TINY = {"dataset": "digits", "side": 8, "examples": 5, "tested": 40, "steps": 2, "batch": 8, "width": 8, "log_every": 1}
LONG = {"batch": 128, "weight_decay": 5e-4, "augment": True, "log_every": 20}
PAPER = {
    "dataset": "ILSVRC/imagenet-1k", "side": 224, "network": "resnet50", "width": 64, "augment": True,
    "batch": 64, "lr": 0.025, "schedule": "warmup", "steps": 2_402_188, "log_every": 100,
}  # fmt: skip
DIGITS = {"dataset": "digits", "examples": 0}
HALF, MOST = {"alpha": 0.5}, {"alpha": 0.75}
GRID = ("strided", "plain", "eighth", "quarter", "half", "three-quarters", "narrow")

STUDY = Study(
    name="octave-conv",
    question="What is saved, and what is lost, where some channels of a network have half the height and width?",
    paper=Paper(
        "Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave Convolution",
        "Chen, Fan, Xu, Yan, Kalantidis, Rohrbach, Yan, Feng",
        2019,
        "https://arxiv.org/abs/1904.05049",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("plain", {}, "alpha = 0, halved by means of 2x2 pixels, as octaves are"),
        Variant("strided", {"downsample": "stride"}, "alpha = 0, halved by strided convolutions: the usual network"),
        Variant("eighth", {"alpha": 0.125}, "an eighth of the channels low"),
        Variant("quarter", {"alpha": 0.25}, "a quarter"),
        Variant("half", HALF, "half"),
        Variant("three-quarters", MOST, "three quarters"),
        Variant("narrow", {"narrower": 0.785}, "plain, with fewer channels: about the multiply-adds of half"),
        Variant("half-down", HALF | {"exchange": "down"}, "half, without low to high"),
        Variant("half-up", HALF | {"exchange": "up"}, "half, without high to low"),
        Variant("half-apart", HALF | {"exchange": "none"}, "half, without either: two networks up to the last stage"),
        Variant("plain-low", {"frequencies": "low"}, "plain, on means of 2x2 pixels"),
        Variant("octave-low", MOST | {"frequencies": "low"}, "three-quarters, on means of 2x2 pixels"),
        Variant("plain-high", {"frequencies": "high"}, "plain, on what these means leave out"),
        Variant("octave-high", MOST | {"frequencies": "high"}, "three-quarters, on what these means leave out"),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=2, offline=DIGITS),
        "cifar10": Scale(LONG | {"steps": 1564}, seeds=3, minutes=100, offline=DIGITS | {"side": 16}),
        "tiny-imagenet": Scale(
            LONG | {"dataset": "tiny-imagenet", "stages": 4, "steps": 1320}, 3, 100, variants=GRID, judges=False
        ),
        "imagenette": Scale(
            LONG | {"dataset": "imagenette", "stages": 4, "steps": 320}, 3, 60, variants=GRID, judges=False
        ),
        "paper": Scale(PAPER, 1, 10_000, variants=GRID, judges=False, offline=DIGITS | {"side": 32}),
    },
    words={
        ERROR: "test error",
        "test/multiply-adds": "multiply-adds a picture",
        "parameters": "parameters",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=OctaveConv.forward,
    claims=CLAIMS,
    charts=(
        plane(
            ("test/multiply-adds", ERROR),
            title="Test error against multiply-adds, by the share of low channels",
            x="multiply-adds a picture",
            y="test error",
            variants=GRID,
        ),
        bars(
            ERROR,
            title="Test error by share, exchange and pictures",
            sections={
                "Share of low channels": ("plain", "eighth", "quarter", "half", "three-quarters"),
                "Plain networks": ("plain", "strided", "narrow"),
                "Paths between the octaves": ("half", "half-down", "half-up", "half-apart"),
                "Means of 2x2 pixels alone": ("plain-low", "octave-low"),
                "What these means leave out": ("plain-high", "octave-high"),
            },
        ),
        curves("train/loss", title="Training loss", variants=("plain", "quarter", "half", "three-quarters")),
    ),
    origin="C",
)
