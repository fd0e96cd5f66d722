"""optimizers: does looking at more than one weight at a time save steps, on a convex loss and on networks?

Adam divides every number of a gradient by its usual size. Shampoo keeps for each of the k sides of a tensor the sum of
what gradients say of that side, and multiplies every side by a root of its inverse (algorithm 2):

    H_i <- H_i + G_(i) G_(i)',    W <- W - lr G x_1 H_1^(-1/2k) x_2 ... x_k H_k^(-1/2k)

Beside them stand SGD, AdaGrad, Adafactor, Muon, and Newton's method with conjugate gradients, the only one here that
knows the curvature. Adafactor is a first-order method: its "second" means second moments, as in Adam.

    etudes run optimizers                  5 minutes on two cores, 30 variants, 5 seeds
    etudes run optimizers --scale mnist    30 minutes, 10 variants and 3 seeds: the dense network on MNIST-5k
    etudes run optimizers --scale paper    900 minutes on a GPU, 3 variants and 1 seed: ResNet-32 on CIFAR-10

To expect: grafted Shampoo needs a fraction of Adam's steps, a larger one on networks; with its own step lengths Shampoo
does nearly as well, but not with old roots; Newton's method takes a handful of steps, each of many passes.

Departures from the paper: digits and small models at laptop scale; constant rates, five a rule; no augmentation at any
scale. Grafted Shampoo's roots are computed at each of the first steps, then at every fifth.
"""

import copy
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, at_least, positive
from etudes.core.claims import above, below, within
from etudes.data.batches import Batches
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.optimizers.findings import PASSES, STEPS, fewer, lead, summary
from etudes.studies.dynamics.optimizers.newton import NewtonCG
from etudes.studies.dynamics.optimizers.rules import Rule, grid, move, optimiser, restart, state_numbers
from etudes.studies.dynamics.optimizers.shampoo import Graft, precondition
from etudes.studies.dynamics.optimizers.tasks import Inputs, Kind, Network, Task, logistic_task, network, read_pictures
from etudes.train import Rows, fit, seeded


@dataclass(frozen=True)
class Config:
    task: Kind = "logistic"  # what is minimised
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 500  # training pictures; 0: all that are not held out
    held_out: Annotated[int, at_least(1)] = 200  # training pictures for validation
    inputs: Inputs = "pixels"  # of the logistic regression: as they are, badly scaled, or badly scaled and turned
    network: Network = "small"  # "small", or a residual network in place of any model
    width: Annotated[int, at_least(4)] = 32  # hidden units
    penalty: Annotated[float, positive] = 1e-5  # mu of mu |w|^2 / 2, of the logistic regression alone
    rule: Rule = "sgd"  # how a gradient becomes a step
    rate: Annotated[float, positive] = 0.1  # the middle of the grid of learning rates; of Newton's method, of dampings
    trials: Annotated[int, at_least(1)] = 5  # rates that are tried, each three times the one before
    steps: Annotated[int, at_least(4)] = 200  # of each trial of duration 1
    duration: Annotated[float, positive] = 1.0  # multiple of `steps`
    batch: Annotated[int, at_least(1)] = 32  # examples a step of networks; the logistic regression takes all
    whole: bool = False  # whether networks take all as well
    every: Annotated[int, at_least(1)] = 1  # steps between two computations of Shampoo's roots
    block: Annotated[int, at_least(0)] = 0  # side of the blocks that Shampoo cuts tensors into; 0: none
    graft: Graft = "none"  # whose length Shampoo's step has
    iterations: Annotated[int, at_least(1)] = 50  # of conjugate gradients in a Newton step, at most
    decay: Annotated[float, at_least(0)] = 0.0  # weight decay
    coupled: bool = False  # whether it enters the gradient, or stands beside the step
    gap_target: Annotated[float, positive] = 3e-3  # the convex loss to reach: its gap, as a share of the first one
    loss_target: Annotated[float, positive] = 0.1  # the training loss that networks have to reach, nats
    look_every: Annotated[int, at_least(1)] = 5  # steps between looks at the training and validation loss
    look_at: Annotated[int, at_least(0)] = 0  # training pictures that a look sees; 0: all


MOST = 1e3  # loss, in nats, above which a trial is given up
LEAST = 1e-8  # of a loss in the log: nearer than that is arrived


