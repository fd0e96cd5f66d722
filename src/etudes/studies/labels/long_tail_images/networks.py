"""Networks that are a body and a last layer, several experts on one body, and their training."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.run import Run
from etudes.measure.error import evaluation_mode
from etudes.nn.basic import basic_resnet
from etudes.nn.bottleneck import resnet50
from etudes.nn.norm import Standardise
from etudes.nn.plain import plain_cnn
from etudes.nn.resnet import preact_resnet
from etudes.studies.labels.long_tail_images.sets import Part, Task, changed_view, view
from etudes.train import descend, fit, part, seeded, sgd

if TYPE_CHECKING:
    from etudes.studies.labels.long_tail_images import Config

Loss = Callable[[nn.Module, Tensor, Tensor, int], Tensor]  # (network, pictures, classes, step) -> loss
RowsAt = Callable[[int], Tensor]  # step -> rows [batch]
TOGETHER = 500  # pictures that are evaluated at once


class Cosine(nn.Linear):
    """Cosines [n, classes] of features [n, d] and the classes' weights."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(functional.normalize(x, dim=1), functional.normalize(self.weight, dim=1))


class Classifier(nn.Module):
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes]: features of the body, and one last layer."""

    def __init__(self, standardise: nn.Module, layers: nn.Sequential, cosine: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(standardise, *layers[:-1])
        last = layers[-1]
        self.last = Cosine(last.in_features, last.out_features, bias=False) if cosine else last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class Experts(nn.Module):
    """k networks that share the first half of the layers; the rest begins apart (Wang et al. 2020, arXiv:2010.01809,
    sec. 3.1). Their logits are averaged."""

    def __init__(self, standardise: nn.Module, networks: list[nn.Sequential]) -> None:
        super().__init__()
        half = len(networks[0]) // 2
        self.shared = nn.Sequential(standardise, *networks[0][:half])
        self.own = nn.ModuleList(copy.deepcopy(one[half:]) for one in networks)

    def each(self, x: Tensor) -> Tensor:
        """Logits [k, n, classes]."""
        x = self.shared(x)
        return torch.stack([own(x) for own in self.own])

    def forward(self, x: Tensor) -> Tensor:
        return self.each(x).mean(0)


def layers(cfg: "Config", task: Task) -> nn.Sequential:
    """The configured network's layers, the last of them linear."""
    (channels, side, _), classes = task.shape, len(task.counts)
    if cfg.network == "plain":
        return plain_cnn(channels, side, classes, cfg.blocks, 1, cfg.dense)
    if cfg.network == "resnet32":
        return preact_resnet(channels, classes, cfg.blocks[0], (5, 5, 5))
    return resnet50(channels, classes) if cfg.network == "resnet50" else basic_resnet(cfg.network, channels, classes)


def network(cfg: "Config", run: Run, task: Task, member: int = 0, cosine: bool = False) -> Classifier:
    """A network with first weights, those of the ensemble's member."""
    return seeded(
        run, f"init-{member}", lambda: Classifier(Standardise(task.mean, task.std), layers(cfg, task), cosine)
    )


def experts(cfg: "Config", run: Run, task: Task) -> Experts:
    """As many experts as an ensemble has members, with first weights."""

    def make() -> Experts:
        return Experts(Standardise(task.mean, task.std), [layers(cfg, task) for _ in range(cfg.members)])

    return seeded(run, "init-0", make)


def learn(run: Run, cfg: "Config", model: nn.Module, data: Part, loss: Loss, rows_at: RowsAt) -> None:
    """Train the network at step i on the rows `rows_at(i)` of the pictures, changed."""
    opt, schedule = sgd(model, cfg)

    def step(i: int) -> dict[str, Tensor]:
        rows = rows_at(i).to(data.y.device)
        x, y = part(changed_view(data, rows, cfg, run, i), data.y[rows])
        return {"train/loss": descend(loss(model, x, y, i), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, cfg.steps, log_every=cfg.log_every)


def outputs(model: nn.Module, data: Part, side: int) -> Tensor:
    """What the network gives for all pictures, float32 [n, ...], in evaluation mode."""
    with evaluation_mode(model):
        parts = [model(view(data, rows, side)).float() for rows in torch.arange(len(data.y)).split(TOGETHER)]
    return torch.cat(parts)
