"""cifar-noisy-labels: what wrong labels do to cross entropy, and generalised cross entropy as a remedy.

L_q = (1 - p^q) / q for the probability p of the label given (eq. 6). Its limit at q = 0 is cross entropy, -log p; at
q = 1 it is 1 - p, half the mean absolute error. Its gradient is that of cross entropy times p^q: a label that the
network finds improbable, as most wrong ones are, pulls less.

    etudes run cifar-noisy-labels                      8 minutes on two cores, 12 variants, 5 seeds
    etudes run cifar-noisy-labels --scale imagenette   the wrong labels of Noisy Imagenette, at 32 pixels

Departures from the paper at laptop scale: 4,000 training pictures of CIFAR-10 at 16 pixels, a small VGG with batch
normalisation for ResNet-34, no augmentation. Everywhere: steps for epochs, the last step's test error, and no
truncation of the loss (sec. 3.3). The learning rate is cross entropy's for both losses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core.claims import Claim, Trial, above, below, difference, within
from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.labels import asymmetric_noise, few, symmetric_noise
from etudes.data.noisy import noisy_imagenette
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.nn.resnet import preact_resnet
from etudes.nn.vgg import vgg
from etudes.reports.charts import against, bars, curves
from etudes.train.distribute import part
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, seeded, sgd


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, above(0)] = 0  # training pictures a class; 0: all
    side: Annotated[int, above(8)] = 32  # height and width in pixels to which the pictures are brought
    augment: bool = False  # random flips and shifts by up to 4 pixels
    network: Literal["vgg", "resnet-34"] = "vgg"  # three blocks, or the paper's in its pre-activation form
    width: Annotated[int, above(1)] = 32  # channels of the network's first block or stage
    labels: Literal["drawn", "own"] = "drawn"  # the wrong ones: drawn here by the seed, or those of Noisy Imagenette
    kind: Literal["symmetric", "asymmetric"] = "symmetric"  # a random class, or the one that looks alike
    noise: Annotated[float, within(0, 1)] = 0.0  # share of labels replaced; asymmetric: of the classes mistaken
    q: Annotated[float, within(0, 1)] = 0.0  # of the loss; 0: cross entropy, 1: half the mean absolute error


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """The mean of (1 - p^q) / q (eq. 6), p being the probabilities of the labels [n] under logits [n, classes].

    -log p for q = 0, the limit. In float32, and by expm1, so that a small q does not cancel.
    """
    log_p = logits.float().log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return (-log_p if q == 0 else -(q * log_p).expm1() / q).mean()


ALIKE = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


def mistaken(d: Images) -> Mapping[int, int]:
    """{class: the class that its pictures are mistaken for}, for asymmetric noise.

    CIFAR-10: ALIKE, half of the classes (Patrini et al. 2017, arXiv:1609.03683, sec. 5; Zhang & Sabuncu, sec. 4).
    Other sets have no such list: each class is mistaken for the next, the last for the first.
    """
    if d.name == "cifar10":
        return {d.labels.index(a): d.labels.index(b) for a, b in ALIKE.items()}
    return {c: (c + 1) % d.classes for c in range(d.classes)}


def given(cfg: Config, d: Images, rows: Tensor, run: Run) -> Tensor:
    """The labels [n] on which the network is trained for the pictures `rows` [n] of d, some of them wrong. Raises
    Problem where a set's own wrong labels are asked for and it has none of that kind or share."""
    if cfg.labels == "own":
        if cfg.kind == "asymmetric":
            raise Problem(
                "cifar-noisy-labels: Noisy Imagenette has no asymmetric noise; name variants without it, "
                "as in --variants ce-symmetric-25,gce-symmetric-25"
            )
        return noisy_imagenette(cfg.noise, d)[rows]
    if cfg.kind == "asymmetric":
        return asymmetric_noise(d.y[rows], cfg.noise, mistaken(d), run.rng("label noise"))
    return symmetric_noise(d.y[rows], cfg.noise, d.classes, run.rng("label noise"))


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]."""
    if cfg.network == "vgg":
        body = vgg(d.x.shape[1], d.classes, cfg.side, width=cfg.width, kind="batch")
    else:
        body = preact_resnet(d.x.shape[1], d.classes, cfg.width, (3, 4, 6, 3))
    return nn.Sequential(Standardise(d.mean, d.std), body)


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    run.note(data=d.source)
    rows = few(d.y, cfg.examples, run.rng("subset")) if cfg.examples else torch.arange(len(d.y))
    labels, d = given(cfg, d, rows, run), d.take(rows)
    d = d.resized(cfg.side)
    wrong = labels != d.y
    d, labels, wrong = d.to(run.device), labels.to(run.device), wrong.to(run.device)

    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        pick = batches.at(i).to(run.device)
        x = unit(d.x[pick])
        if cfg.augment:
            x = shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=4)
        x, y = part(x, labels[pick])
        return {"train/loss": descend(generalised_cross_entropy(model(x), y, cfg.q), opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, labels)}
        if wrong.any():  # told apart: what was learned of the right labels, and what was memorised of the wrong
            found["train/error-right-labels"] = error_rate(model, d.x[~wrong], labels[~wrong])
            found["train/error-wrong-labels"] = error_rate(model, d.x[wrong], labels[wrong])
        return found

    parts = {"model": model, "opt": opt, "schedule": schedule}
    final = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    run.result(**final, parameters=count_parameters(model))
    run.result(
        **{
            "train/wrong-labels": wrong.double().mean().item(),
            "test/error-majority": d.majority_error,
        }
    )


def _smallest_rise(*names: str) -> Callable[[Trial], float]:
    """A measure: the least by which the test error rises from one variant to the next."""
    return lambda trial: min(difference(b, a, "test/error")(trial) for a, b in pairwise(names))


NOISES = {  # name -> the fields that make it
    "": {},
    "-symmetric-25": {"noise": 0.25},
    "-symmetric-50": {"noise": 0.5},
    "-symmetric-80": {"noise": 0.8},
    "-asymmetric-20": {"kind": "asymmetric", "noise": 0.2},
    "-asymmetric-40": {"kind": "asymmetric", "noise": 0.4},
}
SMALL = {"side": 16, "width": 16, "batch": 100, "examples": 400}

STUDY = Study(
    name="cifar-noisy-labels",
    question="How much do wrong labels hurt, and does generalised cross entropy resist them?",
    paper=Paper(
        "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
        "Zhang, Sabuncu",
        2018,
        "https://arxiv.org/abs/1805.07836",
    ),
    config=Config,
    program=train,
    threads=1,
    variants=(
        *(Variant(f"ce{noise}", changes) for noise, changes in NOISES.items()),
        *(Variant(f"gce{noise}", changes | {"q": 0.7}) for noise, changes in NOISES.items()),
    ),
    scales={
        "smoke": Scale(
            SMALL
            | {"dataset": "digits", "side": 8, "width": 8, "examples": 20, "batch": 50, "steps": 12, "log_every": 4},
            seeds=1,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(
            SMALL | {"lr": 0.03, "steps": 600, "log_every": 20},
            seeds=5,
            minutes=8,
            offline={"dataset": "digits", "side": 8, "examples": 100},
        ),
        "imagenette": Scale(
            {"dataset": "imagenette", "labels": "own", "augment": True, "steps": 3000, "log_every": 100},
            seeds=3,
            minutes=40,
            variants=tuple(
                f"{loss}{noise}" for noise in ("", "-symmetric-25", "-symmetric-50") for loss in ("ce", "gce")
            ),
        ),
        "paper": Scale(
            {
                "network": "resnet-34",
                "width": 64,
                "augment": True,
                "lr": 0.01,
                "schedule": "decay",
                "steps": 46_875,
                "eval_every": 3_906,
                "log_every": 100,
            },
            seeds=5,
            minutes=3000,
        ),
    },
    claims=(
        Claim(
            "more noise, more damage",
            "cross entropy's test error rises from 0 to 25, 50 and 80 % random labels: the smallest of the rises",
            "sec. 4, table 1",
            _smallest_rise("ce", "ce-symmetric-25", "ce-symmetric-50", "ce-symmetric-80"),
            above(0),
        ),
        *(
            Claim(
                f"resists {noise} % random labels",
                f"with {noise} % random labels generalised cross entropy ends with a lower test error",
                "sec. 4, table 1",
                difference(f"gce-symmetric-{noise}", f"ce-symmetric-{noise}", "test/error"),
                below(0),
            )
            for noise in (25, 50, 80)
        ),
        Claim(
            "resists 20 % mistaken classes",
            "where 20 % of the labels of five classes are those of a similar class it ends with a lower test error",
            "sec. 4, table 1",
            difference("gce-asymmetric-20", "ce-asymmetric-20", "test/error"),
            below(0),
        ),
        Claim(
            "costs little",
            "on right labels its test error is higher by less than 0.03 (our margin)",
            "abstract",
            difference("gce", "ce", "test/error"),
            below(0.03),
        ),
        Claim(
            "memorises less",
            "with 50 % random labels it fits fewer of the wrong ones",
            "sec. 4",
            difference("gce-symmetric-50", "ce-symmetric-50", "train/error-wrong-labels"),
            above(0),
        ),
        Claim(
            "similar classes hurt more",
            "cross entropy suffers more from 40 % mistaken classes than from 25 % random labels, which are more",
            "sec. 4, table 1",
            difference("ce-asymmetric-40", "ce-symmetric-25", "test/error"),
            above(0),
        ),
    ),
    charts=(
        against("noise", "test/error", by="kind, q"),
        bars("test/error", "train/error", by="q"),
        bars("train/error-wrong-labels", "train/error-right-labels", by="q"),
        curves(
            "train/loss",
            variants=("ce", "ce-symmetric-50", "gce", "gce-symmetric-50"),
            says="The two losses are on different scales.",
        ),
    ),
    origin="C",
)
