"""unet: a class for every pixel, learnt from thirty pictures.

A U-Net goes down to coarse features and up again, and beside each step up lie the features of the same resolution from
the way down. It learns from few pictures because these are deformed elastically, and parts cells that touch because
the background between them weighs more: with d1, d2 the distances to the nearest two cells (eq. 2)

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)).

    etudes run unet                     5 minutes on two cores, 12 variants, 5 seeds: nuclei and blood cells
    etudes run unet --scale membrane    6 minutes, 3 variants and 1 seed: slices of the paper's own kind
    etudes run unet --scale retina      4 minutes, 2 variants and 1 seed: vessels, split by patient
    etudes run unet --scale brain       4 minutes, 3 variants and 1 seed: the tissue of a brain in four classes
    etudes run unet --scale paper       300 minutes on a GPU, 3 variants and 1 seed: the paper's network and tiles

`--until decided` goes on to 20 seeds. Look at its overlays first: pictures, truth and prediction as outlines, and as
masks below. To expect: without skips borders are lost; the weight map parts nuclei and costs overlap; elastic
deformation matters with five pictures, and hardly with thirty.

Departures from the paper at laptop scale: a narrow network of fewer levels, padded convolutions, Adam, pictures of 48
pixels, deformations of 1.5 for 10 pixels; the sets are others. Everywhere: the ridge between touching cells is one
pixel of each, and weights are scaled to a mean of 1.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Paper, Run, Scale, Study, Variant, alike, at_least, higher, lower, positive, within
from etudes.data.batches import Batches
from etudes.data.masks import Masks
from etudes.losses.segmentation import Loss, segmentation_loss
from etudes.nn.norm import Norm, Standardise
from etudes.nn.segmentation import Padding, SegmentationUNet, predict
from etudes.optim.schedules import Schedule, poly
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.generative.unet.examples import drawn_rows, opened, prepare_classes
from etudes.studies.generative.unet.findings import baselines, of_classes, overlap, scores, show
from etudes.studies.generative.unet.idea import training_weights, weight_map
from etudes.studies.generative.unet.windows import Windows, plainly, strongly
from etudes.train import Adam, adam, descend, fitted, part, scheduled, seeded, weights

NNUNET_LR = 0.01  # nnU-Net's first learning rate


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "membrane"  # a segmentation set, as listed by `etudes data`; its classes are merged into one
    group: str = ""  # of that set's pictures, such as a stain; "": all
    dark: bool = False  # of grey pictures of that set only those on a dark ground, such as those of fluorescence
    several: bool = False  # learn the set of several classes in its place
    classed: str = "blood-cells"  # the set of several classes
    shifted: str = "blood-cells-cellavision"  # a set of the same classes that is tested on alone; "": none
    side: Annotated[int, at_least(0)] = 0  # pixels to which pictures of the first set are resized; 0: as they are
    classed_side: Annotated[int, at_least(0)] = 0  # the same of the set of several classes
    window: Annotated[int, at_least(0)] = 388  # pixels of the output's side in training; 0: whole pictures
    learnt: Annotated[int, at_least(0)] = 0  # pixels in the middle of training pictures that are learnt from; 0: all
    tested: Annotated[int, at_least(0)] = 0  # pixels in the middle of test pictures that are looked at; 0: all
    examples: Annotated[int, at_least(0)] = 0  # training pictures; 0: all that are not held out
    held_out: Annotated[int, at_least(0)] = 0  # training pictures for validation
    width: Annotated[int, at_least(1)] = 64  # channels at full resolution, twice as many a level below
    depth: Annotated[int, at_least(1)] = 4  # times that the resolution is halved
    padding: Padding = "valid"  # of convolutions
    skips: bool = True  # whether the way up sees the features of the way down
    norm: Norm = "none"  # behind convolutions of the plain recipe
    dropout: Annotated[float, within(0, 1)] = 0.5  # on the lowest level
    flips: bool = False  # random mirror images, both ways
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
    whole = opened(cfg)
    run.note(data=whole.source)
    held_out, rows = drawn_rows(len(whole.x), cfg.held_out, cfg.examples, run.rng("rows"))
    d = whole.take(rows)
    weighs = training_weights(d, cfg.w0, cfg.sigma) if cfg.weighting == "map" else torch.ones(d.y.shape)
    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = optimiser(cfg, model)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))
    side = 0 if cfg.several else cfg.window
    windows = Windows.of(*(p.to(run.device) for p in (d.x, d.y, weighs)), batches, side, model.margin)
    change = strongly if cfg.recipe == "nnunet" else plainly(cfg.flips, cfg.pixels if cfg.elastic else 0)
    loss: Loss = "both" if cfg.recipe == "nnunet" else cfg.loss
    tile = cfg.window if cfg.padding == "valid" else 0
    name = of_classes if cfg.several else dict

    def classes(x: Tensor) -> Tensor:
        return predict(model, x.to(run.device), tile).cpu()

    def step(i: int) -> dict[str, Tensor]:
        x, y, w = part(*windows.at(run, i, change))
        return {"train/loss": descend(segmentation_loss(loss, model(x), y, w), opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = name(scores(classes(d.test_x), d))
        if len(held_out):
            found |= overlap(classes(whole.x[held_out]), whole.y[held_out], d.classes, "validation/")
        if cfg.several and cfg.shifted:
            other = prepare_classes(cfg.shifted, cfg.classed_side)
            x, y = torch.cat([other.x, other.test_x]), torch.cat([other.y, other.test_y])
            found |= overlap(classes(x), y, other.classes, "test/shift-")
        return found

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**name(baselines(d)))
    weights.save(run.path("model.safetensors"), model)
    with run.autocast():
        show(run, classes(d.test_x[:4]), d)


NUCLEI = {"dataset": "nuclei", "group": "grey", "dark": True, "window": 48, "learnt": 128, "tested": 128}
SMALL = {"depth": 3, "padding": "same", "dropout": 0.0, "optimiser": "adam", "schedule": "cosine", "pixels": 1.5}
LAPTOP = NUCLEI | SMALL | {"classed_side": 48, "width": 8, "steps": 320, "batch": 8, "lr": 4e-3}
DRAWN = {"dataset": "drawn-cells", "group": "", "classed": "drawn-cells", "shifted": "drawn-cells-dark"}
CUT = {"side": 32, "window": 8, "learnt": 16, "tested": 16, "classed_side": 16}
TINY = CUT | {"depth": 1, "width": 2, "steps": 3, "batch": 2}
LARGE = SMALL | {"pixels": 3.0, "width": 16, "steps": 800, "batch": 4, "lr": 2e-3, "window": 128}
ALONE = {"seeds": 1, "judges": False}
THIRTY = {"examples": 30}
CELLS = {"several": True, "weighting": "none"}
STILL = {"elastic": False}
IOU, CLASS_IOU, CLASS_DICE = "test/iou", "test/class-iou", "test/class-dice"
ISENSEE = "Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z)"
MATTERS = 0.02  # of IoU, Dice and shares of pixels
MILLETARI = "Milletari et al. 2016 (arXiv:1606.04797), sec. 3"
RECIPES = ("classes", "classes-dice", "classes-dice-batch", "classes-both", "classes-nnunet")
BY_EXAMPLES = {
    "thirty pictures": ("classes", "classes-no-elastic"),
    "five pictures": ("classes-5", "classes-no-elastic-5", "classes-flips-5"),
}
ROWS = """A picture, the truth and the prediction over it; below, what differs (orange: too much, blue: missed), and
both as masks. The first four test pictures."""

STUDY = Study(
    name="unet",
    question="What lets a U-Net learn from thirty pictures or five, and what parts cells that touch?",
    paper=Paper(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "Ronneberger, Fischer, Brox",
        2015,
        "https://arxiv.org/abs/1505.04597",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("unet", THIRTY, "nuclei, by the paper: skips, elastic deformation, weight map"),
        Variant("no-skips", THIRTY | {"skips": False}, "as unet, but the way up sees the lowest level alone"),
        Variant("no-weights", THIRTY | {"weighting": "none"}, "as unet, but every pixel weighs the same"),
        Variant("classes", THIRTY | CELLS, "blood cells in three classes: skips, elastic deformation, cross-entropy"),
        Variant("classes-no-elastic", THIRTY | CELLS | STILL, "as classes, but pictures as they are"),
        Variant("classes-5", {"examples": 5} | CELLS, "as classes, but five pictures"),
        Variant("classes-no-elastic-5", {"examples": 5} | CELLS | STILL, "five pictures as they are"),
        Variant("classes-flips-5", {"examples": 5, "flips": True} | CELLS | STILL, "five pictures, mirrored by chance"),
        Variant("classes-dice", THIRTY | CELLS | {"loss": "dice"}, "as classes, but soft Dice of each picture"),
        Variant(
            "classes-dice-batch", THIRTY | CELLS | {"loss": "dice-batch"}, "as classes, but soft Dice of the batch"
        ),
        Variant(
            "classes-both", THIRTY | CELLS | {"loss": "both"}, "as classes, but cross-entropy plus Dice of the batch"
        ),
        Variant("classes-nnunet", THIRTY | CELLS | {"recipe": "nnunet"}, "as classes, but nnU-Net's recipe"),
    ),
    scales={
        "smoke": Scale(LAPTOP | DRAWN | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=DRAWN),
        "membrane": Scale(LARGE, minutes=6, **ALONE, variants=("unet", "no-skips", "no-weights")),
        "retina": Scale(LARGE | {"dataset": "chase-db1"}, minutes=4, **ALONE, variants=("unet", "no-skips")),
        "brain": Scale(
            LARGE | {"classed": "brain-tissue", "classed_side": 96, "shifted": ""},
            minutes=4,
            **ALONE,
            variants=("classes", "classes-both", "classes-nnunet"),
        ),
        "paper": Scale(
            {"side": 512, "steps": 30_000}, minutes=300, **ALONE, variants=("unet", "no-skips", "no-weights")
        ),
    },
    claims={
        "with skips fewer pixels near the borders of nuclei are wrong than without": lower(
            "unet", "no-skips", "sec. 2", of="test/border-error", matters=MATTERS
        ),
        "the weight map leaves fewer nuclei merged than equal weights": lower(
            "unet", "no-weights", "sec. 3, eq. 2", of="test/merged", matters=MATTERS
        ),
        "the weight map costs overlap: the IoU of nuclei is lower than with equal weights": lower(
            "unet", "no-weights", "beyond the paper", of=IOU, matters=MATTERS
        ),
        "with elastic deformation thirty pictures teach a higher mean IoU than without": higher(
            "classes", "classes-no-elastic", "sec. 3.1", of=CLASS_IOU, matters=MATTERS
        ),
        "with elastic deformation five pictures teach a higher mean IoU than without": higher(
            "classes-5", "classes-no-elastic-5", "sec. 3.1", of=CLASS_IOU, matters=MATTERS
        ),
        "five pictures mirrored by chance teach as high a mean IoU as five deformed elastically": alike(
            "classes-flips-5", "classes-5", MATTERS, "beyond the paper", of=CLASS_IOU
        ),
        "soft Dice as the loss gives a higher Dice than cross-entropy": higher(
            "classes-dice", "classes", MILLETARI, of=CLASS_DICE, matters=MATTERS
        ),
        "Dice over the batch as the loss gives a higher Dice than Dice of each picture": higher(
            "classes-dice-batch", "classes-dice", f"{ISENSEE}, in two dimensions", of=CLASS_DICE, matters=MATTERS
        ),
        "cross-entropy plus Dice as the loss gives a higher mean IoU than cross-entropy alone": higher(
            "classes-both", "classes", ISENSEE, of=CLASS_IOU, matters=MATTERS
        ),
        "nnU-Net's recipe has a higher mean IoU on blood cells than the plain one after as many steps": higher(
            "classes-nnunet", "classes", ISENSEE, of=CLASS_IOU, matters=MATTERS
        ),
        "on a stain that neither saw nnU-Net's recipe has a higher mean IoU than the plain one": higher(
            "classes-nnunet", "classes", "beyond the paper", of="test/shift-iou", matters=MATTERS
        ),
    },
    charts=(
        bars(
            "test/border-error",
            "test/merged",
            IOU,
            title="Nuclei without skips, and without the weight map",
            sections={"nuclei": ("unet", "no-skips", "no-weights")},
        ),
        bars(
            CLASS_IOU,
            "test/class-iou-1",
            "test/class-iou-2",
            title="Blood cells with and without elastic deformation, from thirty and from five pictures",
            sections=BY_EXAMPLES,
        ),
        bars(
            CLASS_IOU,
            CLASS_DICE,
            "test/shift-iou",
            title="Losses and nnU-Net's recipe on blood cells, and on a stain that none saw",
            sections={"blood cells": RECIPES},
        ),
        pictures("overlay.png", title="Truth and prediction", says=ROWS, variants=("unet", "classes-nnunet")),
        curves(
            "train/loss",
            title="Training loss",
            says="Losses of different kinds and weights cannot be compared.",
        ),
    ),
    words={
        "test/border-error": "share of wrong pixels near borders of nuclei",
        "test/merged": "share of nuclei merged with another",
        IOU: "IoU of nuclei",
        CLASS_IOU: "mean IoU of blood cells",
        CLASS_DICE: "mean Dice of blood cells",
        "test/shift-iou": "mean IoU on another stain",
        "test/class-iou-1": "IoU of their nuclei",
        "test/class-iou-2": "IoU of their cytoplasm",
    },
    idea=weight_map,
    origin="A11",
)
