"""autoencoder-memory: a deep autoencoder that gives its few pictures back has them as attractors.

A network f is trained on f(x) = x for a few pictures x, until nothing is left of the loss. Then it is iterated,

    x <- f(x),

which comes to rest at a training picture from all starts that are near enough, if all eigenvalues of the derivative
df/dx there are below 1 in modulus. One linear layer that begins at 0 becomes the projection on the span of the training
pictures, whose eigenvalues are 0 and 1: it gives every mixture of them back, and recalls none. With nonlinear layers,
more of them and wider ones, the eigenvalues at the training pictures fall below 1. With f(x1) = x2, ..., f(xk) = x1 the
same happens to whole cycles.

    etudes run autoencoder-memory                    3 minutes on two cores, 16 variants, 5 seeds
    etudes run autoencoder-memory --scale cifar10    3 minutes, 18 variants and 3 seeds: photos in colour
    etudes run autoencoder-memory --scale paper      600 minutes on a GPU, 4 variants and 1 seed

`--until decided` goes on to 20 seeds. Look at the sheets of pictures first. To expect: eight hidden layers make nearly
all pictures attractors, one makes none; cycles come easier; smooth nonlinearities and small first weights make few.

Departures from the papers: twenty pictures of 14x14 pixels for hundreds of photos; first weights with a variance of 1 /
inputs and leaky ReLU, as with PyTorch's and cosid few of so small a network's pictures are attractors; training ends at
a fixed loss. U-Nets are left out: convolutions with strides and without take their place.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Trial,
    Variant,
    at_least,
    between,
    higher,
    lower,
    positive,
)
from etudes.core.claims import below, within
from etudes.data.images import images, unit
from etudes.data.resize import resize
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.dynamics.autoencoder_memory.findings import (
    attraction,
    draw_recall,
    draw_starts,
    one_step,
)
from etudes.studies.dynamics.autoencoder_memory.idea import repeat, spectral_radii
from etudes.studies.dynamics.autoencoder_memory.networks import Activation, Kind, network
from etudes.studies.dynamics.autoencoder_memory.training import memorise
from etudes.train import seeded, weights


@dataclass(frozen=True)
class Config:
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    side: Annotated[int, at_least(2)] = 14  # height and width to which pictures are brought, in pixels
    examples: Annotated[int, at_least(2)] = 20  # training pictures, before `multiple`
    multiple: Annotated[float, positive] = 1.0  # how many times as many
    cycle: Annotated[int, at_least(1)] = 1  # pictures in a cycle, each of which is to give the next; 1: itself
    network: Kind = "dense"  # or convolutional, at full resolution or strided
    width: Annotated[int, at_least(1)] = 256  # units of a hidden dense layer, before `narrowing`
    channels: Annotated[int, at_least(1)] = 32  # of the first convolution, before `narrowing`
    narrowing: Annotated[int, at_least(1)] = 1  # what these are divided by
    depth: Annotated[int, at_least(0)] = 8  # hidden layers; of a strided network, how often it halves the resolution
    activation: Activation = "leaky"  # after each hidden layer
    gain: Annotated[float, at_least(0)] = 1.0  # standard deviation of first weights, times the root of a unit's inputs
    rule: Literal["adam", "gd"] = "adam"  # how a gradient becomes a step; gd: gradient descent with heavy-ball momentum
    lr: Annotated[float, positive] = 1e-3  # peak learning rate
    momentum: Annotated[float, within(0, 1)] = 0.9  # of gradient descent
    steps: Annotated[int, at_least(1)] = 3000  # steps at most, each on all pictures, before `duration`
    duration: Annotated[float, positive] = 1.0  # multiple of the steps
    enough: Annotated[float, at_least(0)] = 1e-8  # mean squared error of a pixel at which training ends
    starts: Annotated[int, at_least(2)] = 50  # unseen pictures, and as many of noise, from which the map is iterated
    iterations: Annotated[int, at_least(1)] = 1000  # at most, from every start
    log_every: Annotated[int, at_least(1)] = 50  # steps that one line of the log averages


def read(cfg: Config, run: Run) -> tuple[Tensor, Tensor]:
    """Training pictures uint8 [examples, c, h, w], and unseen ones [starts, c, h, w] of the test split."""
    d = images(cfg.dataset)
    run.note(data=d.source)

    def draw(x: Tensor, n: int, field: str) -> Tensor:
        if len(x) < n:
            raise Problem(f"{cfg.dataset} has {len(x)} such pictures and {field} asks for {n}; lower it")
        return resize(x[torch.from_numpy(run.rng(field).permutation(len(x))[:n])], cfg.side)

    return draw(d.x, round(cfg.examples * cfg.multiple), "examples"), draw(d.test_x, cfg.starts, "starts")


def train(cfg: Config, run: Run) -> None:
    stored, unseen = read(cfg, run)
    shape = c, h, w = tuple(stored.shape[1:])
    width = max(1, (cfg.width if cfg.network == "dense" else cfg.channels) // cfg.narrowing)
    model = seeded(run, "init", lambda: network(cfg.network, (c, h, w), width, cfg.depth, cfg.activation, cfg.gain))
    x = unit(stored).flatten(1).to(run.device)
    starts = draw_starts(x, unit(unseen).flatten(1).to(run.device), run)
    run.result(**memorise(cfg, run, model, x))
    model.requires_grad_(False).eval()
    around = repeat(model, cfg.cycle)  # of which every picture of a cycle is a fixed point
    run.result(**attraction(around, starts, cfg.cycle, cfg.iterations))
    run.result(**one_step(model, starts))
    weights.save(run.path("model.safetensors"), model)
    draw_recall(run.path("recall.png"), model, around, starts, shape, cfg.iterations)


@dataclass(frozen=True)
class Ratio:
    """A measure: the median spectral radius of one variant over that of another."""

    above: str
    below: str

    def __call__(self, trial: Trial) -> float:
        return trial[self.above][RADIUS] / trial[self.below][RADIUS]


ATTRACTORS, RECALLED, UNSEEN, NOISE = "train/attractors", "train/recalled", "test/recalled", "test/recalled-noise"
RADIUS, STRETCH = "train/radius", "train/singular-value"
SUCCESSOR = "Radhakrishnan 2020 (arXiv:1909.12362)"
LINEAR = {"depth": 0, "activation": "linear", "gain": 0.0}
FEW = {"multiple": 0.25}
STRIDED = FEW | {"network": "strided", "depth": 3, "lr": 3e-3, "duration": 0.33}
CONVOLUTIONS = STRIDED | {"network": "convolutional", "narrowing": 2}
TINY = {"dataset": "digits", "side": 6, "width": 16, "channels": 2, "examples": 4, "starts": 4} | {
    "iterations": 5,
    "steps": 10,
}
PAPER = {"dataset": "cifar10", "side": 32, "width": 1024, "channels": 64, "examples": 100, "steps": 50_000}
SECTIONS = {
    "Depth": ("linear", "linear-adam", "depth-1", "depth-2", "depth-4", "deep"),
    "One thing changed": ("narrow", "swish", "cosid", "small-start", "many", "few", "few-descent"),
    "Convolutions": ("convolutions-1", "convolutions-8", "strided"),
    "Cycles of four": ("cycles", "cycles-narrow"),
}
LAPTOP = tuple(name for names in SECTIONS.values() for name in names if name not in ("cosid", "many"))
OFFLINE = {"dataset": "digits", "side": 8}
OTHERS = ("linear", "depth-1", "depth-4", "swish", "convolutions-8", "strided", "cycles")
CURVES = ("deep", "depth-1", "narrow", "few", "few-descent", "strided")
SHEET = """From left to right: the start, the picture after 1, 3, 10, 30 and 100 iterations and where it ends; after the
gap the training picture nearest to the end. Rows: training pictures under strong noise, unseen pictures, noise."""
STUDY = Study(
    name="autoencoder-memory",
    question="Does iterating a deep autoencoder lead from any picture to one of the few that it was trained on?",
    paper=Paper(
        "Memorization in Overparameterized Autoencoders",
        "Radhakrishnan, Yang, Belkin, Uhler",
        2019,
        "https://arxiv.org/abs/1810.10333",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("deep", {}, "eight hidden layers of 256, leaky ReLU"),
        Variant("linear", LINEAR | {"rule": "gd", "lr": 4.0}, "one linear layer from 0, by gradient descent"),
        Variant("linear-adam", LINEAR, "the same by Adam"),
        Variant("depth-1", {"depth": 1}, "one hidden layer"),
        Variant("depth-2", {"depth": 2}, "two"),
        Variant("depth-4", {"depth": 4}, "four"),
        Variant("narrow", {"narrowing": 4}, "as deep, with hidden layers of 64"),
        Variant("swish", {"activation": "swish"}, "as deep, with swish"),
        Variant("cosid", {"activation": "cosid", "gain": 0.58, "depth": 11}, "eleven layers, cosid, small start"),
        Variant("small-start", {"gain": 0.58}, "as deep, from first weights as small as PyTorch's"),
        Variant("many", {"multiple": 2.0}, "as deep, trained on twice as many pictures"),
        Variant("few", FEW, "as deep, trained on a quarter of the pictures"),
        Variant("few-descent", FEW | {"rule": "gd", "lr": 0.5}, "as few, by gradient descent with momentum"),
        Variant("convolutions-1", CONVOLUTIONS | {"depth": 1}, "one hidden layer of 3x3 convolutions"),
        Variant("convolutions-8", CONVOLUTIONS | {"depth": 8}, "eight"),
        Variant("strided", STRIDED, "three that halve the picture, three that double it"),
        Variant("cycles", {"cycle": 4}, "as deep, cycles of four pictures"),
        Variant("cycles-narrow", {"cycle": 4, "narrowing": 4}, "as narrow, cycles of four pictures"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE, variants=LAPTOP),
        "cifar10": Scale({"dataset": "cifar10", "side": 10}, seeds=3, minutes=3, judges=False),
        "paper": Scale(PAPER, seeds=1, minutes=600, judges=False, variants=("deep", "cosid", "strided", "cycles")),
    },
    claims={
        "with eight hidden layers a larger share of training pictures are attractors than with one": higher(
            "deep", "depth-1", f"{SUCCESSOR}, depth and width", of=ATTRACTORS, matters=0.1
        ),
        "with hidden layers of 256 units a larger share of training pictures are attractors than with 64": higher(
            "deep", "narrow", f"{SUCCESSOR}, depth and width", of=ATTRACTORS, matters=0.1
        ),
        "iterating the deep autoencoder leads from more than half of unseen pictures to a training picture": between(
            "deep", 0.5, math.inf, "abstract", of=UNSEEN
        ),
        "as many unseen pictures end at more different training pictures than pictures of noise do": higher(
            ("deep", "test/pictures"), ("deep", "test/pictures-noise"), "beyond the paper"
        ),
        "with strides the spectral radius of a convolutional network at training pictures is lower than without": Claim(
            Ratio("strided", "convolutions-8"),
            below(1),
            "arXiv:1810.10333v1, abstract: downsampling",
            number=f"{RADIUS}: strided over convolutions-8",
            kind="ratio",
        ),
        "in a narrow network more pictures are attractors as members of cycles than each by itself": higher(
            "cycles-narrow", "narrow", f"{SUCCESSOR}, abstract", of=ATTRACTORS
        ),
        "in cycles the spectral radius a step is lower than where each picture is to give itself": Claim(
            Ratio("cycles", "deep"),
            below(1),
            f"{SUCCESSOR}, abstract",
            number=f"{RADIUS}: cycles over deep",
            kind="ratio",
        ),
        "with swish a smaller share of training pictures are attractors than with leaky ReLU": lower(
            "swish", "deep", "beyond the paper", of=ATTRACTORS
        ),
        "from first weights as small as PyTorch's a smaller share of training pictures become attractors": lower(
            "small-start", "deep", "beyond the paper", of=ATTRACTORS
        ),
        "trained by gradient descent a smaller share of training pictures are attractors than by Adam": lower(
            "few-descent", "few", f"{SUCCESSOR}, optimisers", of=ATTRACTORS
        ),
    },
    charts=(
        pictures(
            "recall.png",
            title="Iterated, the deep autoencoder turns any picture into a training picture",
            says=SHEET,
            variants=("deep",),
        ),
        bars(
            ATTRACTORS,
            UNSEEN,
            title="Training pictures that attract, and unseen ones that end at one of them",
            sections=SECTIONS,
        ),
        bars(
            RADIUS,
            STRETCH,
            title="Spectral radius and largest singular value at training pictures",
            sections=SECTIONS,
        ),
        pictures("recall.png", title="The same sheet of the others", says=SHEET, variants=OTHERS),
        curves("train/loss", title="Training loss until it is small enough", log=True, variants=CURVES),
    ),
    words={
        ATTRACTORS: "share of training pictures that attract",
        RECALLED: "share of them to which iteration comes back from strong noise",
        UNSEEN: "share of unseen pictures that end at one of them",
        NOISE: "share of pictures of noise that do",
        "test/pictures": "training pictures at which unseen ones end",
        "test/spurious": "other places at which pictures come to rest",
        RADIUS: "median spectral radius at training pictures",
        STRETCH: "median largest singular value there",
    },
    idea=spectral_radii,
    origin="C",
    precision="fp32",
)
