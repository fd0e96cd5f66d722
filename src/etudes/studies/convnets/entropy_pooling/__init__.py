"""entropy-pooling: places of a picture that are sure of a class weigh more than others.

draft
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, lower, positive, within
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.nn.entropy_pooling import EntropyPooling, Form, entropy_weights
from etudes.reports.charts import bars
from etudes.studies.convnets.entropy_pooling.findings import measure
from etudes.studies.convnets.entropy_pooling.materials import materials
from etudes.studies.convnets.entropy_pooling.networks import network
from etudes.train import Sgd, descend, fitted, part, seeded, sgd, weights

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
    network: Literal["small", "resnet50"] = "small"  # four convolutions, or ResNet-50
    width: Annotated[int, at_least(2)] = 24  # channels of the small network in its middle
    pooling: Pooling = "average"  # how the places of a picture become one vector
    sharpness: Annotated[float, at_least(0)] = 5.0  # s of entropy pooling
    form: Form = "exponential"  # of the weights of entropy pooling
    stop_gradient: bool = False  # whether the weights of entropy pooling are constants to the gradient
    warm: Annotated[float, within(0, 1)] = 0.25  # share of the steps in which entropy pooling averages
    r: Annotated[float, positive] = 1.0  # sharpness of log-sum-exp pooling
    hidden: Annotated[int, at_least(1)] = 32  # units of attention pooling


def warm_up(model: nn.Module, begun: bool) -> None:
    """Let entropy pooling weigh its places, or, before it has `begun`, take them as equal. Other poolings stay."""
    if isinstance(model.head, EntropyPooling):
        model.head.active = begun


def train(cfg: Config, run: Run) -> None:
    m = materials(cfg, run)
    model = seeded(run, "init", lambda: network(cfg, m.train.x, m.classes))
    opt, schedule = sgd(model, cfg)
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


STUDY = Study(
    name="entropy-pooling",
    question="Does weighing the places of a picture by the certainty of their own prediction help, and where does the weight lie?",
    paper=Paper("Information Entropy Based Feature Pooling for Convolutional Neural Networks", "Wan, Chen, Li, Huang, Tian, Yu, Xue", 2019, "https://doi.org/10.1109/ICCV.2019.00350"),
    config=Config,
    program=train,
    variants=(
        Variant("average", {}, "all places weigh alike"),
        Variant("max", {"pooling": "max"}, "the largest value of each channel"),
        Variant("entropy", {"pooling": "entropy"}, "sure places weigh more"),
        Variant("entropy-cold", {"pooling": "entropy", "warm": 0.0}, ""),
        Variant("entropy-stopped", {"pooling": "entropy", "stop_gradient": True}, ""),
        Variant("entropy-linear", {"pooling": "entropy", "form": "linear"}, ""),
        Variant("log-sum-exp", {"pooling": "log-sum-exp"}, ""),
        Variant("gem", {"pooling": "gem"}, ""),
        Variant("attention", {"pooling": "attention"}, ""),
        Variant("average-small", {"object_side": 12}, ""),
        Variant("entropy-small", {"pooling": "entropy", "object_side": 12}, ""),
        Variant("average-large", {"object_side": 24}, ""),
        Variant("entropy-large", {"pooling": "entropy", "object_side": 24}, ""),
        Variant("average-natural", {"world": "natural"}, ""),
        Variant("entropy-natural", {"world": "natural", "pooling": "entropy"}, ""),
    ),
    scales={
        "smoke": Scale({"objects": "digits", "clutter": "digits", "natural": "digits", "side": 24, "examples": 100, "held_out": 40, "tested": 40, "width": 4, "steps": 4, "batch": 8}, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({"steps": 200, "batch": 64}, seeds=(5, 8, 12, 20), minutes=5),
    },
    claims={"entropy pooling has a lower test error than average pooling": lower("entropy", "average", "abstract")},
    charts=(bars("test/error"),),
    origin="C",
)
