"""unet: a class for every pixel, learnt from thirty pictures.

A U-Net goes down to coarse features and up again, and beside each step up lie the features of the same resolution from
the way down. It learns from few pictures because these are deformed elastically, and parts cells that touch because
the background between them weighs more: with d1, d2 the distances to the nearest two cells (eq. 2)

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)).

    etudes run unet                     6 minutes on two cores, 17 variants, 5 seeds: nuclei and blood cells
    etudes run unet --scale membrane    15 minutes, 3 variants and 1 seed: slices of the paper's own kind
    etudes run unet --scale retina      15 minutes, 3 variants and 1 seed: vessels, split by patient
    etudes run unet --scale brain       15 minutes, 3 variants and 1 seed: tissue of a brain in four classes
    etudes run unet --scale paper       300 minutes on a GPU: the paper's network and tiles, 3 variants and 1 seed

Look at its overlays first: pictures, truth and prediction as outlines, and as masks below.

Departures from the paper at laptop scale: a narrow network of fewer levels, padded convolutions, Adam, windows of 64
pixels and a deformation as much smaller; the sets are others. Everywhere: the ridge between touching cells is one
pixel of each, and weights are scaled to a mean of 1.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Claim, Paper, Run, Scale, Study, Variant
from etudes.core.claims import above, at_least, difference, higher, lower, positive, within
from etudes.data.batches import Batches
from etudes.data.masks import Masks
from etudes.losses.segmentation import Loss, segmentation_loss
from etudes.nn.norm import Norm, Standardise
from etudes.nn.segmentation import Padding, SegmentationUNet, predict
from etudes.optim.schedules import Schedule, poly
from etudes.reports.charts import against, bars, curves, pictures
from etudes.studies.generative.unet.examples import drawn_rows, prepare, prepare_classes
from etudes.studies.generative.unet.findings import baselines, overlap, scores, show
from etudes.studies.generative.unet.idea import training_weights, weight_map
from etudes.studies.generative.unet.windows import Windows, plainly, strongly
from etudes.train import Adam, adam, descend, fitted, part, scheduled, seeded
from etudes.train import weights as weights_file

NNUNET_LR = 0.01  # nnU-Net's first learning rate


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "membrane"  # a segmentation set, as listed by `etudes data`; its classes are merged into one
    group: str = ""  # of that set's pictures, such as a stain; "": all
    several: bool = False  # learn the set of several classes in its place
    classed: str = "blood-cells"  # the set of several classes
    shifted: str = "blood-cells-cellavision"  # a set of the same classes that is tested on alone; "": none
    side: Annotated[int, at_least(0)] = 0  # pixels to which pictures of the first set are resized; 0: as they are
    classed_side: Annotated[int, at_least(0)] = 0  # the same of the set of several classes
    window: Annotated[int, at_least(0)] = 388  # pixels of the output's side in training; 0: whole pictures
    tested: Annotated[int, at_least(0)] = 0  # pixels in the middle of test pictures that are looked at; 0: all
    examples: Annotated[int, at_least(0)] = 0  # training pictures; 0: all that are not held out
    held_out: Annotated[int, at_least(0)] = 0  # training pictures for validation
    width: Annotated[int, at_least(1)] = 64  # channels at full resolution, twice as many a level below
    depth: Annotated[int, at_least(1)] = 4  # times that the resolution is halved
    padding: Padding = "valid"  # of convolutions
    skips: bool = True  # whether the way up sees the features of the way down
    norm: Norm = "none"  # behind convolutions of the plain recipe
    dropout: Annotated[float, within(0, 1)] = 0.5  # on the lowest level
    flips: bool = True  # random mirror images, both ways
    elastic: bool = True  # random elastic deformation, on a grid of 3 x 3
    pixels: Annotated[float, at_least(0)] = 10.0  # of its standard deviation
    weighting: Literal["map", "none"] = "map"  # eq. 2, of sets of objects; of others w_c alone
    w0: Annotated[float, at_least(0)] = 10.0  # weight of the borders
    sigma: Annotated[float, positive] = 5.0  # pixels over which it falls
    loss: Loss = "cross-entropy"  # "dice" by picture, "dice-batch", or "both": cross-entropy and dice-batch
    recipe: Literal["plain", "nnunet"] = "plain"  # nnU-Net's norm, slope, loss, optimiser, schedule and augmentation
    optimiser: Literal["adam", "momentum"] = "momentum"  # of the plain recipe: the paper's has momentum 0.99
    batch: Annotated[int, at_least(1)] = 1  # windows a step
    lr: Annotated[float, positive] = 1e-3  # peak learning rate
    schedule: Schedule = "constant"  # learning rate over the steps


def network(cfg: Config, d: Masks) -> SegmentationUNet:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes, h - margin, w - margin]."""
    pixels = d.x.double() / 255
    first = Standardise(pixels.mean((0, 2, 3)).float(), pixels.std((0, 2, 3)).float())
    kind, slope = ("instance", 0.01) if cfg.recipe == "nnunet" else (cfg.norm, 0.0)
    channels, classes = d.x.shape[1], len(d.classes)
    return SegmentationUNet(
        channels, classes, cfg.width, cfg.depth, cfg.padding, cfg.skips, kind, slope, cfg.dropout, first
    )


