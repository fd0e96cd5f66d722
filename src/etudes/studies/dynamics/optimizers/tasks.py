"""What is minimised: a convex loss whose least value is known, and the losses of networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.images import Images, images, unit
from etudes.nn.resnet import preact_resnet
from etudes.studies.dynamics.optimizers.newton import NewtonCG
from etudes.train import seeded

Kind = Literal["logistic", "mlp", "cnn"]
Inputs = Literal["pixels", "scaled", "rotated"]
Network = Literal["small", "resnet20", "resnet32"]
DECADES = 2.0  # between the largest and the least factor on an input
PART = 1000  # pictures at a time where a whole split is looked at


@dataclass(frozen=True)
class Task:
    """A model on a training part, with what is held out of it, and a test part. Pictures in [0, 1], [n, c, h, w]."""

    model: nn.Module
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    penalty: float  # mu of mu |w|^2 / 2, a part of the loss that is minimised; 0 for networks
    least: float  # the least training loss that there is; 0 where it is not known

    def objective(self, rows: Tensor | None = None) -> Tensor:
        """The mean cross-entropy of training rows (all without), in nats, plus the penalty: with its graph."""
        x, y = self.train
        loss = functional.cross_entropy(self.model(x if rows is None else x[rows]), y if rows is None else y[rows])
        return loss + penalty(self.model, self.penalty) if self.penalty else loss

    @torch.no_grad()
    def gap(self) -> float:
        """The loss of the whole training part above the least that there is."""
        loss, _ = self.losses(self.train)
        return loss + float(penalty(self.model, self.penalty)) - self.least

    @torch.no_grad()
    def losses(self, split: tuple[Tensor, Tensor]) -> tuple[float, float]:
        """The mean cross-entropy of a split without penalty, in nats, and the share of it that is misclassified."""
        x, y = split
        was_training = self.model.training
        self.model.eval()
        loss = wrong = 0.0
        for part, labels in zip(x.split(PART), y.split(PART), strict=True):
            logits = self.model(part)
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            wrong += float((logits.argmax(1) != labels).sum())
        self.model.train(was_training)
        return loss / len(y), wrong / len(y)


def penalty(model: nn.Module, mu: float) -> Tensor:
    """mu / 2 times the sum of the squares of all weights, biases too."""
    return mu / 2 * torch.stack([p.square().sum() for p in model.parameters()]).sum()


def network(kind: Kind, size: Network, shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """A model of pictures of a shape (c, h, w) that gives logits [n, classes].

    "logistic" is one dense layer that begins at 0, "mlp" has two hidden layers of `width` units, "cnn" two
    convolutions of `width / 4` and `width / 2` channels and an average over the picture. ResNet-20 and ResNet-32 are
    those of He et al. 2016, sec. 4.2, with 16, 32 and 64 channels, here with pre-activation.
    """
    inputs = math.prod(shape)
    if size != "small":
        return preact_resnet(shape[0], classes, 16, (3, 3, 3) if size == "resnet20" else (5, 5, 5))
    if kind == "logistic":
        layer = nn.Linear(inputs, classes)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Flatten(), layer).double()
    if kind == "mlp":
        dense = nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
        return nn.Sequential(nn.Flatten(), *dense)
    few, many = width // 4, width // 2
    return nn.Sequential(
        nn.Conv2d(shape[0], few, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(few, many, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(many, classes),
    )


def minimise(objective: Callable[[], Tensor], model: nn.Module) -> float:
    """The least value of a strongly convex objective of a float64 model, by undamped Newton steps down to a gradient of
    1e-11. The model is left there. Raises Problem where a hundred steps do not suffice."""
    opt = NewtonCG(model.parameters(), tolerance=0.1, iterations=1000)
    for _ in range(100):
        value = opt.step(objective)
        gradient = torch.autograd.grad(objective(), list(model.parameters()))
        if math.hypot(*(float(g.norm()) for g in gradient)) < 1e-11:
            return float(value)
    raise Problem("the least loss was not found in a hundred Newton steps; raise the penalty")


def split_rows(run: Run, d: Images, examples: int, held_out: int) -> tuple[Tensor, Tensor]:
    """Rows of the training part drawn under the run's seed: `examples` to learn from (0: all others), and `held_out`
    for validation. Raises Problem where there are too few."""
    if examples + held_out >= len(d.x) + (examples > 0):
        raise Problem(f"{d.name} has {len(d.x)} training pictures, too few for {examples} and {held_out} held out")
    rows = torch.from_numpy(run.rng("subset").permutation(len(d.x)))
    return rows[held_out:][: examples or None], rows[:held_out]


def change_inputs(run: Run, kind: Inputs, features: int) -> Tensor:
    """A matrix [features, features] by which pictures, as rows, are multiplied; float64.

    "scaled": every pixel by a factor of its own, evenly spread over the decades from 1 down, in an order drawn under
    the run's seed. "rotated": these turned by a rotation drawn under the seed. Both have the same loss of the best
    weights, as lengths of weights are those before the turn: what the loss is like differs by its axes alone.
    """
    if kind == "pixels":
        return torch.eye(features, dtype=torch.float64)
    factors = torch.from_numpy(10 ** -np.linspace(0, DECADES, features)[run.rng("factors").permutation(features)])
    if kind == "scaled":
        return factors.diag()
    turn, upper = np.linalg.qr(run.rng("turn").normal(size=(features, features)))
    return factors.diag() @ torch.from_numpy(turn * np.sign(np.diag(upper)))


def open_task(
    run: Run,
    dataset: str,
    kind: Kind,
    inputs: Inputs,
    size: Network,
    width: int,
    examples: int,
    held_out: int,
    mu: float,
) -> Task:
    """The task of a run: pictures noted in its env.json, a model with the run's own first weights.

    The logistic regression has float64 numbers, and `inputs` says what is done to its pixels.
    """
    d = images(dataset)
    run.note(data=d.source)
    run.result(**{"test/error-majority": d.majority_error})
    kept, apart = split_rows(run, d, examples, held_out)
    x, test_x = (unit(pictures).to(run.device) for pictures in (d.x[torch.cat([kept, apart])], d.test_x))
    if kind == "logistic":
        change = change_inputs(run, inputs, math.prod(d.shape)).to(run.device)
        x, test_x = ((pictures.double().flatten(1) @ change).view(pictures.shape) for pictures in (x, test_x))
    y = d.y[torch.cat([kept, apart])].to(run.device)
    n = len(kept)
    parts = (x[:n], y[:n]), (x[n:], y[n:]), (test_x, d.test_y.to(run.device))
    model = seeded(run, "init", lambda: network(kind, size, d.shape, d.classes, width))
    if kind != "logistic":
        return Task(model, *parts, 0.0, 0.0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    least = minimise(Task(model, *parts, mu, 0.0).objective, model)
    model.load_state_dict(start)
    return Task(model, *parts, mu, least)