def train(cfg: Config, run: Run) -> None:
    d = read_pictures(run, cfg.dataset, cfg.examples, cfg.held_out)
    if cfg.task == "logistic":
        task = logistic_task(run, d, cfg.inputs, cfg.penalty)
    else:
        model = seeded(run, "init", lambda: network(cfg.task, cfg.network, d.shape, d.classes, cfg.width))
        task = Task(model, d, cfg.look_at)
    model, n = task.model, len(d.train[0])
    opt = optimiser(cfg.rule, model, cfg.every, cfg.block, cfg.graft, cfg.iterations)
    weights, fresh = copy.deepcopy(model.state_dict()), copy.deepcopy(opt.state_dict())
    best = copy.deepcopy(model)
    every = 1 if isinstance(opt, NewtonCG) else cfg.look_every
    looks = max(1, round(cfg.steps * cfg.duration) // every)
    steps, rates = looks * every, grid(cfg.rate, cfg.trials)
    whole = cfg.whole or cfg.task == "logistic" or cfg.batch >= n
    batches = Batches(n, n if whole else cfg.batch, run.seed("order"))
    start = task.gap()
    table = Rows(cfg.trials * looks, "loss", "validation", "passes")

    def step(i: int) -> dict[str, Tensor]:
        trial, t = divmod(i, steps)
        if t == 0:
            model.load_state_dict(weights)
            restart(opt, fresh, rates[trial])
        rows = None if whole else batches.at(t).to(run.device)
        loss = move(opt, lambda: task.objective(rows), cfg.decay, cfg.coupled, MOST)
        if (t + 1) % every == 0:
            look(trial * looks + t // every, t + 1)
        return {"train/loss-of-step": loss}

    def look(row: int, done: int) -> None:
        spent = opt.param_groups[0].get("work", done * (1.0 if whole else cfg.batch / n))
        loss, held_out = (np.nan_to_num(value, nan=MOST).clip(None, MOST) for value in (task.gap(), validation()))
        if row == 0 or held_out < table["validation"][:row].min():
            best.load_state_dict(model.state_dict())
        table.put(row, loss=loss, validation=held_out, passes=spent)

    def validation() -> float:
        return task.losses(task.pictures.validation)[0]

    def evaluate() -> dict[str, float]:
        model.load_state_dict(best.state_dict())
        loss, error = task.losses(task.pictures.test)
        return {"test/loss": loss, "test/error": error, "validation/loss": validation()}

    parts = {"model": model, "opt": opt, "best": best, "table": table}
    run.result(**fit(run, parts, step, cfg.trials * steps, evaluate=evaluate, log_every=steps))
    losses, passes = (table[name].reshape(cfg.trials, looks) for name in ("loss", "passes"))
    name, target = ("gap", cfg.gap_target * start) if cfg.task == "logistic" else ("loss", cfg.loss_target)
    run.result(**summary(losses, passes, every, start, target, name))
    count = sum(p.numel() for p in model.parameters())
    run.result(parameters=count, **{"train/state-per-weight": state_numbers(opt) / count})
    for k, loss in enumerate([start, *losses[losses[:, -1].argmin()]]):
        run.log(k * every, **{f"train/{name}": max(loss, LEAST)})
    for k, loss in enumerate(losses[:, -1]):
        run.log(k + 1, **{f"train/{name}-at-the-end": max(loss, LEAST)})


SGD, ADAGRAD, ADAM, ADAFACTOR, MUON, SHAMPOO, NEWTON = (
    {"rule": rule} for rule in ("sgd", "adagrad", "adam", "adafactor", "muon", "shampoo", "newton")
)
GRAFTED = SHAMPOO | {"graft": "adagrad"}
CONVEX = {"task": "logistic", "duration": 1.25}
MLP, CNN = {"task": "mlp"}, {"task": "cnn"}
FULL = MLP | {"whole": True}
BLEND = MLP | GRAFTED | {"rate": 0.5, "every": 5}
TINY = {"examples": 40, "held_out": 20, "steps": 6, "trials": 2, "width": 8, "look_every": 3, "penalty": 0.01}
MNIST = {"dataset": "mnist-5k", "examples": 3000, "held_out": 1000, "steps": 1000, "width": 64, "look_every": 20}
PAPER = {"dataset": "cifar10", "network": "resnet32", "examples": 0, "held_out": 5000, "batch": 128, "steps": 30_000}
SELDOM = {"look_every": 500, "look_at": 5000}
OFFLINE = {"dataset": "digits", "examples": 500, "held_out": 200}
CONVEX_RULES = ("sgd", "adagrad", "adam", "adafactor", "shampoo", "grafted", "newton")
DENSE = ("sgd", "adagrad", "adam", "adafactor", "muon", "shampoo", "grafted", "blocks", "seldom", "stale")
MAIN = [f"mlp-{name}" for name in DENSE[:-3]]
FEW = [f"logistic-{name}" for name in ("sgd", "adam", "shampoo", "newton")]
LEADERS = ("sgd", "adam", "grafted")
SECTIONS = {
    "Logistic regression": [f"logistic-{name}" for name in CONVEX_RULES],
    "Dense network": [f"mlp-{name}" for name in DENSE],
    "Dense network, all pictures": [f"full-{name}" for name in ("sgd", "adam", "grafted", "newton")],
    "Convolutions": [f"cnn-{name}" for name in LEADERS],
}

STUDY = Study(
    name="optimizers",
    question="Tuned alike, who needs the fewest steps: first-order rules, Shampoo and Muon, or Newton's method?",
    paper=Paper(
        "Shampoo: Preconditioned Stochastic Tensor Optimization",
        "Gupta, Koren, Singer",
        2018,
        "https://arxiv.org/abs/1802.09568",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("logistic-sgd", CONVEX | SGD | {"rate": 3.0}, "momentum 0.9, all pictures in every step"),
        Variant("logistic-adagrad", CONVEX | ADAGRAD | {"rate": 1.0}, "sums of squares, a number a weight"),
        Variant("logistic-adam", CONVEX | ADAM | {"rate": 0.3}),
        Variant("logistic-adafactor", CONVEX | ADAFACTOR | {"rate": 0.3}, "first order, little memory"),
        Variant("logistic-shampoo", CONVEX | SHAMPOO | {"rate": 10.0}, "algorithm 2, roots at every step"),
        Variant(
            "logistic-grafted", CONVEX | GRAFTED | {"rate": 5.0, "every": 5}, "Shampoo's direction, AdaGrad's length"
        ),
        Variant("logistic-newton", NEWTON | {"rate": 1e-6, "duration": 0.1}, "second order; dampings for rates"),
        Variant(
            "scaled-adam", CONVEX | ADAM | {"inputs": "scaled", "rate": 1.0}, "pixels whose sizes span two decades"
        ),
        Variant("rotated-adam", CONVEX | ADAM | {"inputs": "rotated", "rate": 1.0}, "the same, in other axes"),
        Variant("mlp-sgd", MLP | SGD | {"rate": 0.1}, "two hidden layers, batches of 32"),
        Variant("mlp-adagrad", MLP | ADAGRAD | {"rate": 0.1}),
        Variant("mlp-adam", MLP | ADAM | {"rate": 0.02}),
        Variant("mlp-adafactor", MLP | ADAFACTOR | {"rate": 0.01}),
        Variant("mlp-muon", MLP | MUON | {"rate": 0.03}, "hidden matrices; SGD for the rest"),
        Variant("mlp-shampoo", MLP | SHAMPOO | {"rate": 0.5}, "algorithm 2, roots at every step"),
        Variant("mlp-stale", MLP | SHAMPOO | {"rate": 0.2, "every": 5}, "as mlp-shampoo, roots at every fifth step"),
        Variant("mlp-grafted", BLEND, "Shampoo's direction, AdaGrad's length"),
        Variant("mlp-blocks", BLEND | {"block": 16}, "as mlp-grafted, in blocks of 16 x 16"),
        Variant("mlp-seldom", BLEND | {"every": 20}, "as mlp-grafted, roots at every twentieth step"),
        Variant("full-sgd", FULL | SGD | {"rate": 0.3}, "the dense network, all pictures in every step"),
        Variant("full-adam", FULL | ADAM | {"rate": 0.02}),
        Variant("full-grafted", BLEND | {"whole": True}),
        Variant("full-newton", FULL | NEWTON | {"rate": 1e-3, "duration": 0.15}),
        Variant("adam-coupled", MLP | ADAM | {"rate": 0.02, "decay": 1e-3, "coupled": True}, "an L2 penalty"),
        Variant("adam-decoupled", MLP | ADAM | {"rate": 0.02, "decay": 0.05}, "AdamW"),
        Variant("grafted-coupled", BLEND | {"decay": 1e-3, "coupled": True}),
        Variant("grafted-decoupled", BLEND | {"decay": 0.01}),
        Variant("cnn-sgd", CNN | SGD | {"rate": 0.3}, "two convolutions, batches of 32"),
        Variant("cnn-adam", CNN | ADAM | {"rate": 0.02}),
        Variant("cnn-grafted", CNN | GRAFTED | {"rate": 0.5, "every": 5}, "tensors of four modes"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=5),
        "mnist": Scale(
            MNIST, seeds=3, minutes=30, judges=False, variants=[f"mlp-{name}" for name in DENSE], offline=OFFLINE
        ),
        "paper": Scale(
            PAPER | SELDOM,
            seeds=1,
            minutes=900,
            judges=False,
            variants=[f"cnn-{name}" for name in LEADERS],
            offline=OFFLINE,
        ),
    },
    words={
        STEPS: "steps to the target",
        PASSES: "passes over the data to the target",
        "train/gap": "training loss above the least one",
        "train/loss": "training loss at the end",
        "train/rates-near-best": "rates that arrive within twice the steps of the best",
        "train/state-per-weight": "numbers kept for each weight",
        "test/error": "test error",
        "test/loss": "test loss",
    },
    idea=precondition,
    claims={
        "on logistic regression Shampoo needs fewer steps to the target than diagonal AdaGrad": fewer(
            "logistic-shampoo", "logistic-adagrad", "abstract"
        ),
        "on logistic regression Newton's method needs fewer passes over the data than grafted Shampoo": fewer(
            "logistic-newton", "logistic-grafted", "beyond the paper", of=PASSES
        ),
        "with its inputs turned to other axes Adam needs more steps on logistic regression than before": fewer(
            "rotated-adam", "scaled-adam", "beyond the paper", expect=above(1)
        ),
        "on the dense network grafted Shampoo needs fewer steps to the target than Adam": fewer(
            "mlp-grafted", "mlp-adam", "abstract"
        ),
        "on the dense network Shampoo needs fewer steps with AdaGrad's step lengths than with its own": fewer(
            "mlp-grafted", "mlp-shampoo", "Anil et al. 2020 (arXiv:2002.09018), grafting"
        ),
        "roots at every fifth step cost Shampoo without grafting at most 1.5 times the steps of fresh ones": fewer(
            "mlp-stale", "mlp-shampoo", "sec. 5, delayed updates", expect=below(1.5)
        ),
        "roots at every twentieth step cost grafted Shampoo at most 1.5 times the steps of every fifth": fewer(
            "mlp-seldom", "mlp-grafted", "sec. 5, delayed updates", expect=below(1.5)
        ),
        "grafted Shampoo's lead over Adam is smaller on the dense network than on logistic regression": Claim(
            lambda trial: lead(trial, "mlp-grafted", "mlp-adam", "logistic-grafted", "logistic-adam"),
            below(1),
            "beyond the paper",
            number="lead in steps on the dense network over that on logistic regression",
            kind="ratio",
        ),
        "grafted Shampoo's lead over Adam on the dense network is larger with all pictures a step than with 32": Claim(
            lambda trial: lead(trial, "full-grafted", "full-adam", "mlp-grafted", "mlp-adam"),
            above(1),
            "beyond the paper",
            matters=0.3,
            number="lead in steps with all pictures over that with batches of 32",
            kind="ratio",
        ),
        "Adafactor needs as many steps as Adam on the dense network, within a factor of two": fewer(
            "mlp-adafactor", "mlp-adam", "Shazeer and Stern 2018 (arXiv:1804.04235)", expect=within(0.5, 2)
        ),
        "on the dense network Muon needs fewer steps to the target than Adam": fewer(
            "mlp-muon", "mlp-adam", "Jordan et al. 2024, and Wen et al. 2025 (arXiv:2509.02046), abstract"
        ),
    },
    charts=(
        curves(
            "train/gap",
            title="Logistic regression: how far the loss is from the least",
            log=True,
            by="rule",
            variants=FEW,
        ),
        bars(STEPS, title="Steps to the target, with the best of five rates", by="rule", key="rule", sections=SECTIONS),
        curves("train/loss", title="Dense network: the training loss", log=True, by="rule", variants=MAIN),
        curves(
            "train/loss-at-the-end",
            title="Dense network: the training loss at the end by rate",
            log=True,
            step="rate, each three times the one before",
            by="rule",
            variants=MAIN,
        ),
        bars("test/loss", "test/error", title="Test loss and test error, chosen on validation", by="rule"),
    ),
    origin="D8",
)
