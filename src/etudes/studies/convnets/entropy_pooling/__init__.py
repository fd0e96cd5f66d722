"""entropy-pooling: places of a picture weigh more where their own vectors are classified with certainty.

A body turns a picture into vectors x_i, one a place; a linear classifier names their mean. The same classifier also
names every place alone, with probabilities p_i over k classes. Entropy pooling takes its certainty as weight:

    c_i = 1 - H(p_i) / log k,    w_i = exp(s c_i) / sum_j exp(s c_j),    x = sum_i w_i x_i

with the information entropy H and a sharpness s. s = 0 is average pooling. The weights are a map of where the network
looks, without a further layer.

    etudes run entropy-pooling                       3 minutes on two cores, 13 variants, 5 seeds
    etudes run entropy-pooling --scale imagenette    10 minutes, 13 variants, 5 seeds: Imagenette, four times the steps
    etudes run entropy-pooling --scale paper         6000 minutes on a GPU, 2 variants, 1 seed: ResNet-50 on ImageNet

`--until decided` goes on to 20 seeds. To expect: entropy pooling errs less than average pooling where objects are small
among clutter, and more than attention and log-sum-exp pooling; on natural pictures it changes nothing.

Departures from the paper: we had its abstract, not its text. That importance is certainty, measured by entropy, is the
paper's; the formula of the weights is ours, with the properties that the idea asks for, and a second formula is tried
beside it. Scenes of 40 pixels, clothes of Fashion-MNIST on pieces of CIFAR-10, take the place of ImageNet and PASCAL
VOC 2012, since there the object's pixels are known; a network of four convolutions that of ResNet-50; maps of a single
training that of a segmentation pipeline.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

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
    higher,
    lower,
    positive,
    within,
)
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.nn.entropy_pooling import EntropyPooling, Form, entropy_weights
from etudes.reports.charts import bars, pictures, plane
from etudes.studies.convnets.entropy_pooling.findings import measure, save_maps
from etudes.studies.convnets.entropy_pooling.materials import materials
from etudes.studies.convnets.entropy_pooling.networks import Network, network, optimiser
from etudes.train import Sgd, descend, fitted, part, seeded, weights

Pooling = Literal["average", "max", "log-sum-exp", "gem", "attention", "entropy"]


@dataclass(frozen=True)
class Config(Sgd):
    world: Literal["scenes", "natural"] = "scenes"  # small objects on clutter, or natural pictures as they are
    objects: str = "fashion-mnist"  # the set whose pictures are the objects of scenes; pixels of 0 are transparent
    clutter: str = "cifar10"  # the set that the background of scenes is cut from
    natural: str = "cifar10"  # the set of natural pictures
    natural_side: Annotated[int, at_least(0)] = 0  # height and width to which those are brought; 0: as they are
    augment: bool = False  # random flips, and shifts by up to an eighth of the side
    side: Annotated[int, at_least(8)] = 40  # height and width of a scene in pixels
    object_side: Annotated[int, at_least(4)] = 16  # height and width of an object in pixels, its border included
    fragments: Annotated[int, at_least(0)] = 4  # pieces of other objects in a scene
    examples: Annotated[int, at_least(0)] = 4000  # training pictures, of all classes; 0: all that are not held out
    held_out: Annotated[int, at_least(1)] = 500  # training pictures for validation
    tested: Annotated[int, at_least(1)] = 2000  # test pictures, at most
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD has the momentum and weight decay below, Adam neither
    lr: Annotated[float, positive] = 0.005  # peak learning rate
    network: Literal["small", "resnet50"] = "small"  # four convolutions, or ResNet-50
    width: Annotated[int, at_least(2)] = 24  # channels of the small network in its middle
    pooling: Pooling = "average"  # how the places of a picture become one vector
    sharpness: Annotated[float, at_least(0)] = 5.0  # s of entropy pooling
    form: Form = "exponential"  # of the weights of entropy pooling
    stop_gradient: bool = False  # whether the weights of entropy pooling are constants to the gradient
    warm: Annotated[float, within(0, 1)] = 0.0  # share of the steps in which entropy pooling averages
    r: Annotated[float, positive] = 1.0  # sharpness of log-sum-exp pooling
    hidden: Annotated[int, at_least(1)] = 32  # units of attention pooling


def warm_up(model: Network, begun: bool) -> None:
    """Let entropy pooling weigh its places, or, before it has `begun`, take them as equal. Other poolings stay."""
    if isinstance(model.head, EntropyPooling):
        model.head.active = begun


def train(cfg: Config, run: Run) -> None:
    m = materials(cfg, run)
    model = seeded(run, "init", lambda: network(cfg, m.train.x, m.classes))
    opt, schedule = optimiser(model, cfg)
    batches = Batches(len(m.train.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = unit(m.train.x[rows])
        if cfg.augment:
            x = shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=x.shape[-1] // 8)
        x, y = part(x, m.train.y[rows])
        warm_up(model, i >= cfg.warm * cfg.steps)
        return {"train/loss": descend(functional.cross_entropy(model(x).float(), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        warm_up(model, True)
        return measure(model, m.validation, m.test)

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    weights.save(run.path("model.safetensors"), model)
    if cfg.world == "scenes":
        warm_up(model, True)
        with run.autocast():
            save_maps(run.path("maps.png"), model, m.test)


def growth(trial: Trial) -> float:
    """How much more test error entropy pooling saves with objects of 16 pixels than with objects of 32."""
    small, large = (trial[f"average{size}"][ERROR] - trial[f"entropy{size}"][ERROR] for size in ("", "-large"))
    return small - large


LAPTOP = {"steps": 240, "batch": 64, "width": 16}
TINY = {"side": 32, "examples": 60, "held_out": 40, "tested": 40, "width": 4, "steps": 4, "batch": 8, "log_every": 2}
DIGITS = {"objects": "digits", "clutter": "digits", "natural": "digits"}
IMAGENETTE = {"clutter": "imagenette", "natural": "imagenette", "natural_side": 64, "steps": 960}
RESNET = {"natural": "ILSVRC/imagenet-1k", "natural_side": 224, "network": "resnet50", "augment": True, "batch": 256}
PAPER = RESNET | {"examples": 0, "held_out": 10_000, "tested": 50_000, "steps": 450_000, "log_every": 100}
PAPER |= {"optimiser": "sgd", "lr": 0.1, "schedule": "decay"}
OFFLINE = DIGITS | {"examples": 1000, "held_out": 200, "tested": 320}

ERROR, NATURAL, INSIDE = "test/error", "test/error-natural", "test/weight-inside"
POOLINGS = {
    "average": "all places weigh alike",
    "max": "the largest value of each channel",
    "gem": "a generalised mean of each channel, its exponent learnt",
    "log-sum-exp": "a smooth maximum of each class's scores",
    "attention": "weights learnt by two more layers",
    "entropy": "weights by the certainty of each place's own prediction",
}
ENTROPY = {"pooling": "entropy"}
MATTERS = 0.03  # of test error
OVERLAP = 0.03  # of an overlap
ABSTRACT = "abstract"

STUDY = Study(
    name="entropy-pooling",
    question="Does it help to weigh places by how certain each is of a class, and does the weight lie on the object?",
    paper=Paper(
        "Information Entropy Based Feature Pooling for Convolutional Neural Networks",
        "Wan, Chen, Li, Huang, Tian, Yu, Xue",
        2019,
        "https://doi.org/10.1109/ICCV.2019.00350",
    ),
    config=Config,
    program=train,
    variants=(
        *(Variant(name, {"pooling": name}, says) for name, says in POOLINGS.items()),
        Variant("entropy-warm", ENTROPY | {"warm": 0.25}, "entropy, after a quarter of the steps with average pooling"),
        Variant("entropy-stopped", ENTROPY | {"stop_gradient": True}, "entropy, weights constant to the gradient"),
        Variant(
            "entropy-linear",
            ENTROPY | {"form": "linear", "sharpness": 50.0},
            "entropy, weights linear in the certainty",
        ),
        *(
            Variant(f"{name}-large", {"pooling": name, "object_side": 32}, f"{name}, objects of 32 pixels")
            for name in ("average", "entropy")
        ),
        *(
            Variant(f"{name}-natural", {"pooling": name, "world": "natural"}, f"{name}, natural pictures")
            for name in ("average", "entropy")
        ),
    ),
    scales={
        "smoke": Scale(DIGITS | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE),
        "imagenette": Scale(LAPTOP | IMAGENETTE, seeds=5, minutes=10, offline=OFFLINE),
        "paper": Scale(
            PAPER,
            seeds=1,
            minutes=6000,
            judges=False,
            variants=("average-natural", "entropy-natural"),
            offline={"natural": "digits", "natural_side": 64, "held_out": 100, "tested": 100, "batch": 32},
        ),
    },
    words={
        ERROR: "test error",
        INSIDE: "share of the weight inside the object's box",
        "test/overlap-weights": "overlap of the weights with the object",
        "test/overlap-cam": "overlap of the class activation map with the object",
        "test/pointing-weights": "pictures whose heaviest place is on the object",
        "test/pointing-cam": "pictures whose most active place is on the object",
        "test/certain-clutter": "pictures whose most certain place is clutter",
        NATURAL: "test error on natural pictures",
    },
    idea=entropy_weights,
    claims={
        **{
            f"with small objects on clutter entropy pooling has a lower test error than {called} pooling": lower(
                "entropy", name, ABSTRACT
            )
            for name, called in (
                ("average", "average"),
                ("max", "maximum"),
                ("attention", "attention"),
                ("log-sum-exp", "log-sum-exp"),
            )
        },
        "entropy pooling has a larger share of its weight inside the object's box than maximum pooling": higher(
            "entropy", "max", ABSTRACT, of=INSIDE
        ),
        "the weights of entropy pooling overlap more with the object than average pooling's activation map": higher(
            ("entropy", "test/overlap-weights"), ("average", "test/overlap-cam"), ABSTRACT, matters=OVERLAP
        ),
        "trained with entropy pooling a network is less often surest of clutter than with average pooling": lower(
            "entropy", "average", "what the idea rests on", of="test/certain-clutter"
        ),
        "entropy pooling has a lower test error after a warm-up by average pooling than from the first step on": lower(
            "entropy-warm", "entropy", "beyond the paper", matters=MATTERS
        ),
        "keeping the weights of entropy pooling constant to the gradient changes the test error by at most 0.03": alike(
            "entropy-stopped", "entropy", MATTERS, "beyond the paper"
        ),
        "entropy pooling saves more test error with objects of 16 pixels than with objects of 32": Claim(
            growth, above(0), "beyond the paper", number="test error saved, with 16 minus with 32 pixels"
        ),
        "on natural pictures entropy and average pooling differ by at most 0.03 in test error": alike(
            "entropy-natural", "average-natural", MATTERS, "beyond the paper", of=NATURAL
        ),
    },
    charts=(
        bars(
            ERROR,
            INSIDE,
            title="Test error, and where the weight lies",
            sections={"Objects of 16 pixels": tuple(POOLINGS)},
        ),
        bars(
            ERROR,
            title="Test error by the size of the object",
            sections={
                "Objects of 16 pixels": ("average", "entropy"),
                "Objects of 32 pixels": ("average-large", "entropy-large"),
            },
        ),
        pictures(
            "maps.png",
            title="Scenes, and where the networks look",
            says="Above the scene, in the middle the weights, below the class activation map; white is the most.",
            variants=("average", "max", "log-sum-exp", "entropy"),
        ),
        plane(
            (INSIDE, ERROR),
            title="Test error by the share of the weight inside the object's box",
            variants=tuple(POOLINGS),
        ),
        bars(
            "test/overlap-cam",
            "test/overlap-weights",
            title="How well maps of places tell the object's pixels",
            sections={"Objects of 16 pixels": tuple(POOLINGS)},
            says="Average pooling has no weights that differ.",
        ),
        bars(
            NATURAL,
            title="Test error on natural pictures",
            sections={"CIFAR-10": ("average-natural", "entropy-natural")},
        ),
    ),
    origin="C",
)
