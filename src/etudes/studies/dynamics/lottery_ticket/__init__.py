"""lottery-ticket: train a network, prune its small weights, and train what is left from where the network began.

A ticket is the network f(x; m * theta_0) (sec. 1): theta_0 are the weights with which the large network began, and the
mask m is 1 where training them ended in a large magnitude. The hypothesis is that some tickets, of a fifth of the
weights and less, learn as fast and as well as the whole; their masks are found in rounds, each of which trains what is
left and prunes the smallest of it. Controls keep the mask and draw the weights anew, or keep the weights and draw the
mask; two more keep the signs of theta_0 alone, or its magnitudes alone.

    etudes run lottery-ticket                  3 minutes on two cores, 9 variants, 5 seeds
    etudes run lottery-ticket --scale conv     40 minutes, 5 variants: six convolutions on CIFAR-10, 3 seeds
    etudes run lottery-ticket --scale paper    600 minutes on a GPU, 9 variants and 5 seeds: all of MNIST

`--until decided` goes on to 20 seeds. To expect: the gap between a ticket and its controls is wide early in training
and narrower at its end; rewinding to an early step instead of the start changes little on so small a network.

Departures from the paper at laptop scale: 5,000 training pictures, 500 steps and six rounds, for 55,000, 50,000 and
more rounds of a fifth; early-bird masks are of single weights, where theirs were of channels, and their networks begin
anew as tickets do.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from etudes.core import Paper, Record, Run, Scale, Study, Variant, alike, at_least, higher, lower, positive, within
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
    tested: Annotated[int, at_least(1)] = 5000  # test pictures, at most
    network: Kind = "lenet"  # LeNet-300-100, six convolutions, or a residual network of 20 layers
    width: Annotated[int, at_least(3)] = 300  # units of the first layer, or channels of the first stage
    steps: Annotated[int, at_least(3)] = 500  # optimiser steps of each network
    batch: Annotated[int, at_least(1)] = 60  # pictures a step
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD has the momentum and weight decay below
    lr: Annotated[float, positive] = 1.2e-3  # peak learning rate
    schedule: Schedule = "constant"  # learning rate over the steps
    warm: Annotated[float, within(0, 1)] = 0.0  # share of the steps over which the learning rate rises to its schedule
    remaining: tuple[float, ...] = (0.46, 0.21, 0.135, 0.086, 0.055, 0.035)  # shares of weights, round by round
    compared: tuple[float, ...] = (0.21, 0.086, 0.035)  # those of them at which all variants are trained
    layerwise: bool = True  # whether each layer is pruned by itself, the last at half the rate, or all together
    early: Annotated[int, at_least(1)] = 100  # steps after which it is asked how much is learnt so far
    rewind: Annotated[int, at_least(1)] = 25  # steps of the dense network to which late rewinding goes back
    eval_every: Annotated[int, at_least(1)] = 50  # steps between looks at the validation pictures
    settled: Annotated[float, within(0, 1)] = 0.1  # share of a mask that may change between looks once it is settled
    prunes: bool = True  # whether anything is pruned
    masks: Literal["iterative", "one-shot", "early", "random"] = "iterative"  # where masks come from
    weights: Literal["initial", "late", "redrawn", "signs", "magnitudes"] = "initial"  # what training begins with


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
    whole, states = dense(cfg, run, e)
    run.result(parameters=whole.metrics["parameters"])
    is_chain = cfg.masks == "iterative" and cfg.weights in states
    copy(cfg, run, whole, log=is_chain)
    if cfg.prunes and is_chain:
        copy(cfg, run, chain(cfg, run, e, states, cfg.weights)[0])
    elif cfg.prunes:
        start = beginning(cfg, run, e, states)
        for share in cfg.compared:
            masks = masks_at(cfg, run, e, states, share)
            learn(cfg, run, e, ticket(start, masks), masks, label(share))


def copy(cfg: Config, run: Run, made: Record, log: bool = True) -> None:
    """Put what was made once for all variants of the seed into this run's result and, as asked, its log."""
    names = (*(f"-{label(share)}" for share in (1.0, *cfg.compared)), "-step", "-change")
    run.result(**{name: number for name, number in made.metrics.items() if name.endswith(names)})
    for line in made.log if log else ():
        if numbers := {name: number for name, number in line.items() if name.endswith(names)}:
            run.log(int(line["step"]), **numbers)


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
ROUNDS = tuple(0.8**k for k in range(1, 16))  # the paper's, each of which prunes a fifth
LONG = {"remaining": ROUNDS, "compared": (ROUNDS[6], ROUNDS[10], ROUNDS[14]), "eval_every": 100, "log_every": 100}
PAPER = LONG | {"examples": 0, "held_out": 5000, "tested": 10_000, "steps": 50_000}
DEEP = {"dataset": "cifar10", "optimiser": "sgd", "lr": 0.1, "schedule": "decay", "width": 16, "layerwise": False}
FEWER = {"remaining": (0.46, 0.21, 0.086, 0.035), "eval_every": 100, "rewind": 75}
CONV = DEEP | FEWER | {"network": "vgg", "examples": 10_000, "steps": 1500, "batch": 64}
RESNET = DEEP | LONG | {"network": "resnet", "examples": 0, "held_out": 5000, "tested": 10_000, "augment": True}
OFFLINE = {"dataset": "digits", "examples": 1000, "held_out": 300}
ALL = ("dense", "ticket", "late-rewinding", "one-shot", "early-bird", "reinit", "random-mask", "signs", "magnitudes")
REWINDING = ("dense", "ticket", "late-rewinding", "warm-up", "reinit")
EARLY, BEST = "test/error-early", "test/error"
DENSE, DENSE_EARLY = ("dense", f"{BEST}-100"), ("dense", f"{EARLY}-100")
MATTERS = 0.003  # of test error
ZHOU = "Zhou et al. 2019 (arXiv:1905.01067), sec. 4"


