"""edge-of-stability: full-batch gradient descent raises the sharpness to 2/eta and trains on from there.

Sharpness is the largest eigenvalue of the Hessian of the training loss. On a quadratic of curvature h, a step of
gradient descent is w <- (1 - eta h) w, which grows without end where h > 2/eta. For heavy-ball momentum the threshold
is (2+2b)/eta, and for Adam, in the norm that it preconditions with, (2+2b1)/((1-b1) eta), which is 38/eta for b1 = 0.9.
On networks the sharpness rises to that threshold and stays there, and the loss goes up and down from step to step while
it falls in the long run.

Averaged over its oscillations, descent at the edge follows another flow than its gradient's: the central flow, which
also follows the gradient of the sharpness, just so much that the sharpness stays below 2/eta (central.py).

    etudes run edge-of-stability                    3 minutes on two cores, 11 variants, 5 seeds
    etudes run edge-of-stability --scale cifar10    20 minutes, 3 seeds: the same on CIFAR-10 pictures

The control `gd-x1` has not reached its threshold when it ends; `flow` has passed the threshold of the others.

The loss is the sum over outputs of (output - one-hot)^2, halved, averaged over examples: the definition sets the
threshold's scale. All in fp32, and no batch norm, no minibatches: they would blur what is measured.

Departures from the papers: 500 digits and a network of 8,970 parameters, thousands of steps instead of 100,000. The
papers give no tolerance for "hovers"; ours, ten per cent, was chosen after trials with other seeds of the same
pictures. "Gradient flow" is descent with steps so small that they stay far below the threshold. The central flow
is that of a network of 1,482 parameters on 100 digits, in float64.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import Claim, Paper, Run, Scale, Study, Variant
from etudes.core.claims import above, at_least, below, between, positive, within
from etudes.measure.sharpness import hessian_product, sharpness
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.edge_of_stability.central import DISTANCES, LOSSES, follow
from etudes.studies.dynamics.edge_of_stability.findings import (
    PLATEAU,
    distance_ratio,
    flow_ratio,
    holds,
    loss_ratio,
    plateau_ratio,
    summary,
    worst_tenth,
)
from etudes.studies.dynamics.edge_of_stability.objectives import network, quadratic
from etudes.studies.dynamics.edge_of_stability.rules import Descent
from etudes.train import Rows, fit


@dataclass(frozen=True)
class Config:
    objective: Literal["network", "quadratic", "flows"] = "network"  # what is minimised; flows: see central.py
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(2)] = 500  # training pictures, all in every step
    width: Annotated[int, at_least(1)] = 64  # units of each of the two hidden layers
    activation: Literal["tanh", "relu"] = "tanh"  # between the layers
    rule: Literal["gd", "momentum", "adam"] = "gd"  # how a gradient becomes a step
    gd_step: Annotated[float, positive] = 0.1  # step size of plain descent, before `multiple`
    momentum_step: Annotated[float, positive] = 0.4  # of heavy-ball momentum
    adam_step: Annotated[float, positive] = 1e-3  # of Adam
    multiple: Annotated[float, positive] = 1.0  # of the rule's step size; on the quadratic, of 2/sharpness
    beta: Annotated[float, within(0, 1)] = 0.9  # of momentum; beta1 of Adam
    beta2: Annotated[float, within(0, 1)] = 0.999  # of Adam
    steps: Annotated[int, at_least(20)] = 4000  # steps of a variant of duration 1
    duration: Annotated[float, at_least(0.5)] = 1.0  # multiple of `steps`
    measure_every: Annotated[int, at_least(1)] = 25  # steps between measurements; odd, as the period is 2
    flows_examples: Annotated[int, at_least(2)] = 100  # pictures of the small network that is compared with its flows
    flows_width: Annotated[int, at_least(1)] = 16  # units of each of its hidden layers
    flows_step: Annotated[float, positive] = 0.8  # step size of its descent
    flows_from: Annotated[int, at_least(1)] = 30  # its steps before the flows begin
    flows_steps: Annotated[int, at_least(2)] = 250  # all its steps


def threshold(rule: str, step_size: float, beta: float) -> float:
    """The sharpness above which `rule` diverges on a quadratic (2103.00065 for gd and momentum, 2207.14484 for Adam,
    whose sharpness is that of P^-1 H)."""
    return {"gd": 2, "momentum": 2 + 2 * beta, "adam": (2 + 2 * beta) / (1 - beta)}[rule] / step_size


def train(cfg: Config, run: Run) -> None:
    if cfg.objective == "flows":
        follow(cfg, run)
        return
    if cfg.objective == "quadratic":
        (objective, weights, baseline), steps, step_size = quadratic(run), 100, cfg.multiple * 2 / 10
    else:
        objective, weights, baseline = network(run, cfg.dataset, cfg.examples, cfg.width, cfg.activation)
        steps = round(cfg.steps * cfg.duration)
        step_size = cfg.multiple * {"gd": cfg.gd_step, "momentum": cfg.momentum_step, "adam": cfg.adam_step}[cfg.rule]
    limit = threshold(cfg.rule, step_size, cfg.beta)
    state = Descent(weights).to(run.device)
    losses, measured = Rows(steps, "loss"), Rows(math.ceil(steps / cfg.measure_every), "sharpness")

    def step(i: int) -> dict[str, Tensor]:
        flat = state.weights.detach().requires_grad_()
        loss = objective(flat)
        (gradient,) = torch.autograd.grad(loss, flat)
        scale = state.preconditioner(gradient, i + 1, cfg.beta, cfg.beta2) if cfg.rule == "adam" else None
        if i % cfg.measure_every == 0 and (loss + gradient.square().sum()).isfinite():  # else fit says that it diverged
            product = hessian_product(lambda: objective(flat), [flat])
            largest = sharpness(product, len(flat), run.rng("lanczos", i), scale=scale)
            measured.put(i // cfg.measure_every, sharpness=largest)
            run.log(i, **{"train/sharpness": largest, "train/threshold": limit})
        losses.put(i, loss=loss.detach())
        state.move(cfg.rule, gradient, step_size, cfg.beta, scale)
        return {"train/loss": loss.detach()}

    parts = {"state": state, "losses": losses, "measured": measured}
    fit(run, parts, step, steps, log_every=cfg.measure_every)
    trajectory = torch.from_numpy(measured["sharpness"]), torch.from_numpy(losses["loss"])
    run.result(**summary(*trajectory, limit, cfg.measure_every))
    run.result(parameters=len(weights), **{"train/loss-constant": baseline})


CIFAR = {"dataset": "cifar10", "gd_step": 0.005, "momentum_step": 0.04}
NETWORKS = ("gd-x1", "gd-x2", "gd-x3", "gd-x4", "flow", "relu", "momentum")  # whose sharpness is comparable
TRAINED = (*NETWORKS, "adam", "quadratic-below", "quadratic-above")  # all but `central`, whose setting is of digits
CENTRAL = "Cohen 2025 (arXiv:2410.24206), central flow of gradient descent"
COHEN = "Cohen 2021"
ADAPTIVE = "Cohen 2022 (arXiv:2207.14484), abstract"

STUDY = Study(
    name="edge-of-stability",
    question="Does full-batch gradient descent train at the edge of stability, with sharpness near 2 / step size?",
    paper=Paper(
        "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
        "Cohen, Kaur, Li, Kolter, Talwalkar",
        2021,
        "https://arxiv.org/abs/2103.00065",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("gd-x1", {"multiple": 1.0}, "too slow to reach its threshold: the stable control"),
        Variant("gd-x2", {"multiple": 2.0}, "twice the step size"),
        Variant("gd-x3", {"multiple": 3.0}, "three times"),
        Variant("gd-x4", {"multiple": 4.0}, "four times"),
        Variant("flow", {"multiple": 0.5, "duration": 2.0}, "half the step size for as long as gd-x1: gradient flow"),
        Variant("relu", {"activation": "relu", "multiple": 4.0}, "as gd-x4, with ReLU for tanh"),
        Variant("momentum", {"rule": "momentum", "duration": 0.5}, "heavy ball, beta 0.9"),
        Variant("adam", {"rule": "adam", "duration": 0.75}, "sharpness in the norm of its preconditioner"),
        Variant("central", {"objective": "flows"}, "a smaller network, beside its central flow and gradient flow"),
        Variant(
            "quadratic-below", {"objective": "quadratic", "multiple": 0.95}, "95 % of the largest stable step size"
        ),
        Variant("quadratic-above", {"objective": "quadratic", "multiple": 1.05}, "105 % of it: must diverge"),
    ),
    scales={
        "smoke": Scale(
            {"steps": 40, "examples": 60, "width": 8, "measure_every": 5, "flows_steps": 35},
            seeds=2,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3),
        "cifar10": Scale(CIFAR, seeds=3, minutes=20, variants=TRAINED),
        "paper": Scale(
            CIFAR | {"examples": 5000, "width": 200, "steps": 100_000, "measure_every": 101},
            seeds=3,
            minutes=600,
            variants=TRAINED,
        ),
    },
    words={
        "train/plateau-over-threshold": "sharpness held over its threshold",
        "train/sharpness": "sharpness at the end",
        "train/sharpness-plateau": "sharpness held",
        "train/sharpness-rises": "share of intervals in which the sharpness rises",
        "train/rises-after": "share of steps at the edge on which the loss rises",
        "train/rises-before": "share of steps before the edge on which the loss rises",
        "train/worst-tenth": "largest ratio of the mean losses of consecutive tenths of the run",
        "train/loss": "training loss at the end",
    },
    idea=threshold,
    claims={
        "below its threshold gradient descent raises the sharpness in most intervals between measurements": between(
            "gd-x1", 0.5, math.inf, f"{COHEN}, abstract and fig. 1", of="train/sharpness-rises"
        ),
        "gradient descent holds the sharpness at 2/eta, within ten per cent": holds(
            "gd-x2", f"{COHEN}, abstract and fig. 1"
        ),
        "half the step size has twice the plateau of sharpness, within ten per cent": Claim(
            plateau_ratio,
            within(1.8, 2.2),
            f"{COHEN}, fig. 1",
            paper=2.0,
            number="plateau of sharpness over that of twice the step size",
            kind="ratio",
        ),
        "at the edge of stability the loss rises on more than a tenth of the steps": between(
            "gd-x2", 0.1, math.inf, f"{COHEN}, abstract", of="train/rises-after"
        ),
        "at the edge of stability each tenth of the run has a lower mean loss than the one before": Claim(
            worst_tenth,
            below(1),
            f"{COHEN}, abstract",
            matters=0.02,
            number="largest ratio of the mean losses of consecutive tenths of gd-x2",
            kind="ratio",
        ),
        "gradient flow ends with a sharpness more than ten per cent above the plateau of gradient descent": Claim(
            flow_ratio,
            above(1.1),
            f"{COHEN}, gradient flow",
            number="sharpness of flow over the plateau of gd-x2",
            kind="ratio",
        ),
        "with ReLU gradient descent holds the sharpness at 2/eta, within ten per cent": holds(
            "relu", f"{COHEN}, abstract"
        ),
        "heavy-ball momentum holds the sharpness at (2 + 2 beta)/eta, within ten per cent": holds(
            "momentum", f"{COHEN}, momentum"
        ),
        "Adam holds the sharpness in the norm of its preconditioner at 38/eta, within ten per cent": holds(
            "adam", ADAPTIVE
        ),
        "at the edge averaged descent is less than half as far from its central flow as from gradient flow": Claim(
            distance_ratio,
            below(0.5),
            CENTRAL,
            number="distance of averaged descent from central over that from gradient flow",
            kind="ratio",
        ),
        "at the edge the central flow predicts the mean loss of descent, within ten per cent": Claim(
            loss_ratio,
            within(0.9, 1.1),
            CENTRAL,
            paper=1.0,
            number="mean loss that the central flow predicts over that of descent",
            kind="ratio",
        ),
    },
    revisions=(
        "Ratios are judged as logarithms; the claims on the quadratic and on the loss of the stable control, the same "
        "under every seed, became tests; a second plateau that two others imply is no claim; looks go on to 20 seeds.",
        "Two claims on the central flow, by a variant of its own; those before are as they were.",
    ),
    charts=(
        curves(
            "train/sharpness",
            title="Sharpness by step size, and the threshold of each, 2 / step size",
            reference="train/threshold",
            variants=("gd-x1", "gd-x2", "gd-x3", "gd-x4"),
        ),
        curves(
            "train/sharpness",
            title="Sharpness and threshold of each way of training",
            facet=True,
            reference="train/threshold",
            variants=NETWORKS,
        ),
        curves(
            "train/sharpness",
            title="Sharpness and threshold under Adam, in the norm of its preconditioner",
            facet=True,
            reference="train/threshold",
            variants=("adam",),
            log=True,
        ),
        bars(PLATEAU, title="Sharpness on its plateau, as a multiple of the threshold"),
        bars(
            "train/rises-before",
            "train/rises-after",
            title="How often a step raises the loss, before and after the threshold is reached",
        ),
        curves(
            *DISTANCES,
            title="How far averaged descent is from its central flow, and from gradient flow",
            facet=True,
            variants=("central",),
        ),
        curves(
            *LOSSES,
            title="Loss of descent, the mean that its central flow predicts, and that of gradient flow",
            facet=True,
            log=True,
            variants=("central",),
        ),
        curves("train/loss", title="Training loss of each", facet=True, log=True, variants=(*NETWORKS, "adam")),
    ),
    origin="D7",
)
