"""colorization: colours for grey pictures, as classes, with rare colours given more weight.

From a picture's lightness a network tells odds over bins of the ab plane of CIE Lab. It lowers the cross-entropy, in
which each pixel weighs by how rare its colour is,

    w ~ 1 / ((1 - l) p~ + l / Q),  E w = 1     (eq. 4),

and the colour shown is the mean under odds sharpened by a temperature, exp(log z / T) / sum (eq. 5). A network that
guesses a and b by least squares (eq. 1) shows the mean of all colours that an object may have, which is grey.

    etudes run colorization                    6 minutes on two cores, 5 variants, 5 seeds (to 20 with --until decided)
    etudes run colorization --scale cars       the same on Stanford Cars, at 64 pixels

To expect: pictures coloured by classes are more colourful than those of least squares, and further from the true
colours.

Departures from the paper at laptop scale: pictures of 32 pixels, colours at half their resolution, a narrow network and
hundreds of steps; a classifier, trained apart to tell natural colours from wrong ones, in place of people.
"""

from dataclasses import dataclass
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
    higher,
    lower,
    positive,
    within,
)
from etudes.data.augment import flip
from etudes.data.batches import Batches
from etudes.data.colour import lab
from etudes.data.images import Images, images, unit
from etudes.data.shapes import shapes
from etudes.measure.colour import colourfulness
from etudes.measure.error import error_rate
from etudes.reports.charts import bars, curves, pictures, plane
from etudes.studies.generative.colorization.bins import (
    annealed_mean,
    bin_centres,
    classification_loss,
    colorizer,
    rebalancing_weights,
    soft_encoding,
)  # fmt: skip
from etudes.studies.generative.colorization.findings import (
    Colour,
    colour_errors,
    coloured,
    grey,
    judge,
    preferred,
    probe_error,
    save_colours,
)  # fmt: skip
from etudes.tools.classifier import classifier
from etudes.train import Adam, adam, descend, fitted, part, seeded, weights


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "imagenet"  # pictures to learn colours from, as listed by `etudes data`
    labelled: str = "imagenette"  # a set with classes, whose test pictures are coloured and classified too
    side: Annotated[int, at_least(8)] = 176  # pixels of a side
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


def coloured_set(cfg: Config, run: Run, name: str) -> Images:
    """The pictures of a set, at the side of the settings. Raises Problem where they have no colours."""
    d = shapes(300, 60, cfg.side) if name == "shapes" else images(name).resize(cfg.side)
    if d.shape[0] != 3:
        raise Problem(f"colorization: the pictures of {name} are grey; take a set in colour, or shapes")
    return d.to(run.device)


def train(cfg: Config, run: Run) -> None:
    d, labelled = (coloured_set(cfg, run, name) for name in (cfg.dataset, cfg.labelled))
    run.note(data=d.source)
    centres = bin_centres(cfg.grid).to(run.device)
    shrink = 2 ** (cfg.halvings - 1)
    frequency = frequencies(unit(d.x[: min(len(d.x), 1000)]), centres, shrink)
    rare = rebalancing_weights(frequency, centres, cfg.uniform)
    outputs = len(centres) if cfg.loss == "classes" else 2
    model = seeded(run, "init", lambda: colorizer(cfg.width, cfg.depth, cfg.halvings, outputs))
    untrained = probe_error(model[:-2], labelled, cfg.probe_steps, run)
    opt, schedule = adam(model, cfg, (0.9, 0.99))
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        (x,) = part(lab(flip(unit(d.x[batches.at(i).to(run.device)]), run.rng("flip", i))))
        ab = functional.avg_pool2d(x[:, 1:], shrink)
        guess = model(x[:, :1] / 50 - 1)
        loss = classification_loss(guess, ab, centres, rare) if cfg.loss == "classes" else squares_loss(guess, ab)
        return {"train/loss": descend(loss, opt, schedule)}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step))
    weights.save(run.path("model.safetensors"), model)
    with run.autocast():
        probed = probe_error(model[:-2], labelled, cfg.probe_steps, run)
    run.result(**{"test/probe-error": probed, "test/probe-error-untrained": untrained})
    compare(cfg, run, d, labelled, model, centres, frequency)


def colour_by(cfg: Config, model: nn.Module, centres: Tensor, temperature: float) -> Colour:
    """The network's colours, brought to the size of the picture."""

    @torch.no_grad()
    def colour(lightness: Tensor) -> Tensor:
        guess = model.eval()(lightness / 50 - 1).float()
        ab = annealed_mean(guess, centres, temperature) if cfg.loss == "classes" else guess
        return functional.interpolate(ab, size=lightness.shape[2:], mode="bilinear", align_corners=False)

    return colour