def errors(metric: str) -> tuple[tuple[str, str], ...]:
    """Pairs of the share of weights, in percent, and a test error there."""
    return tuple((f"train/weights-{percent}", f"{metric}-{percent}") for percent in (100, 21, 9, 4))


STUDY = Study(
    name="lottery-ticket",
    question="Does a large network hold a small one that learns as well, and what makes it learn?",
    paper=Paper(
        "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
        "Frankle, Carbin",
        2019,
        "https://arxiv.org/abs/1803.03635",
    ),
    config=Config,
    program=act,
    variants=(
        Variant("dense", {"prunes": False}, "the whole network"),
        Variant("ticket", {}, "pruned in rounds, and trained from the first weights"),
        Variant("late-rewinding", {"weights": "late"}, "as ticket, but from the weights after some steps"),
        Variant("one-shot", {"masks": "one-shot"}, "as ticket, but pruned once, after training"),
        Variant("early-bird", {"masks": "early"}, "pruned once, as soon as masks hardly change"),
        Variant("reinit", {"weights": "redrawn"}, "the ticket's masks, weights drawn anew"),
        Variant("random-mask", {"masks": "random"}, "masks by chance, the first weights"),
        Variant("signs", {"weights": "signs"}, "the ticket's masks, the first signs, magnitudes drawn anew"),
        Variant("magnitudes", {"weights": "magnitudes"}, "the ticket's masks, the first magnitudes, signs drawn anew"),
        Variant("warm-up", {"warm": 0.2}, "as ticket, with a learning rate that rises over a fifth of the steps"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE, variants=ALL),
        "conv": Scale(CONV, seeds=3, minutes=40, judges=False, variants=REWINDING),
        "paper": Scale(PAPER, seeds=5, minutes=600, variants=ALL),
        "paper-conv": Scale(
            RESNET | {"steps": 30_000, "batch": 128, "rewind": 500},
            seeds=3,
            minutes=900,
            judges=False,
            variants=REWINDING,
        ),
    },
    words={
        "test/error-9": "test error with 9 % of the weights",
        "test/error-early-9": "test error after 100 steps with 9 % of the weights",
        "test/error-21": "test error with 21 % of the weights",
        "test/error-early-21": "test error after 100 steps with 21 % of the weights",
        "test/error-4": "test error with 4 % of the weights",
        "test/error-early-4": "test error after 100 steps with 4 % of the weights",
        "test/error-100": "test error of the whole network",
        "validation/error-4": "validation error with 4 % of the weights",
    },
    idea=ticket,
    claims={
        "a ticket of 21 % of the weights has a lower test error than the whole network": lower(
            ("ticket", f"{BEST}-21"), DENSE, "sec. 2, fig. 4"
        ),
        "after 100 steps a ticket of 21 % of the weights has a lower test error than the whole network": lower(
            ("ticket", f"{EARLY}-21"), DENSE_EARLY, "sec. 2, fig. 3"
        ),
        "a ticket of 4 % of the weights has the test error of the whole network, within a point": alike(
            ("ticket", f"{BEST}-4"), DENSE, 0.01, "sec. 2, figs. 3 and 4"
        ),
        "with 9 % of the weights, drawn anew under the ticket's mask, a network errs more than the ticket": higher(
            "reinit", "ticket", "sec. 2, fig. 4", of=f"{BEST}-9"
        ),
        "after 100 steps 21 % of the weights, drawn anew under the ticket's mask, err more than the whole": higher(
            ("reinit", f"{EARLY}-21"), DENSE_EARLY, "sec. 2, fig. 3"
        ),
        "4 % of the weights found by pruning in rounds err less than as many found by pruning once": lower(
            "ticket", "one-shot", "sec. 2, fig. 4", of=f"{BEST}-4"
        ),
        "with 4 % of the weights a ticket rewound to an early step errs less than one rewound to the start": lower(
            "late-rewinding", "ticket", "Frankle et al. 2020 (arXiv:1912.05671)", of=f"{BEST}-4", matters=MATTERS
        ),
        "a mask of 9 % of the weights drawn as soon as masks settle gives the error of one drawn at the end": alike(
            "early-bird", "one-shot", MATTERS, "You et al. 2020 (arXiv:1909.11957), sec. 3", of=f"{BEST}-9"
        ),
        "under a ticket's mask first signs with new magnitudes err less than first magnitudes with new signs": lower(
            "signs", "magnitudes", ZHOU, of=f"{BEST}-9"
        ),
        "after 100 steps a ticket of 9 % of the weights errs less than its signs with magnitudes drawn anew": lower(
            "ticket", "signs", "beyond the paper", of=f"{EARLY}-9"
        ),
        "after 100 steps new weights under a ticket's mask of 4 % err less than first ones under a random mask": lower(
            "reinit", "random-mask", "beyond the paper", of=f"{EARLY}-4"
        ),
    },
    charts=(
        plane(
            *errors(BEST),
            x="weights left, in percent",
            y="test error",
            title="Test error by the weights that are left",
            log_x=True,
            variants=("ticket", "one-shot", "reinit", "random-mask"),
        ),
        plane(
            *errors(EARLY),
            x="weights left, in percent",
            y="test error after 100 steps",
            title="How much is learnt after 100 steps, by the weights that are left",
            log_x=True,
            variants=("ticket", "one-shot", "reinit", "random-mask"),
        ),
        bars(f"{EARLY}-9", f"{BEST}-9", title="With 9 % of the weights: after 100 steps, and at the best look"),
        curves(
            "validation/error-4",
            title="Learning with 4 % of the weights, and with all (broken line)",
            reference="validation/error-100",
            variants=("ticket", "reinit", "random-mask"),
        ),
    ),
    origin="C",
)
