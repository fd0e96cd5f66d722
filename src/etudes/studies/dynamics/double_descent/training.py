"""Networks of all widths trained side by side, with a look at their errors now and then."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor, nn

from etudes.core import Problem, Run
from etudes.data.batches import Batches
from etudes.measure.error import evaluation_mode
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.double_descent.examples import Examples, open_examples
from etudes.studies.dynamics.double_descent.findings import early_stopping, network_findings
from etudes.studies.dynamics.double_descent.networks import network
from etudes.train import descend, fit, scheduled, seeded
from etudes.train.many import OneByOne, Together, losses

if TYPE_CHECKING:
    from etudes.studies.dynamics.double_descent import Config

STACKS = (16, 32, 64, 256)  # MLPs up to each of these widths are stacked as if they were as wide as the widest of them
AT_ONCE = 500  # pictures that are asked about together


class Group:
    """Networks trained together, ordered by width and then by draw."""

    def __init__(self, cfg: "Config", run: Run, d: Examples, widths: list[int]) -> None:
        shape = d.x.shape[2:]
        made = [
            seeded(run, f"init-{w}-{i}", lambda w=w: network(cfg.network, shape, w, d.classes, cfg.dropout, widths[-1]))
            for w in widths
            for i in range(cfg.draws)
        ]
        self.networks = (Together if cfg.network == "mlp" else OneByOne)(made)
        self.draws = torch.arange(cfg.draws, device=run.device).repeat(len(widths))  # whose examples each learns
        self.opt = torch.optim.Adam(self.networks.parameters(), cfg.lr, weight_decay=cfg.weight_decay)
        self.schedule = scheduled(self.opt, cfg)

    def descend(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the networks' losses on examples [k, n, ...] with labels [k, n], before a step of each."""
        return descend(losses(self.networks(x), y).sum(), self.opt, self.schedule)

    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """The error rate [k] of each on the pictures x: [draws, n, ...] of its own draw, of labels y: [draws, n]."""
        wrong = torch.zeros(len(self.draws), device=x.device)
        with evaluation_mode(self.networks):
            for part, labels in zip(x.split(AT_ONCE, 1), y.split(AT_ONCE, 1), strict=True):
                found = self.networks(part[self.draws]).argmax(-1)
                wrong += (found != labels[self.draws]).sum(1)
        return wrong / y.shape[1]


def groups(cfg: "Config", run: Run, d: Examples) -> list[Group]:
    """MLPs of like widths stacked; of other networks a group for each width, so that memory holds one at a time."""
    widths = sorted(cfg.widths)
    if list(cfg.widths) != sorted(set(widths)) or widths[0] < 1:
        raise Problem(f"the widths are {cfg.widths}; give numbers above 0 that grow")
    if not cfg.around or not {*cfg.around} <= {*widths}:
        raise Problem(f"the widths around the peak are {cfg.around}; take some of {cfg.widths}")
    bounds = (0, *STACKS, widths[-1]) if cfg.network == "mlp" else (0, *widths)
    stacks = [[w for w in widths if low < w <= high] for low, high in pairwise(bounds)]
    return [Group(cfg, run, d, stack) for stack in stacks if stack]


def train_networks(cfg: "Config", run: Run) -> None:
    n = round(cfg.examples * cfg.multiple)
    d = open_examples(cfg, run, n, cfg.draws)
    stacks = groups(cfg, run, d)
    batches = Batches(n, cfg.batch or n, run.seed("order"))
    whole = [] if cfg.batch else [(d.x[g.draws], d.y[g.draws]) for g in stacks]
    looks = Looks(math.ceil(cfg.steps / cfg.eval_every), len(cfg.widths), cfg.draws)
    done = cfg.steps

    def step(i: int) -> dict[str, Tensor]:
        nonlocal done
        done = i + 1
        shown = whole
        if cfg.batch:
            rows = batches.at(i).to(run.device)
            shown = ((d.x[:, rows][g.draws], d.y[:, rows][g.draws]) for g in stacks)
        total = sum(g.descend(x, y) for g, (x, y) in zip(stacks, shown, strict=True))
        return {"train/loss": total / (len(cfg.widths) * cfg.draws)}

    def evaluate() -> dict[str, float]:
        apart = [(x.expand(cfg.draws, *x.shape), y.expand(cfg.draws, -1)) for x, y in (d.validation, d.test)]
        sets = [(d.x, d.y), *apart]
        found = torch.stack([torch.cat([g.errors(x, y) for g in stacks]) for x, y in sets])
        looks.put(math.ceil(done / cfg.eval_every) - 1, found)
        train, _, test = found.view(3, len(cfg.widths), cfg.draws)[:, -1].mean(1).tolist()
        return {"train/error-widest": train, "test/error-widest": test}

    parts: dict[str, Any] = {"looks": looks}
    for i, g in enumerate(stacks):
        parts |= {f"networks-{i}": g.networks, f"opt-{i}": g.opt, f"schedule-{i}": g.schedule}
    fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.eval_every)
    result(cfg, run, looks.errors.numpy())
    widest = network(cfg.network, d.x.shape[2:], cfg.widths[-1], d.classes, 0.0, cfg.widths[-1])
    run.result(parameters=count_parameters(widest))


def result(cfg: "Config", run: Run, errors: numpy.ndarray) -> None:
    """Log the errors [looks, 3, widths, draws] by width, which takes the place of the step, and the findings."""
    last, early = errors[-1].mean(-1), early_stopping(errors[:, 1], errors[:, 2])[1].mean(-1)
    for i, width in enumerate(cfg.widths):
        named = dict(zip(("train/error", "validation/error", "test/error"), last[:, i], strict=True))
        run.log(width, **named, **{"test/error-stopped-early": early[i]})
    run.result(**network_findings(numpy.array(cfg.widths), errors, cfg.around))


class Looks(nn.Module):
    """The errors [looks, 3, widths, draws] on training, validation and test pictures, which survive a kill."""

    def __init__(self, looks: int, widths: int, draws: int) -> None:
        super().__init__()
        self.register_buffer("errors", torch.zeros(looks, 3, widths, draws, dtype=torch.float64))

    def put(self, look: int, found: Tensor) -> None:
        """Keep errors [3, widths * draws]."""
        self.errors[look] = found.view(self.errors.shape[1:])
