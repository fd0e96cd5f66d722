"""What most supervised studies share: the fields of a recipe, a seeded model, an optimiser, one descent."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from etudes.core.claims import at_least, positive, within
from etudes.core.run import Run
from etudes.optim.schedules import SCHEDULES, Schedule
from etudes.train.distribute import average_gradients
from etudes.train.precision import Model, place


@dataclass(frozen=True)
class Steps:
    """How long is trained, and how often that is looked at: what every training has."""

    steps: Annotated[int, at_least(1)] = 1000  # optimiser steps
    batch: Annotated[int, at_least(1)] = 128  # examples a step, over all processes together
    eval_every: Annotated[int, at_least(0)] = 0  # steps between evaluations; 0: at the end alone
    log_every: Annotated[int, at_least(1)] = 10  # steps that one line of the log averages


@dataclass(frozen=True)
class Sgd(Steps):
    """Training by stochastic gradient descent with momentum."""

    lr: Annotated[float, at_least(0)] = 0.1  # peak learning rate
    schedule: Schedule = "cosine"  # learning rate over the steps
    momentum: Annotated[float, within(0, 1)] = 0.9  # of SGD
    weight_decay: Annotated[float, at_least(0)] = 1e-4  # L2 penalty on all parameters


@dataclass(frozen=True)
class Adam(Steps):
    """Training by Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

    lr: Annotated[float, positive] = 1e-3  # peak learning rate
    schedule: Schedule = "cosine"  # learning rate over the steps


def seeded(run: Run, stream: str, make: Callable[[], Model]) -> Model:
    """`make()` with PyTorch's generator seeded by the run, placed on its device; the generator is given back."""
    with torch.random.fork_rng():
        torch.manual_seed(run.seed(stream))
        return place(run, make())


def sgd(model: torch.nn.Module, cfg: Sgd) -> tuple[torch.optim.SGD, LambdaLR]:
    """SGD with momentum over all parameters, and the recipe's schedule."""
    opt = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
    return opt, scheduled(opt, cfg)


def adam(model: torch.nn.Module, cfg: Adam, betas: tuple[float, float] = (0.9, 0.999)) -> tuple[Optimizer, LambdaLR]:
    """Adam over all parameters, and the recipe's schedule."""
    opt = torch.optim.Adam(model.parameters(), cfg.lr, betas)
    return opt, scheduled(opt, cfg)


def scheduled(opt: Optimizer, cfg: Sgd | Adam) -> LambdaLR:
    """The recipe's schedule on the learning rates of any optimiser."""
    factor = SCHEDULES[cfg.schedule]
    return LambdaLR(opt, lambda step: factor(step, cfg.steps))


def descend(loss: Tensor, opt: Optimizer, schedule: LRScheduler, clip: float = math.inf) -> Tensor:
    """One step down the gradient of `loss`; the loss, averaged over the processes, detached.

    A gradient whose norm over all parameters is above `clip` is scaled down to it (Pascanu et al. 2013,
    arXiv:1211.5063, algorithm 1).
    """
    opt.zero_grad(set_to_none=True)
    with torch.autocast(loss.device.type, enabled=False):  # backward takes each operation's own precision
        loss.backward()
    parameters = [p for group in opt.param_groups for p in group["params"]]
    loss = average_gradients(parameters, loss.detach())
    if clip < math.inf:
        torch.nn.utils.clip_grad_norm_(parameters, clip)
    opt.step()
    schedule.step()
    return loss
