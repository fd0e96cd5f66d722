"""Training a network to give each picture, or the next of its cycle, until nothing is left of the loss."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Run
from etudes.measure.size import count_parameters
from etudes.optim.schedules import warmup
from etudes.studies.dynamics.autoencoder_memory.idea import cycles
from etudes.train import descend, fit

if TYPE_CHECKING:
    from etudes.studies.dynamics.autoencoder_memory import Config


class Ending(nn.Module):
    """The loss at which training ended, or nan while it goes on: a part of `fit`, so that it survives a kill."""

    loss: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loss", torch.tensor(math.nan))


def memorise(cfg: "Config", run: Run, model: nn.Module, x: Tensor) -> dict[str, float]:
    """Train f(x) = the next picture of the cycle until the loss is `enough`, or the steps are over."""
    steps = max(1, round(cfg.steps * cfg.duration))
    target = x[cycles(len(x), cfg.cycle).to(x.device)]
    if cfg.rule == "adam":
        opt: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), cfg.lr)
    else:
        opt = torch.optim.SGD(model.parameters(), cfg.lr, momentum=cfg.momentum)
    schedule = LambdaLR(opt, lambda step: warmup(step, steps))
    ending = Ending().to(x.device)

    def step(i: int) -> dict[str, Tensor]:
        if ending.loss.isfinite():  # nothing is left to learn
            return {"train/loss": ending.loss}
        loss = functional.mse_loss(model(x), target)
        if loss.item() <= cfg.enough:
            ending.loss.fill_(loss.item())
            return {"train/loss": loss.detach()}
        return {"train/loss": descend(loss, opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule, "ending": ending}
    fit(run, parts, step, steps, log_every=cfg.log_every)
    with torch.no_grad():
        loss = functional.mse_loss(model(x), target).item()
    return {"train/loss": loss, "train/steps": float(schedule.last_epoch), "parameters": count_parameters(model)}