def compare(
    cfg: Config, run: Run, d: Images, labelled: Images, model: nn.Module, centres: Tensor, frequency: Tensor
) -> None:
    """Put into the result what there is to say of test pictures coloured by the network, beside grey and true ones."""
    rows = torch.from_numpy(run.rng("test").permutation(len(d.test_x))[: cfg.tested])
    true = unit(d.test_x[rows])
    made = coloured(true, colour_by(cfg, model, centres, cfg.temperature))
    natural = judge(run, unit(d.x), cfg.judge_width, cfg.judge_steps)
    run.result(**colour_errors(made, true, centres, frequency))
    for name, x in {"": made, "-grey": grey(true), "-true": true}.items():
        run.result(
            **{
                f"test/colourfulness{name}": colourfulness(x).mean(),
                f"test/preferred{name}": preferred(natural, x, true),
            }
        )
    if cfg.loss == "classes":
        for name, temperature in (("mean", 1.0), ("mode", 0.01)):
            other = coloured(true, colour_by(cfg, model, centres, temperature))
            run.result(**{f"{COLOURS}-{name}": colourfulness(other).mean()})
    save_colours(run, "coloured.png", [grey(true)[:10], made[:10], true[:10]])
    net, missed = classifier(run, labelled, cfg.judge_width, cfg.judge_steps)
    x = unit(labelled.test_x)
    for name, pictures_ in {"": coloured(x, colour_by(cfg, model, centres, cfg.temperature)), "-grey": grey(x)}.items():
        run.result(**{f"test/class-error{name}": error_rate(net, pictures_, labelled.test_y)})
    run.result(**{"test/class-error-true": missed})


COLOURS, JUDGED, BALANCED, RAW = "test/colourfulness", "test/preferred", "test/auc-balanced", "test/auc"
LAPTOP = {
    "dataset": "tiny-imagenet", "side": 32, "width": 16, "depth": 2, "halvings": 2, "batch": 64, "steps": 400,
    "lr": 1e-3, "tested": 500, "judge_steps": 400, "probe_steps": 400,
}  # fmt: skip
SHAPES = {"dataset": "shapes", "labelled": "shapes"}
TINY = LAPTOP | SHAPES | {
    "side": 16, "width": 2, "depth": 1, "batch": 8, "steps": 4, "tested": 16, "judge_width": 1, "judge_steps": 2,
    "probe_steps": 2,
}  # fmt: skip


def vivid(a: tuple[str, str], b: tuple[str, str], where: str) -> Claim:
    """The claim that pictures are more colourful, a and b being (variant, colourfulness): their ratio is above 1."""
    number = f"{a[1]} of {a[0]} over {b[1]} of {b[0]}"
    return Claim(lambda trial: trial[a[0]][a[1]] / trial[b[0]][b[1]], above(1), where, number=number, kind="ratio")


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
        Variant("rarest", {"uniform": 0.1}, "as full, weights nearer to one over the frequency"),
        Variant("coarse", {"grid": 20}, "as full, bins of twice the side"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, offline=SHAPES),
        "cars": Scale(LAPTOP | {"dataset": "stanford-cars", "side": 64}, seeds=3, minutes=20, judges=False),
        "paper": Scale({"batch": 40, "steps": 450_000, "log_every": 100}, seeds=3, minutes=20_000),
    },
    claims={
        "classes with weights make more colourful pictures than least squares": vivid(
            ("full", COLOURS), ("squares", COLOURS), "sec. 2.1, fig. 5"
        ),
        "weights for rare colours make pictures more colourful": vivid(
            ("full", COLOURS), ("classes", COLOURS), "sec. 2.2"
        ),
        "the annealed mean makes more colourful pictures than the mean": vivid(
            ("full", COLOURS), ("full", f"{COLOURS}-mean"), "sec. 2.3, fig. 4"
        ),
        "weights for rare colours bring rare colours nearer to the true ones": higher(
            "full", "classes", "table 1, AuC rebal", of=BALANCED
        ),
        "classes with weights bring rare colours nearer to the true ones than least squares": higher(
            "full", "squares", "table 1, AuC rebal", of=BALANCED
        ),
        "over all pixels least squares is nearer to the true colours than classes with weights": higher(
            "squares", "full", "table 1, AuC non-rebal", of=RAW
        ),
        "a judge takes pictures of classes with weights for true more often than those of least squares": higher(
            "full", "squares", "table 1, AMT", of=JUDGED
        ),
        "a classifier errs less on pictures coloured by classes with weights than on grey ones": lower(
            ("full", "test/class-error"), ("full", "test/class-error-grey"), "table 1, VGG top-1"
        ),
        "features learnt by colouring classify better than those of an untrained network": lower(
            ("full", "test/probe-error"), ("full", "test/probe-error-untrained"), "sec. 3.2, table 2"
        ),
        "features learnt by classes classify better than those of least squares": lower(
            "full", "squares", "no paper", of="test/probe-error", matters=0.01
        ),
    },
    words={
        COLOURS: "colourfulness",
        JUDGED: "share preferred to the true picture",
        RAW: "area under colour errors",
        BALANCED: "the same, rare colours given their share",
        "test/colour-error": "colour error, root mean square in ab",
        "test/class-error": "classifier's error on coloured pictures",
        "test/probe-error": "error of a linear classifier on the features",
    },
    idea=rebalancing_weights,
    charts=(
        pictures("coloured.png", title="Grey, coloured, true", says="Ten test pictures, none chosen."),
        bars(COLOURS, JUDGED, title="Colourfulness, and how often a judge prefers the picture to the true one"),
        bars(RAW, BALANCED, title="How near colours are to the true ones"),
        plane((COLOURS, "test/colour-error")),
        bars("test/class-error", "test/probe-error"),
        curves("train/loss", says="The losses of classes and of least squares cannot be compared."),
    ),
    origin="C",
)
