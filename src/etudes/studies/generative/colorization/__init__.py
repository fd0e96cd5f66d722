"""colorization: colours for grey pictures, as classes, with rare colours given more weight.

From a picture's lightness a network tells odds over bins of the ab plane of CIE Lab. It lowers the cross-entropy, in
which each pixel weighs by how rare its colour is,

    w ~ 1 / ((1 - l) p~ + l / Q),  E w = 1     (eq. 4),

and the colour shown is the mean under odds sharpened by a temperature, exp(log z / T) / sum (eq. 5). A network that
guesses a and b by least squares (eq. 1) shows the mean of all colours that an object may have, which is grey.

    etudes run colorization                    5 minutes on two cores, 5 variants, 5 seeds (to 20 with --until decided)
    etudes run colorization --scale cars       20 minutes, 3 variants, 3 seeds: Stanford Cars at 64 pixels
    etudes run colorization --scale paper      the paper's network and steps on tiny-imagenet, 3 seeds

To expect: pictures coloured by classes are more colourful than those of least squares, and further from the true
colours. On drawn shapes, whose possible colours are known, classes keep both of two colours and least squares neither.

Departures from the paper at laptop scale: pictures of 32 pixels, colours at half their resolution, a narrow network and
hundreds of steps from random weights (the paper's begin from k-means); a classifier, trained apart to tell natural
colours from wrong ones, in place of people.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    below,
    between,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.claims import Interval
from etudes.data.augment import flip
from etudes.data.batches import Batches
from etudes.data.colour import lab
from etudes.data.images import Images, images, unit
from etudes.data.shapes import shapes
from etudes.measure.colour import colourfulness
from etudes.measure.error import error_rate
from etudes.reports.charts import bars, pictures, plane
from etudes.studies.generative.colorization.bins import (
    bin_centres,
    classification_loss,
    colorizer,
    rebalancing_weights,
    soft_encoding,
)  # fmt: skip
from etudes.studies.generative.colorization.drawn import AWAY, PATCHES, compare_drawn
from etudes.studies.generative.colorization.findings import (
    colorize,
    colour_errors,
    grey,
    judge,
    preference,
    probe_error,
    rarities,
    save_colours,
    swap_colours,
)  # fmt: skip
from etudes.studies.generative.colorization.painter import SPREAD, Painter
from etudes.tools.classifier import classifier
from etudes.train import Adam, adam, descend, fitted, part, seeded, weights


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "tiny-imagenet"  # pictures to learn colours from, as listed by `etudes data`
    labelled: str = "imagenette"  # a set with classes, whose test pictures are coloured and classified too
    drawn: bool = False  # learn drawn shapes, whose possible colours are known, in place of the dataset
    drawn_steps: Annotated[int, at_least(1)] = 2000  # optimiser steps on drawn shapes, which are simpler
    drawings: Annotated[int, at_least(8)] = 2000  # drawn shapes to learn from; a quarter as many are coloured
    side: Annotated[int, at_least(8)] = 64  # pixels of a side
    loss: Literal["classes", "squares"] = "classes"  # cross-entropy over bins, or least squares on a and b
    uniform: Annotated[float, within(0, 1)] = 0.5  # l, the share of the uniform distribution; 1: no rebalancing
    grid: Annotated[int, within(5, 50)] = 10  # side of a bin, in units of a and b
    temperature: Annotated[float, positive] = 0.38  # T of the annealed mean
    width: Annotated[int, at_least(1)] = 64  # channels of the first block
    depth: Annotated[int, at_least(1)] = 3  # convolutions of a block
    halvings: Annotated[int, at_least(1)] = 3  # of the picture's side on the way down; half of one comes back
    lr: Annotated[float, positive] = 3e-5  # peak learning rate
    tested: Annotated[int, at_least(8)] = 1000  # test pictures that are coloured
    judge_width: Annotated[int, at_least(1)] = 8  # channels of the judge's and the classifier's stem
    judge_steps: Annotated[int, at_least(1)] = 2000  # of the training of each
    probe_steps: Annotated[int, at_least(1)] = 2000  # of the linear classifier on frozen features


def squares_loss(guess: Tensor, ab: Tensor) -> Tensor:
    """L_2 (eq. 1): half the squared distance in ab of a guess [n, 2, h, w], the mean over pixels."""
    return (guess.float() - ab).square().sum(1).mean() / 2


def frequencies(x: Tensor, centres: Tensor, shrink: int) -> Tensor:
    """How frequent [Q] each bin is among the colours of pictures x [n, 3, h, w] in [0, 1], made `shrink` times
    smaller."""
    total = torch.zeros(len(centres))
    for batch in x.split(250):
        total += soft_encoding(functional.avg_pool2d(lab(batch)[:, 1:], shrink), centres).sum((0, 2, 3))
    return total / total.sum()


def coloured_set(cfg: Config, name: str) -> Images:
    """The pictures of a set, at the side of the settings. Raises Problem where they have no colours."""
    d = shapes(cfg.drawings, cfg.drawings // 4, cfg.side) if name == "shapes" else images(name).resize(cfg.side)
    if d.shape[0] != 3:
        raise Problem(f"colorization: the pictures of {name} are grey; take a set in colour, or shapes")
    return d


def network(cfg: Config, centres: Tensor) -> nn.Sequential:
    """From lightness L / 50 - 1 [n, 1, h, w] to logits of the bins, or to a and b over SPREAD; all before the last two
    parts are features."""
    return colorizer(cfg.width, cfg.depth, cfg.halvings, len(centres) if cfg.loss == "classes" else 2)


def train(cfg: Config, run: Run) -> None:
    if cfg.drawn:
        cfg = replace(cfg, steps=cfg.drawn_steps)
    d = coloured_set(cfg, "shapes" if cfg.drawn else cfg.dataset).to(run.device)
    run.note(data=d.source)
    centres = bin_centres(cfg.grid).to(run.device)
    shrink = 2 ** (cfg.halvings - 1)
    some = torch.from_numpy(run.rng("frequencies").permutation(len(d.x))[:1000])
    frequency = frequencies(unit(d.x[some]), centres, shrink)
    rare = rebalancing_weights(frequency, centres, cfg.uniform)
    model = seeded(run, "init", lambda: network(cfg, centres))
    opt, schedule = adam(model, cfg, (0.9, 0.99))
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        (x,) = part(lab(flip(unit(d.x[batches.at(i).to(run.device)]), run.rng("flip", i))))
        ab = functional.avg_pool2d(x[:, 1:], shrink)
        guess = model(x[:, :1] / 50 - 1)
        if cfg.loss == "classes":
            return {"train/loss": descend(classification_loss(guess, ab, centres, rare), opt, schedule)}
        return {"train/loss": descend(squares_loss(SPREAD * guess, ab), opt, schedule)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step))
    weights.save(run.path("model.safetensors"), model)
    painter = Painter(model, centres if cfg.loss == "classes" else None)
    if cfg.drawn:
        compare_drawn(run, d, painter, cfg.temperature, rare, shrink)
    else:
        compare(cfg, run, d, painter, centres, frequency)
        classify(cfg, run, painter, lambda: network(cfg, centres))


def compare(cfg: Config, run: Run, d: Images, painter: Painter, centres: Tensor, frequency: Tensor) -> None:
    """Put into the result what there is to say of coloured test pictures, beside grey ones, ones with the colours of
    others, and the true ones. centres [Q, 2] of the bins, and how frequent [Q] each is in training."""
    rows = torch.from_numpy(run.rng("test").permutation(len(d.test_x))[: cfg.tested])
    true = unit(d.test_x[rows])
    made = {end: colorize(true, painter.at(t)) for end, t in painter.temperatures(cfg.temperature).items()}
    rare = rarities(true, centres, frequency)
    natural = judge(run, unit(d.x), cfg.judge_width, cfg.judge_steps)
    for end, x in (made | {"-grey": grey(true), "-borrowed": swap_colours(true, run.rng("borrow"))}).items():
        found = colour_errors(x, true, rare)
        found |= {COLOURS: colourfulness(x).mean().item(), JUDGED: preference(natural, x, true)}
        run.result(**{f"{name}{end}": value for name, value in found.items()})
    run.result(**{f"{COLOURS}-true": colourfulness(true).mean()})
    save_colours(run, "coloured.png", [x[:10] for x in (grey(true), *made.values(), true)])


def classify(cfg: Config, run: Run, painter: Painter, make: Callable[[], nn.Sequential]) -> None:
    """Put into the result how well coloured pictures of a set with classes are classified, and how well a linear
    classifier does on features, beside those of a network as it was before training."""
    d = coloured_set(cfg, cfg.labelled).to(run.device)
    net, missed = classifier(run, d, cfg.judge_width, cfg.judge_steps)
    x = unit(d.test_x)
    for end, shown in {"": colorize(x, painter.at(cfg.temperature)), "-grey": grey(x)}.items():
        run.result(**{f"test/class-error{end}": error_rate(net, shown, d.test_y)})
    run.result(**{"test/class-error-true": missed})
    for end, model in {"": painter.model, "-untrained": seeded(run, "init", make)}.items():
        features = model[: cfg.halvings + 1]  # to the fourth block of the paper's network, and its like
        run.result(**{f"test/probe-error{end}": probe_error(features, d, cfg.probe_steps, run)})


COLOURS, JUDGED, BALANCED, RAW = "test/colourfulness", "test/preferred", "test/auc-balanced", "test/auc"
PHOTOGRAPHS = ("full", "classes", "squares")
EVEN = "where a shape has two colours alike probable"
LAPTOP = {
    "side": 32, "width": 16, "depth": 1, "halvings": 2, "batch": 16, "steps": 450,
    "drawn_steps": 200, "lr": 3e-3, "tested": 500, "judge_steps": 200, "probe_steps": 300,
}  # fmt: skip
SHAPES = {"dataset": "shapes", "labelled": "shapes"}
TINY = LAPTOP | SHAPES | {
    "side": 16, "width": 2, "batch": 8, "steps": 4, "drawn_steps": 4, "drawings": 100, "tested": 16, "judge_width": 1,
    "judge_steps": 2, "probe_steps": 2,
}  # fmt: skip


def times(a: tuple[str, str], b: tuple[str, str], expect: Interval, where: str) -> Claim:
    """A claim on a metric over another, a and b being (variant, metric): positive ones, and so judged as a ratio."""
    number = f"{a[1]} of {a[0]} over {b[1]} of {b[0]}"
    return Claim(lambda trial: trial[a[0]][a[1]] / trial[b[0]][b[1]], expect, where, number=number, kind="ratio")


STUDY = Study(
    name="colorization",
    question="Does colouring by classes, with rare colours given more weight, make grey pictures vivid and natural?",
    paper=Paper("Colorful Image Colorization", "Zhang, Isola, Efros", 2016, "https://arxiv.org/abs/1603.08511"),
    config=Config,
    program=train,
    variants=(
        Variant("full", says="classes, rare colours given more weight"),
        Variant("classes", {"uniform": 1.0}, "as full, every colour of the same weight"),
        Variant("squares", {"loss": "squares"}, "a and b by least squares"),
        Variant("shapes", {"drawn": True}, "as full, on drawn shapes"),
        Variant("shapes-squares", {"drawn": True, "loss": "squares"}, "as squares, on drawn shapes"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=SHAPES),
        "cars": Scale(LAPTOP | {"dataset": "stanford-cars", "side": 64}, 3, 20, judges=False, variants=PHOTOGRAPHS),
        "paper": Scale({"batch": 40, "steps": 450_000, "log_every": 100}, 3, 3_000, variants=PHOTOGRAPHS),
    },
    claims={
        "classes with weights make more colourful photographs than least squares": times(
            ("full", COLOURS), ("squares", COLOURS), above(1), "sec. 2.1, fig. 5"
        ),
        "weights for rare colours make photographs more colourful": times(
            ("full", COLOURS), ("classes", COLOURS), above(1), "sec. 2.2"
        ),
        "weights for rare colours bring rare colours of photographs nearer to the true ones": higher(
            "full", "classes", "table 1, AuC rebal", of=BALANCED
        ),
        "over all pixels least squares is nearer to the true colours than classes with weights": higher(
            "squares", "full", "table 1, AuC non-rebal", of=RAW
        ),
        "a judge takes photographs coloured by classes with weights for true more often than those of least squares": (
            higher("full", "squares", "table 1, AMT", of=JUDGED)
        ),
        "a classifier errs less on photographs coloured by classes with weights than on grey ones": lower(
            ("full", "test/class-error"), ("full", "test/class-error-grey"), "table 1, VGG top-1"
        ),
        "features learnt by colouring classify better than those of an untrained network": lower(
            ("full", "test/probe-error"), ("full", "test/probe-error-untrained"), "sec. 3.2, table 2"
        ),
        f"{EVEN} the likeliest by classes is less than half as far from the nearer one as that of least squares": times(
            ("shapes", f"{AWAY}-mode"), ("shapes-squares", AWAY), below(0.5), "sec. 2.1"
        ),
        f"{EVEN} the odds of classes differ by less than 0.1 from the best ones": between(
            "shapes", -math.inf, 0.1, "sec. 2.1", of="test/odds-error"
        ),
        "the likeliest colours within a shape differ more from place to place than its annealed means": times(
            ("shapes", f"{PATCHES}-mode"), ("shapes", PATCHES), above(1), "sec. 2.3, fig. 4"
        ),
        f"{EVEN} the annealed mean is more than twice as far from the nearer one as the likeliest": times(
            ("shapes", AWAY), ("shapes", f"{AWAY}-mode"), above(2), "no paper"
        ),
    },
    words={
        COLOURS: "colourfulness",
        JUDGED: "share preferred to the true picture",
        RAW: "area under colour errors, all pixels alike",
        BALANCED: "area under colour errors, rare colours given their share",
        "test/class-error": "classifier's error on coloured pictures",
        "test/probe-error": "error of a linear classifier on the features",
        AWAY: "distance from both possible colours of a shape",
        PATCHES: "how far the colours of one shape differ",
    },
    idea=rebalancing_weights,
    charts=(
        bars(COLOURS, JUDGED, title="Colourfulness, and how often a judge prefers the picture to the true one"),
        pictures(
            "coloured.png",
            title="Grey, coloured, true",
            says="Ten test pictures, none chosen. First row: grey. Last: true. Between them, of classes: the mean, "
            "the annealed mean, the likeliest colours.",
        ),
        plane(
            *((f"{PATCHES}{end}", f"{AWAY}{end}") for end in ("-mean", "", "-mode")),
            x="how far the colours of one shape differ, in ab (a true one: 0)",
            y="distance from both possible colours, in ab",
            title="Shapes of two colours: from the mean to the likeliest",
            variants=("shapes", "shapes-squares"),
        ),
        bars(RAW, BALANCED, title="How near colours are to the true ones"),
        bars("test/class-error", "test/probe-error", title="What a classifier makes of colours, and of features"),
    ),
    origin="C",
)
