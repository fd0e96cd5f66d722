"""What is measured of one trained network, under every way to evaluate it."""

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from etudes.core import Run
from etudes.data.images import Images, unit
from etudes.measure.error import evaluation_mode
from etudes.nn.norm import recalibrate
from etudes.studies.dynamics.evalnorm.estimate import learn_rules
from etudes.studies.dynamics.evalnorm.idea import Rule, layers, with_rules

if TYPE_CHECKING:
    from etudes.studies.dynamics.evalnorm import Config

PART = 256  # pictures at a time: a multiple of every group


def parts(x: Tensor, size: int = PART) -> Iterator[Tensor]:
    """Pictures [n, c, h, w], uint8, as batches in [0, 1] and contiguous memory, in which groups need no copy."""
    return (unit(part).contiguous() for part in x.split(size))


def fade(x: Tensor, contrast: float) -> Tensor:
    """Pictures in [0, 1] with less contrast: drawn towards the middle grey."""
    return contrast * x + (1 - contrast) / 2


def log_answers(model: nn.Module, x: Tensor, change: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Logarithms of the probabilities of classes [n, k], of pictures that are changed first, in evaluation mode."""
    with evaluation_mode(model):
        return torch.cat([model(change(part)).float().log_softmax(1) for part in parts(x)])


def batch_answers(model: nn.Module, x: Tensor) -> Tensor:
    """As `log_answers`, in training mode: with the statistics of the groups that pictures happen to be in. The network
    stays as it is."""
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        return torch.cat([model(part).float().log_softmax(1) for part in parts(x)])


def error(answers: Tensor, y: Tensor) -> float:
    """The share of pictures, in [0, 1], whose most probable class is not y: [n]."""
    return (answers.argmax(1) != y).double().mean().item()


def divergence(answers: Tensor, target: Tensor) -> float:
    """The mean Kullback-Leibler divergence, in nats, of log-probabilities [n, k] from those of the target."""
    return kl_div(answers.double(), target.double(), reduction="batchmean", log_target=True).item()


def recalibrate_copy(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy of the network whose running statistics are the averages over large batches of pictures (Wu & Johnson
    2021, arXiv:2105.07576, "precise" statistics)."""
    model = copy.deepcopy(model)
    for norm in layers(model).values():
        norm.group = 0
    recalibrate(model, parts(x))
    return model


def measure(cfg: "Config", run: Run, model: nn.Module, d: Images, held: tuple[Tensor, Tensor]) -> dict[str, float]:
    """All numbers of a trained network; of one with batch normalisation also those of other ways to evaluate it."""
    chosen = torch.from_numpy(run.rng("tested").permutation(len(d.test_x))[: cfg.tested]).to(d.test_x.device)
    x, y = d.test_x[chosen], d.test_y[chosen]
    looked_at = d.x[: cfg.looked_at]
    answers = log_answers(model, x)
    numbers = {
        "validation/error": error(log_answers(model, held[0]), held[1]),
        "test/error": error(answers, y),
        "test/error-faded": error(log_answers(model, x, lambda x: fade(x, cfg.contrast)), y),
    }
    if cfg.norm == "group":
        return numbers
    numbers["test/error-recalibrated"] = error(log_answers(recalibrate_copy(model, looked_at), x), y)
    if cfg.norm == "renorm":
        return numbers
    weight = 1 - 1 / cfg.group
    everywhere = {
        "evalnorm": Rule.of_batch(cfg.group),
        "mean": Rule(weight, 1, 0),
        "variance": Rule(1, weight, weight * (1 - weight)),
        "no-cross": Rule(weight, weight, 0),
    }
    rules = {name: dict.fromkeys(layers(model), rule) for name, rule in everywhere.items()}
    rules["learnt"] = dict(learn_rules(model, parts(looked_at, cfg.batch)))
    models = {name: with_rules(model, of_layers) for name, of_layers in rules.items()}
    found = {name: log_answers(other, x) for name, other in models.items()}
    numbers |= {f"test/error-{name}": error(other, y) for name, other in found.items()}
    faded = log_answers(models["evalnorm"], x, lambda x: fade(x, cfg.contrast))
    batch = batch_answers(model, x)
    learnt = list(rules["learnt"].values())
    return numbers | {
        "test/error-faded-evalnorm": error(faded, y),
        "test/error-batch": error(batch, y),
        "test/divergence": divergence(answers, batch),
        "test/divergence-evalnorm": divergence(found["evalnorm"], batch),
        "train/alpha": sum(rule.alpha for rule in learnt) / len(learnt),
        "train/beta": sum(rule.beta for rule in learnt) / len(learnt),
    }
