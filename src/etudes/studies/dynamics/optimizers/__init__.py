"""optimizers: does second-order information save steps, on a convex loss and on networks?

TODO
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, Claim, above, below, between, positive
from etudes.data.batches import Batches
from etudes.reports.charts import bars, curves
from etudes.studies.dynamics.optimizers.findings import summary
from etudes.studies.dynamics.optimizers.rules import Rule, grid, move, optimiser, restart, state_numbers
from etudes.studies.dynamics.optimizers.newton import NewtonCG
from etudes.studies.dynamics.optimizers.shampoo import Graft, precondition
from etudes.studies.dynamics.optimizers.tasks import Inputs, Kind, Network, Task, logistic_task, network, read_pictures
from etudes.train import Rows, fit, seeded


@dataclass(frozen=True)
class Config:
    task: Kind = "logistic"  # what is minimised
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 500  # training pictures; 0: all that are not held out
    held_out: Annotated[int, at_least(1)] = 300  # training pictures for validation
    inputs: Inputs = "pixels"  # of the logistic regression: as they are, badly scaled, or badly scaled and turned
    network: Network = "small"  # "small", or a residual network in place of any model
    width: Annotated[int, at_least(4)] = 32  # hidden units
    penalty: Annotated[float, positive] = 1e-5  # mu of mu |w|^2 / 2, of the logistic regression alone
    rule: Rule = "sgd"  # how a gradient becomes a step
    rate: Annotated[float, positive] = 0.1  # the middle of the grid of learning rates; of Newton's method, of dampings
    trials: Annotated[int, at_least(1)] = 5  # rates that are tried, each three times the one before
    steps: Annotated[int, at_least(10)] = 200  # of each trial of duration 1
    duration: Annotated[float, positive] = 1.0  # multiple of `steps`
    batch: Annotated[int, at_least(1)] = 32  # examples a step of networks; the logistic regression takes all
    whole: bool = False  # whether networks take all as well
    every: Annotated[int, at_least(1)] = 1  # steps between two computations of Shampoo's roots
    block: Annotated[int, at_least(0)] = 0  # side of the blocks that Shampoo cuts tensors into; 0: none
    graft: Graft = "none"  # whose length Shampoo's step has
    iterations: Annotated[int, at_least(1)] = 50  # of conjugate gradients in a Newton step, at most
    decay: Annotated[float, at_least(0)] = 0.0  # weight decay
    coupled: bool = False  # whether it enters the gradient, or stands beside the step
    gap_target: Annotated[float, positive] = 1e-3  # the convex loss to reach: its gap, as a share of the first one
    loss_target: Annotated[float, positive] = 0.1  # the training loss that networks have to reach, nats
    look_every: Annotated[int, at_least(1)] = 4  # steps between looks at the training and validation loss
    look_at: Annotated[int, at_least(0)] = 0  # training pictures that a look sees; 0: all


MOST = 1e3  # loss, in nats, above which a trial is given up


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
        return task.losses(d.validation)[0]

    def evaluate() -> dict[str, float]:
        model.load_state_dict(best.state_dict())
        loss, error = task.losses(d.test)
        return {"test/loss": loss, "test/error": error, "validation/loss": validation()}

    parts = {"model": model, "opt": opt, "best": best, "table": table}
    run.result(**fit(run, parts, step, cfg.trials * steps, evaluate=evaluate, log_every=steps))
    losses, passes = (table[name].reshape(cfg.trials, looks) for name in ("loss", "passes"))
    target = cfg.gap_target * start if cfg.task == "logistic" else cfg.loss_target
    run.result(**summary(losses, passes, every, start, target))
    count = sum(p.numel() for p in model.parameters())
    run.result(parameters=count, **{"train/state-per-weight": state_numbers(opt) / count})
    chosen = losses[losses[:, -1].argmin()]
    for k, loss in enumerate([start, *chosen]):
        run.log(k * every, **{"train/loss": max(loss, 1e-16)})


LONG = {"duration": 1.5}
SCALED, ROTATED = LONG | {"inputs": "scaled"}, LONG | {"inputs": "rotated"}
GRAFTED = {"rule": "shampoo", "graft": "adagrad"}
MLP, CNN, FULL = {"task": "mlp"}, {"task": "cnn"}, {"task": "mlp", "whole": True}
SGD, ADAGRAD, ADAM, ADAFACTOR, MUON = {"rule": "sgd"}, {"rule": "adagrad"}, {"rule": "adam"}, {"rule": "adafactor"}, {"rule": "muon"}
SHAMPOO, NEWTON = {"rule": "shampoo"}, {"rule": "newton"}
STUDY = Study(
    name="optimizers",
    question="Does second-order information save steps?",
    paper=Paper("Shampoo: Preconditioned Stochastic Tensor Optimization", "Gupta, Koren, Singer", 2018, "https://arxiv.org/abs/1802.09568"),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("logistic-sgd", LONG | SGD | {"rate": 5.0}),
        Variant("logistic-adagrad", LONG | ADAGRAD | {"rate": 1.0}),
        Variant("logistic-adam", LONG | ADAM | {"rate": 0.3}),
        Variant("logistic-adafactor", LONG | ADAFACTOR | {"rate": 0.3}),
        Variant("logistic-shampoo", LONG | SHAMPOO | {"rate": 20.0}),
        Variant("logistic-grafted", LONG | GRAFTED | {"rate": 5.0}),
        Variant("logistic-newton", NEWTON | {"rate": 1e-6, "duration": 0.1}),
        Variant("scaled-adam", SCALED | ADAM | {"rate": 1.0}),
        Variant("rotated-adam", ROTATED | ADAM | {"rate": 1.0}),
        Variant("rotated-shampoo", ROTATED | SHAMPOO | {"rate": 20.0}),
        Variant("mlp-sgd", MLP | SGD | {"rate": 0.3}),
        Variant("mlp-adagrad", MLP | ADAGRAD | {"rate": 0.1}),
        Variant("mlp-adam", MLP | ADAM | {"rate": 0.02}),
        Variant("mlp-adafactor", MLP | ADAFACTOR | {"rate": 0.02}),
        Variant("mlp-muon", MLP | MUON | {"rate": 0.03}),
        Variant("mlp-shampoo", MLP | SHAMPOO | {"rate": 0.5, "every": 5}),
        Variant("mlp-grafted", MLP | GRAFTED | {"rate": 0.5, "every": 5}),
        Variant("mlp-grafted-blocks", MLP | GRAFTED | {"rate": 0.5, "every": 5, "block": 16}),
        Variant("mlp-grafted-seldom", MLP | GRAFTED | {"rate": 0.5, "every": 20}),
        Variant("full-sgd", FULL | SGD | {"rate": 0.3}),
        Variant("full-adam", FULL | ADAM | {"rate": 0.02}),
        Variant("full-grafted", FULL | GRAFTED | {"rate": 0.5, "every": 5}),
        Variant("full-newton", FULL | NEWTON | {"rate": 3e-3, "duration": 0.15}),
        Variant("adam-coupled", MLP | ADAM | {"rate": 0.02, "decay": 0.01, "coupled": True}),
        Variant("adam-decoupled", MLP | ADAM | {"rate": 0.02, "decay": 1.0}),
        Variant("grafted-coupled", MLP | GRAFTED | {"rate": 0.5, "every": 5, "decay": 0.01, "coupled": True}),
        Variant("grafted-decoupled", MLP | GRAFTED | {"rate": 0.5, "every": 5, "decay": 0.1}),
        Variant("cnn-sgd", CNN | SGD | {"rate": 0.3}),
        Variant("cnn-adam", CNN | ADAM | {"rate": 0.03}),
        Variant("cnn-grafted", CNN | GRAFTED | {"rate": 0.5, "every": 5}),
    ),
    scales={"smoke": Scale({"examples": 60, "steps": 20}, seeds=2, minutes=0.1, judges=False), "laptop": Scale({}, seeds=(5,8,12,20), minutes=5)},
    claims={"x": between("mlp-sgd", 0.0, 1.0, "x", of="train/loss")},
    charts=(curves("train/loss", log=True),),
    origin="D8",
)
