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

Kind = Literal["logistic", "mlp", "cnn"]
Inputs = Literal["pixels", "scaled", "rotated"]
Network = Literal["small", "resnet20", "resnet32"]
DECADES = 2.0  # between the largest and the least factor on an input
AT_ONCE = 1000  # pictures at a time where a whole part is looked at


@dataclass(frozen=True)
class Pictures:
    """The parts of a set: pictures in [0, 1], [n, c, h, w], with their classes int64 [n]."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        c, h, w = self.train[0].shape[1:]
        return c, h, w


@dataclass(frozen=True)
class Task:
    """A model, and the loss of it on pictures that is minimised."""

    model: nn.Module
    pictures: Pictures
    looked: int = 0  # training pictures whose loss is looked at; 0: all
    mu: float = 0.0  # of the penalty mu |w|^2 / 2, a part of the loss; 0 for networks
    least: float = 0.0  # the least training loss that there is; 0 where it is not known

    def objective(self, rows: Tensor | None = None) -> Tensor:
        """The mean cross-entropy of training rows (all without), in nats, plus the penalty: with its graph."""
        x, y = self.pictures.train
        loss = functional.cross_entropy(self.model(x if rows is None else x[rows]), y if rows is None else y[rows])
        return loss + penalty(self.model, self.mu) if self.mu else loss

    def gap(self) -> float:
        """The loss of the training pictures that are looked at, above the least that there is."""
        x, y = self.pictures.train
        loss, _ = self.losses((x[: self.looked or None], y[: self.looked or None]))
        return loss + float(penalty(self.model, self.mu).detach()) - self.least

    @torch.no_grad()
    def losses(self, part: tuple[Tensor, Tensor]) -> tuple[float, float]:
        """The mean cross-entropy of a part without penalty, in nats, and the share of it that is misclassified."""
        x, y = part
        was_training = self.model.training
        self.model.eval()
        loss = wrong = 0.0
        for some, labels in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            logits = self.model(some)
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
    convolutions of `width / 4` and `width / 2` channels that halve the sides, and a dense layer. ResNet-20 and
    ResNet-32 are those of He et al. 2016, sec. 4.2, with 16, 32 and 64 channels, here with pre-activation.
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
    left = many * math.prod(math.ceil(side / 4) for side in shape[1:])
    convolutions = nn.Conv2d(shape[0], few, 3, 2, 1), nn.ReLU(), nn.Conv2d(few, many, 3, 2, 1), nn.ReLU()
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(left, classes))


def minimise(objective: Callable[[], Tensor], model: nn.Module, mu: float) -> float:
    """A value at most 1e-13 above the least of an objective of a float64 model, by undamped Newton steps.

    Where all curvatures are mu or more, a gradient g leaves a gap of at most |g|^2 / (2 mu). The model stays there.
    Raises Problem where a hundred steps do not suffice.
    """
    opt = NewtonCG(model.parameters(), tolerance=0.1, iterations=1000)
    for _ in range(100):
        opt.step(objective)
        loss = objective()
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        if sum(float(g.square().sum()) for g in gradient) <= 2 * mu * 1e-13:
            return float(loss.detach())
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


def read_pictures(run: Run, dataset: str, examples: int, held_out: int) -> Pictures:
    """The parts of a set that a run sees, on its device; the set is noted in its env.json."""
    d = images(dataset)
    run.note(data=d.source)
    run.result(**{"test/error-majority": d.majority_error})
    parts = [(d.x[rows], d.y[rows]) for rows in split_rows(run, d, examples, held_out)]
    train, validation, test = ((unit(x).to(run.device), y.to(run.device)) for x, y in (*parts, (d.test_x, d.test_y)))
    return Pictures(train, validation, test, d.classes)


def logistic_task(run: Run, d: Pictures, inputs: Inputs, mu: float) -> Task:
    """Multinomial logistic regression in float64 from weights of 0, with the least loss that it can have."""
    change = change_inputs(run, inputs, math.prod(d.shape)).to(run.device)

    def changed(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = part
        return (x.double().flatten(1) @ change).view(x.shape), y

    pictures = Pictures(changed(d.train), changed(d.validation), changed(d.test), d.classes)
    model, solved = (network("logistic", "small", d.shape, d.classes, 1).to(run.device) for _ in range(2))
    least = minimise(Task(solved, pictures, mu=mu).objective, solved, mu)
    return Task(model, pictures, mu=mu, least=least)
