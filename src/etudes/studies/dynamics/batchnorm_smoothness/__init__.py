"""batchnorm-smoothness: does batch normalisation keep distributions still, or does it make the loss smoother?

Batch normalisation was said to help because a layer's inputs keep their distribution while the layers below it learn.
Then it should not help once noise behind it gives them another distribution in every step, and the gradient of a layer
should change less when the layers below make their step. The paper finds neither, and finds the loss smoother along its
own gradient g = dL/dw, at the distances d that a step could have:

    loss variation  max L(w - d g) - min L(w - d g)        d from eta / 2 to 4 eta
    gradient change max |g(w - d g) - g|                   beta-smoothness  max |g(w - d g) - g| / |d g|

    etudes run batchnorm-smoothness                    3 minutes on two cores, 8 variants, 5 seeds
    etudes run batchnorm-smoothness --scale fashion    3 minutes, 8 variants, 5 seeds: Fashion-MNIST
    etudes run batchnorm-smoothness --scale cifar10    40 minutes, 8 variants, 3 seeds: all of CIFAR-10, twice as wide
    etudes run batchnorm-smoothness --scale paper      900 minutes on a GPU, 8 variants, 1 seed: VGG-16

`--until decided` goes on to 20 seeds. To expect: batch normalisation is smoother by all three measures and errs
less, and noise takes back only a part of that; but the gradients of its layers shift less too, which the paper did not
find.

Departures from the paper: eight convolutions, pictures of 16 pixels and 240 steps; gradient descent without momentum,
so that a step goes where is looked; the learning rate falls to 0, and looks keep to the first. The average norms are of
activations as they are, before centring, as the paper has it. Group normalisation, batch normalisation at its own best
rate, and looks at equal shares of the weights' length are ours. Its networks without nonlinearity are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Trial,
    Variant,
    above,
    alike,
    at_least,
    below,
    lower,
    positive,
    within,
)
from etudes.measure.error import error_rate
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.batchnorm_smoothness.findings import COLUMNS, look, put_look, summary
from etudes.studies.dynamics.batchnorm_smoothness.idea import covariate_shift
from etudes.studies.dynamics.batchnorm_smoothness.networks import network
from etudes.train import PictureRecipe, Rows, descend, fitted, opened, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    held_out: Annotated[int, at_least(1)] = 500  # training pictures that are kept for validation
    tested: Annotated[int, at_least(1)] = 4000  # test pictures, drawn by the seed
    network: Literal["small", "vgg16"] = "small"  # eight convolutions, or thirteen
    width: Annotated[int, at_least(1)] = 8  # channels of the first convolution
    norm: Literal["none", "batch", "noisy", "l1", "l2", "linf", "group"] = "batch"  # behind each convolution
    channel_groups: Annotated[int, at_least(1)] = 4  # of group normalisation
    noise_mean: Annotated[float, at_least(0)] = 0.5  # n_mu, the largest mean of a channel's noise
    noise_scale: Annotated[float, at_least(1)] = 1.25  # n_sigma, the largest factor of a channel's noise
    noise_spread: Annotated[float, at_least(0)] = 0.1  # r, how pictures differ in it
    rate: Annotated[float, positive] = 1.0  # multiple of the learning rate
    look_every: Annotated[int, at_least(1)] = 30  # steps between looks along the gradient
    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)  # of a look, in steps at the first learning rate
    share: Annotated[float, positive] = 0.01  # of the weights' length, for the look at equal shares


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    check(cfg, len(d.x))
    order = torch.from_numpy(run.rng("held out").permutation(len(d.x))).to(d.x.device)
    held, d = d.take(order[: cfg.held_out]), d.take(order[cfg.held_out :])
    tested = torch.from_numpy(run.rng("tested").permutation(len(d.test_x))[: cfg.tested]).to(d.x.device)
    model, lr = seeded(run, "init", lambda: network(cfg, d)), cfg.lr * cfg.rate
    opt, schedule = sgd(model, replace(cfg, lr=lr))
    pictures = shown(cfg, run, d)
    looked = range(cfg.look_every // 2, cfg.steps, cfg.look_every)
    looks, losses = Rows(max(1, len(looked)), *COLUMNS), Rows(cfg.steps, "loss")

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        if i in looked:
            put_look(run, looks, look(cfg, run, model, x, d.y[rows], i, lr), i, looked.index(i))
        torch.manual_seed(run.seed("noise", i))
        loss = descend(cross_entropy(model(x), d.y[rows]), opt, schedule)
        losses.put(i, loss=loss)
        return {"train/loss": loss}

    def evaluate() -> dict[str, float]:
        return {
            "validation/error": error_rate(model, held.x, held.y),
            "test/error": error_rate(model, d.test_x[tested], d.test_y[tested]),
        }

    parts = {"model": model, "opt": opt, "schedule": schedule, "looks": looks, "losses": losses}
    run.result(**fitted(run, cfg, parts, step, evaluate))
    run.result(**summary(looks, losses, len(looked)))


def check(cfg: Config, pictures: int) -> None:
    """Raise Problem where a look has no distances, or the training pictures do not suffice."""
    if not cfg.distances or min(cfg.distances) <= 0:
        raise Problem(f"batchnorm-smoothness: distances are {cfg.distances}; give at least one, all above 0")
    if cfg.held_out >= pictures:
        raise Problem(f"batchnorm-smoothness: held_out is {cfg.held_out} of {pictures} pictures; keep fewer")


def ratio(one: str, other: str, metric: str) -> Callable[[Trial], float]:
    """A measure: a metric of one variant over that of another, under one seed."""
    return lambda trial: trial[one][metric] / trial[other][metric]


def smaller(metric: str, where: str) -> Claim:
    """The claim that a metric is smaller with batch normalisation than without, as a ratio."""
    return Claim(ratio("bn", "plain", metric), below(1), where, number=f"{metric}: bn over plain", kind="ratio")


def norms_loss(trial: Trial) -> float:
    """How much more the l1 and l2 networks err, on average, than the one with batch normalisation."""
    return (trial["l1"][ERROR] + trial["l2"][ERROR]) / 2 - trial["bn"][ERROR]


LAPTOP = {"dataset": "cifar10", "side": 16, "examples": 400, "batch": 64, "steps": 240, "lr": 0.1}
LAPTOP |= {"momentum": 0.0, "weight_decay": 0.0}
TINY = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 50, "tested": 64, "steps": 3, "width": 4}
TINY |= {"look_every": 4, "batch": 16}
FASHION = {"dataset": "fashion-mnist", "side": 14}
CIFAR = {"examples": 0, "held_out": 5000, "tested": 10_000, "width": 16, "steps": 1500, "look_every": 100}
PAPER = CIFAR | {"side": 0, "network": "vgg16", "width": 64, "channel_groups": 32, "batch": 128, "augment": True}
PAPER |= {"steps": 30_000, "look_every": 500}
OFFLINE = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 200, "tested": 320}
NORMS = {
    "plain": ("none", "no normalisation"),
    "bn": ("batch", "batch normalisation"),
    "bn-noisy": ("noisy", "batch normalisation, then noise that is another in every step"),
    "l1": ("l1", "centred and divided by the average absolute value"),
    "l2": ("l2", "centred and divided by the root of the average square"),
    "linf": ("linf", "centred and divided by the largest value"),
    "gn": ("group", "group normalisation"),
}
ERROR, VARIATION, CHANGE = "test/error", "train/loss-variation", "train/gradient-change"
BETA, TURN, ANGLE, SHIFT = "train/beta", "train/turn", "train/covariate-angle", "train/shift"
MATTERS = 0.04  # of test error: two thirds of what batch normalisation gained on tuning seeds

STUDY = Study(
    name="batchnorm-smoothness",
    question="Does batch normalisation help because it keeps the distributions of layers' inputs still, or because it "
    "makes the loss smoother?",
    paper=Paper(
        "How Does Batch Normalization Help Optimization?",
        "Santurkar, Tsipras, Ilyas, Madry",
        2018,
        "https://arxiv.org/abs/1805.11604",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        *(Variant(name, {"norm": norm}, says) for name, (norm, says) in NORMS.items()),
        Variant(
            "bn-fast", {"norm": "batch", "rate": 4.0}, "batch normalisation at its own best rate, four times as large"
        ),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE),
        "fashion": Scale(LAPTOP | FASHION, seeds=5, minutes=3, offline=OFFLINE),
        "cifar10": Scale(LAPTOP | CIFAR, seeds=3, minutes=40, offline=OFFLINE),
        "paper": Scale(LAPTOP | PAPER, seeds=1, minutes=900, judges=False, offline=OFFLINE | {"side": 32}),
    },
    words={
        ERROR: "test error",
        VARIATION: "loss variation",
        CHANGE: "gradient change",
        BETA: "effective beta-smoothness",
        TURN: "turn of the gradient",
        ANGLE: "internal covariate shift",
        SHIFT: "distribution shift",
        "train/covariate-shift": "covariate shift, as a length",
    },
    idea=covariate_shift,
    claims={
        "a network with batch normalisation has a lower test error than one without, at one learning rate": lower(
            "bn", "plain", "fig. 1"
        ),
        "with noise behind batch normalisation a network has a lower test error than without normalisation": lower(
            "bn-noisy", "plain", "sec. 2.1, fig. 2"
        ),
        "with noise behind batch normalisation a network errs as with batch normalisation alone": alike(
            "bn-noisy", "bn", MATTERS, "sec. 2.1, fig. 2"
        ),
        "with noise behind batch normalisation a step shifts distributions more than without normalisation": Claim(
            ratio("bn-noisy", "plain", SHIFT),
            above(1),
            "sec. 2.1, fig. 2",
            number=f"{SHIFT}: bn-noisy over plain",
            kind="ratio",
        ),
        "along the gradient the loss varies less with batch normalisation than without": smaller(VARIATION, "fig. 4a"),
        "along the gradient the gradient changes less with batch normalisation than without": smaller(
            CHANGE, "fig. 4b"
        ),
        "effective beta-smoothness is smaller with batch normalisation than without": smaller(BETA, "fig. 4c"),
        "networks with l1 and l2 norms err on average as one with batch normalisation": Claim(
            norms_loss,
            within(-MATTERS, MATTERS),
            "sec. 3.3, fig. 6",
            number="test error: mean of l1 and l2 minus bn",
        ),
        "a network with linf norms errs as one with batch normalisation": alike(
            "linf", "bn", MATTERS, "sec. 3.3, fig. 6"
        ),
        "internal covariate shift in layers' gradients is larger with batch normalisation than without": Claim(
            ratio("bn", "plain", ANGLE), above(1), "sec. 2.2, fig. 3", number=f"{ANGLE}: bn over plain", kind="ratio"
        ),
        "moved by an equal share of the weights' length the gradient turns less with batch normalisation": smaller(
            TURN, "beyond the paper"
        ),
    },
    charts=(
        bars(
            VARIATION,
            SHIFT,
            ERROR,
            title="How rough the loss is, how far distributions shift, and the test error",
        ),
        bars(CHANGE, BETA, TURN, title="How the gradient changes along itself"),
        bars(ANGLE, "train/covariate-shift", title="Internal covariate shift: as an angle, and as a length"),
        curves(
            VARIATION, BETA, log=True, variants=("plain", "bn", "bn-noisy"), title="Along the gradient during training"
        ),
        curves("train/loss", title="Training loss, with the statistics and the noise of training"),
    ),
    origin="C",
)