def optimiser(cfg: Config, model: nn.Module) -> tuple[Optimizer, LambdaLR]:
    """nnU-Net's, or the plain recipe's with the schedule that it names."""
    if cfg.recipe == "nnunet":
        opt = SGD(model.parameters(), NNUNET_LR, momentum=0.99, weight_decay=3e-5, nesterov=True)
        return opt, LambdaLR(opt, lambda step: poly(step, cfg.steps))
    if cfg.optimiser == "adam":
        return adam(model, cfg)
    opt = SGD(model.parameters(), cfg.lr, momentum=0.99)
    return opt, scheduled(opt, cfg)


def train(cfg: Config, run: Run) -> None:
    if cfg.several:
        whole = prepare_classes(cfg.classed, cfg.classed_side)
    else:
        whole = prepare(cfg.dataset, cfg.group, cfg.side, cfg.tested)
    run.note(data=whole.source)
    held_out, rows = drawn_rows(len(whole.x), cfg.held_out, cfg.examples, run.rng("rows"))
    d = whole.take(rows)
    weights = training_weights(d, cfg.w0, cfg.sigma) if cfg.weighting == "map" else torch.ones(d.y.shape)
    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = optimiser(cfg, model)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))
    window = 0 if cfg.several else cfg.window
    windows = Windows.of(*(p.to(run.device) for p in (d.x, d.y, weights)), batches, window, model.margin)
    change = strongly if cfg.recipe == "nnunet" else plainly(cfg.flips, cfg.pixels if cfg.elastic else 0)
    loss = "both" if cfg.recipe == "nnunet" else cfg.loss
    tile = cfg.window if cfg.padding == "valid" else 0

    def step(i: int) -> dict[str, Tensor]:
        x, y, w = part(*windows.at(run, i, change))
        return {"train/loss": descend(segmentation_loss(loss, model(x), y, w), opt, schedule)}

    def evaluate() -> dict[str, float]:
        predicted = predict(model, d.test_x.to(run.device), tile).cpu()
        found = scores(predicted, d)
        if len(held_out):
            x, y = whole.x[held_out], whole.y[held_out]
            found |= overlap(predict(model, x.to(run.device), tile).cpu(), y, d.classes, "validation/")
        return found

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate), **baselines(d))
    weights_file.save(run.path("model.safetensors"), model)
    with run.autocast():
        show(run, predict(model, d.test_x[:4].to(run.device), tile).cpu(), d)
        if cfg.several and cfg.shifted:
            other = prepare_classes(cfg.shifted, cfg.classed_side)
            x, y = torch.cat([other.x, other.test_x]), torch.cat([other.y, other.test_y])
            found = overlap(predict(model, x.to(run.device), tile).cpu(), y, other.classes, "test/shift-")
            run.result(**found)


NUCLEI = {"dataset": "nuclei", "group": "grey", "window": 64, "tested": 128, "classed_side": 64}
SMALL = {"width": 8, "depth": 3, "padding": "same", "dropout": 0.0, "optimiser": "adam", "schedule": "cosine", "pixels": 3.0}
LAPTOP = NUCLEI | SMALL | {"steps": 160, "batch": 8, "lr": 1e-2}
DRAWN = {"dataset": "drawn-cells", "group": "", "classed": "drawn-cells", "shifted": ""}
TINY = {"side": 32, "window": 16, "tested": 16, "classed_side": 16, "width": 2, "depth": 1, "steps": 3, "batch": 2}
ALONE = {"seeds": 1, "judges": False, "threads": 2}
FEW = (8, 15, 120)
MANY = {"several": True, "weighting": "none"}


STUDY = Study(
    name="unet",
    question="What lets a U-Net learn from thirty pictures, and which loss finds small classes and parts cells?",
    paper=Paper(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "Ronneberger, Fischer, Brox",
        2015,
        "https://arxiv.org/abs/1505.04597",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("unet", {"examples": 30}, "the paper's: skips, elastic deformation, weight map"),
        Variant("no-skips", {"examples": 30, "skips": False}),
        Variant("no-elastic", {"examples": 30, "elastic": False}, "flips alone"),
        Variant("no-weights", {"examples": 30, "weighting": "none"}, "every pixel weighs the same"),
        Variant("dice", {"examples": 30, "weighting": "none", "loss": "dice"}),
        Variant("dice-batch", {"examples": 30, "weighting": "none", "loss": "dice-batch"}),
        *(Variant(f"unet-{n}", {"examples": n}) for n in FEW),
        *(Variant(f"no-elastic-{n}", {"examples": n, "elastic": False}) for n in FEW),
        Variant("classes", {"examples": 30, **MANY}, "three classes, cross-entropy"),
        Variant("classes-dice", {"examples": 30, **MANY, "loss": "dice"}),
        Variant("classes-both", {"examples": 30, **MANY, "loss": "both"}),
        Variant("classes-nnunet", {"examples": 30, **MANY, "recipe": "nnunet"}),
    ),
    scales={
        "smoke": Scale(LAPTOP | DRAWN | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, offline=DRAWN),
        "paper": Scale({"steps": 30_000, "side": 512}, minutes=300, **ALONE, variants=("unet", "no-skips", "no-elastic")),
    },
    claims={
        "with skips fewer pixels near borders are wrong than without": lower(
            "unet", "no-skips", "sec. 2", of="test/border-error"
        ),
    },
    charts=(
        against("examples", "test/iou", by="elastic, skips, weighting, loss, several, recipe"),
        bars("test/iou", "test/dice", "test/dice-whole"),
        pictures("overlay.png"),
    ),
    origin="A11",
    idea=weight_map,
)
