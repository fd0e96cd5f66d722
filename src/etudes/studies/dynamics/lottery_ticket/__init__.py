"""lottery-ticket: small networks that learn as well as large ones, found by training the large one and pruning it.

x

    etudes run lottery-ticket                  9 minutes on two cores, 9 variants, 5 seeds

Departures from the paper: x
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from etudes.core import Paper, Run, Scale, Study, Variant, alike, at_least, higher, lower, positive, within
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, plane
from etudes.studies.dynamics.lottery_ticket.idea import State, join, prune, shuffle, ticket
from etudes.studies.dynamics.lottery_ticket.networks import Kind, network
from etudes.studies.dynamics.lottery_ticket.training import Examples, chain, dense, label, learn
from etudes.train import PictureRecipe, pruning, seeded
from etudes.train.arithmetic import state
from etudes.train.pruning import Masks


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "mnist"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 5000  # training pictures, of all classes; 0: all that are not held out
    held_out: Annotated[int, at_least(1)] = 1000  # training pictures for validation
    network: Kind = "lenet"  # LeNet-300-100, six convolutions, or a residual network of 20 layers
    width: Annotated[int, at_least(3)] = 300  # units of the first layer, or channels of the first stage
    steps: Annotated[int, at_least(1)] = 500  # optimiser steps of each network
    batch: Annotated[int, at_least(1)] = 60  # pictures a step
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD has the momentum and weight decay below
    lr: Annotated[float, positive] = 1.2e-3  # peak learning rate
    schedule: Schedule = "constant"  # learning rate over the steps
    warm: Annotated[float, within(0, 1)] = 0.0  # share of the steps over which the learning rate rises to its schedule
    remaining: tuple[float, ...] = (0.6, 0.35, 0.21, 0.135, 0.086, 0.055, 0.035)  # shares of weights, round by round
    compared: tuple[float, ...] = (0.21, 0.086, 0.035)  # those of them at which all variants are trained
    layerwise: bool = True  # whether each layer is pruned by itself, the last at half the rate, or all together
    early: Annotated[int, at_least(1)] = 100  # steps after which it is asked how much is learnt so far
    rewind: Annotated[int, at_least(1)] = 25  # steps of the dense network to which late rewinding goes back
    eval_every: Annotated[int, at_least(1)] = 50  # steps between looks at the validation pictures
    settled: Annotated[float, within(0, 1)] = 0.1  # share of a mask that may change between looks once it is settled
    prunes: bool = True  # whether anything is pruned
    masks: Literal["iterative", "one-shot", "early", "random"] = "iterative"  # where masks come from
    weights: Literal["initial", "late", "redrawn", "signs", "sizes"] = "initial"  # what the masked network begins with


def masks_at(cfg: Config, run: Run, e: Examples, states: dict[str, State], share: float) -> Masks:
    """The masks of the variant that leave this share of the weights."""
    k = cfg.remaining.index(share)
    if cfg.masks in ("iterative", "random"):
        masks = chain(cfg, run, e, states, "initial")[1][k]
        chance = torch.Generator().manual_seed(run.seed("random mask", k))
        return shuffle(masks, chance) if cfg.masks == "random" else masks
    trained = states["final" if cfg.masks == "one-shot" else "bird"]
    weights = {name: trained[name] for name in pruning.prunable(network(cfg, e.d))}
    return prune(weights, cfg.remaining, k, cfg.layerwise)


def beginning(cfg: Config, run: Run, e: Examples, states: dict[str, State]) -> State:
    """The weights with which the variant's masked networks begin."""
    if cfg.weights in states:
        return states[cfg.weights]
    drawn = state(seeded(run, "init again", lambda: network(cfg, e.d)), buffers=True)
    if cfg.weights == "redrawn":
        return drawn
    return join(states["initial"], drawn) if cfg.weights == "signs" else join(drawn, states["initial"])


def act(cfg: Config, run: Run) -> None:
    e = Examples(cfg, run)
    record, states = dense(cfg, run, e)
    run.result(parameters=record.metrics["parameters"])
    records = [record]
    if cfg.prunes and cfg.masks == "iterative" and cfg.weights in states:
        records.append(chain(cfg, run, e, states, cfg.weights)[0])
    elif cfg.prunes:
        start = beginning(cfg, run, e, states)
        for share in cfg.compared:
            masks = masks_at(cfg, run, e, states, share)
            learn(cfg, run, e, ticket(start, masks), masks, label(share))
    names = tuple(f"-{label(share)}" for share in (1.0, *cfg.compared)) + ("settled-step",)
    for found in records:
        run.result(**{name: number for name, number in found.metrics.items() if name.endswith(names)})
        for line in found.log:
            kept = {name: number for name, number in line.items() if name.endswith(names)}
            if kept:
                run.log(line["step"], **kept)


TINY = {
    "dataset": "digits",
    "examples": 200,
    "held_out": 40,
    "width": 9,
    "steps": 4,
    "batch": 8,
    "remaining": (0.21, 0.086, 0.035),
    "early": 2,
    "rewind": 1,
    "eval_every": 2,
}
EVEN = tuple(0.8**k for k in range(1, 16))  # the paper's rounds, each of which prunes a fifth
PAPER = {
    "examples": 0,
    "held_out": 5000,
    "steps": 50_000,
    "remaining": EVEN,
    "compared": (EVEN[6], EVEN[10], EVEN[14]),
    "eval_every": 100,
    "log_every": 100,
}

STUDY = Study(
    name="lottery-ticket",
    question="x?",
    paper=Paper(
        "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
        "Frankle, Carbin",
        2019,
        "https://arxiv.org/abs/1803.03635",
    ),
    config=Config,
    program=act,
    variants=(
        Variant("dense", {"prunes": False}, "all weights"),
        Variant("ticket", {}, "x"),
        Variant("late-rewinding", {"weights": "late"}, "x"),
        Variant("one-shot", {"masks": "one-shot"}, "x"),
        Variant("early-bird", {"masks": "early"}, "x"),
        Variant("reinit", {"weights": "redrawn"}, "x"),
        Variant("random-mask", {"masks": "random"}, "x"),
        Variant("signs", {"weights": "signs"}, "x"),
        Variant("sizes", {"weights": "sizes"}, "x"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=9),
        "paper": Scale(PAPER, seeds=5, minutes=600),
    },
    claims={"x": lower(("ticket", "test/error-21"), ("dense", "test/error-100"), "x")},
    charts=(),
)
