"""The rules by which a gradient becomes a step, all behind one face, and the rates that each is tried with."""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from etudes.optim.muon import Muon
from etudes.studies.dynamics.optimizers.adafactor import Adafactor
from etudes.studies.dynamics.optimizers.newton import NewtonCG
from etudes.studies.dynamics.optimizers.shampoo import Graft, Shampoo

Rule = Literal["sgd", "adagrad", "adam", "adafactor", "muon", "shampoo", "newton"]
FACTOR = 3.0  # from one rate of the grid to the next
MOMENTUM = 0.9  # of SGD, of Shampoo's average, and beta1 of Adam
MUON_MOMENTUM = 0.95  # of its record on CIFAR-10 and NanoGPT (Jordan et al. 2024)
BESIDE = 3.0  # Muon's plain descent of biases and of the last layer, in multiples of its rate


def grid(centre: float, trials: int) -> list[float]:
    """`trials` rates from low to high, each `FACTOR` times the one before, with `centre` in their (upper) middle.

    >>> grid(0.1, 3)
    [0.03333333333333333, 0.1, 0.30000000000000004]
    """
    return [centre * FACTOR ** (i - trials // 2) for i in range(trials)]


def optimiser(rule: Rule, model: nn.Module, every: int, block: int, graft: Graft, iterations: int) -> Optimizer:
    """The rule over all parameters of a model; its rate is set by `restart`."""
    parameters = list(model.parameters())
    if rule == "muon":
        last = [p for p in parameters if p.ndim > 1][-1]
        hidden = [p for p in parameters if p.ndim > 1 and p is not last]
        others = [p for p in parameters if p.ndim == 1 or p is last]
        groups = [{"params": hidden, "iterations": 5}, {"params": others, "iterations": 0, "beside": BESIDE}]
        return Muon([group for group in groups if group["params"]], 1.0, MUON_MOMENTUM)
    makers: dict[Rule, Callable[[], Optimizer]] = {
        "sgd": lambda: SGD(parameters, 1.0, MOMENTUM),
        "adagrad": lambda: Adagrad(parameters, 1.0),
        "adam": lambda: Adam(parameters, 1.0, (MOMENTUM, 0.999)),
        "adafactor": lambda: Adafactor(parameters, 1.0),
        "shampoo": lambda: Shampoo(parameters, 1.0, MOMENTUM, every=every, block=block, graft=graft),
        "newton": lambda: NewtonCG(parameters, iterations=iterations),
    }
    return makers[rule]()


def restart(opt: Optimizer, fresh: dict[str, Any], rate: float) -> None:
    """Give an optimiser its `fresh` state again and a rate: a learning rate, or the damping of Newton's method."""
    opt.load_state_dict(copy.deepcopy(fresh))
    for group in opt.param_groups:
        if isinstance(opt, NewtonCG):
            group["damping"] = rate
        else:
            group["lr"] = rate * group.get("beside", 1.0)


def decay(opt: Optimizer, strength: float, coupled: bool) -> None:
    """Pull all weights towards 0 before a step. Coupled: `strength` w is added to the gradient, as by an L2 penalty.
    Decoupled: w <- (1 - lr strength) w, beside the step (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    with torch.no_grad():
        for group in opt.param_groups:
            for p in group["params"]:
                if coupled:
                    p.grad.add_(p, alpha=strength)
                else:
                    p.mul_(1 - group["lr"] * strength)


def move(opt: Optimizer, objective: Callable[[], Tensor], strength: float, coupled: bool, most: float) -> Tensor:
    """One step down `objective()`; its value before, detached. Where that is above `most`, or no number, nothing is
    done: a rate that is too high has lost its trial, and the others go on."""
    if isinstance(opt, NewtonCG):
        return opt.step(objective)
    opt.zero_grad(set_to_none=True)
    loss = objective()
    if not math.isfinite(value := float(loss.detach())) or value > most:
        return loss.new_tensor(most)
    loss.backward()
    if strength:
        decay(opt, strength, coupled)
    opt.step()
    return loss.detach()


def state_numbers(opt: Optimizer) -> int:
    """How many numbers an optimiser keeps from one step to the next, beside the weights; counters are left out."""

    def count(value: Any) -> int:
        if isinstance(value, Tensor):
            return value.numel() if value.ndim else 0
        return sum(map(count, value)) if isinstance(value, list) else 0

    return sum(count(value) for state in opt.state.values() for value in state.values())
