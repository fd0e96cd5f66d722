"""batchnorm-smoothness: batch normalisation helps as it makes the loss smoother, not as it keeps distributions still.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import Paper, Problem, Run, Scale, Study, Variant, at_least, higher, lower, positive
from etudes.measure.error import error_rate
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.batchnorm_smoothness.findings import COLUMNS, look, recorded, summary
from etudes.studies.dynamics.batchnorm_smoothness.idea import disturb
from etudes.studies.dynamics.batchnorm_smoothness.networks import network
from etudes.train import PictureRecipe, Rows, descend, fitted, opened, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    held_out: Annotated[int, at_least(1)] = 500  # training pictures that are kept for validation
    tested: Annotated[int, at_least(1)] = 2000  # test pictures, drawn by the seed
    network: Literal["small", "vgg16"] = "small"  # eight convolutions, or thirteen
    width: Annotated[int, at_least(1)] = 8  # channels of the first convolution
    norm: Literal["none", "batch", "noisy", "l1", "l2", "linf", "group"] = "batch"  # behind each convolution
    channel_groups: Annotated[int, at_least(1)] = 4  # of group normalisation
    noise_mean: Annotated[float, at_least(0)] = 0.5  # n_mu, the largest mean of a channel's noise
    noise_scale: Annotated[float, at_least(1)] = 1.25  # n_sigma, the largest factor of a channel's noise
    noise_spread: Annotated[float, at_least(0)] = 0.1  # r, how pictures differ in it
    rate: Annotated[float, positive] = 1.0  # multiple of the learning rate
    look_every: Annotated[int, at_least(1)] = 25  # steps between looks along the gradient
    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)  # of a look, in steps of training
    share: Annotated[float, positive] = 0.01  # of the weights' length, for the look at equal shares


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    if cfg.held_out >= len(d.x):
        raise Problem(f"batchnorm-smoothness: held_out is {cfg.held_out} of {len(d.x)} pictures; keep fewer")
    order = torch.from_numpy(run.rng("held out").permutation(len(d.x))).to(d.x.device)
    held, d = d.take(order[: cfg.held_out]), d.take(order[cfg.held_out :])
    tested = torch.from_numpy(run.rng("tested").permutation(len(d.test_x))[: cfg.tested]).to(d.x.device)
    model = seeded(run, "init", lambda: network(cfg, d))
    lr = cfg.lr * cfg.rate
    opt, schedule = sgd(model, replace(cfg, lr=lr))
    pictures = shown(cfg, run, d)
    looks, losses = Rows(-(-cfg.steps // cfg.look_every), *COLUMNS), Rows(cfg.steps, "loss")

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        if i % cfg.look_every == 0:
            recorded(cfg, run, looks, look(cfg, run, model, x, d.y[rows], i, lr), i)
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
    run.result(**summary(looks, losses))


LAPTOP = {"dataset": "cifar10", "side": 16, "examples": 400, "batch": 64, "steps": 250, "lr": 0.05}
LAPTOP |= {"schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
TINY = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 50, "tested": 64, "steps": 4, "width": 4}
OFFLINE = {"dataset": "digits", "side": 0, "examples": 0, "held_out": 200, "tested": 320}
NORMS = {
    "plain": ("none", "no normalisation"),
    "bn": ("batch", "batch normalisation"),
    "bn-noisy": ("noisy", "batch normalisation, then noise that changes every step"),
    "l1": ("l1", "the l1 norm in place of the deviation"),
    "l2": ("l2", "the l2 norm in place of the deviation"),
    "linf": ("linf", "the largest value in place of the deviation"),
    "gn": ("group", "group normalisation"),
}

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
    variants=(*(Variant(name, {"norm": norm}, says) for name, (norm, says) in NORMS.items()),),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=4, offline=OFFLINE),
    },
    idea=disturb,
    claims={
        "batch normalisation has a lower test error than no normalisation": lower("bn", "plain", "fig. 1"),
    },
    charts=(bars("test/error"), curves("train/loss")),
    origin="C",
)
