"""What each method trains, and the scores of classes that come of it. None has both a sampler and weights."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.run import Run
from etudes.data import resampling
from etudes.data.batches import Batches
from etudes.losses import imbalance
from etudes.measure.size import count_parameters
from etudes.studies.labels.long_tail_images.networks import (
    Classifier,
    Loss,
    RowsAt,
    experts,
    learn,
    network,
    outputs,
)
from etudes.studies.labels.long_tail_images.sets import Part, Task
from etudes.train import descend, fit, part, seeded, sgd, weights

if TYPE_CHECKING:
    from etudes.studies.labels.long_tail_images import Config

Score = Callable[[Part], Tensor]  # pictures -> scores [n, classes]; higher is more likely
SCALE = 30.0  # of cosines under LDAM: the authors' code
BETA = 0.999  # of the effective number of pictures
DEFERRED = 0.8  # share of the steps after which LDAM weighs classes: 160 of 200 epochs in the paper


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor, i: int) -> Tensor:
    return functional.cross_entropy(model(x).float(), y)


def mixup(cfg: "Config", run: Run) -> Loss:
    """Cross-entropy of blends of two pictures with both classes, one share a step (Zhang et al. 2017, arXiv:1710.09412,
    eq. 1)."""

    def loss(model: nn.Module, x: Tensor, y: Tensor, i: int) -> Tensor:
        rng = run.rng("mix", i)
        partners = torch.from_numpy(rng.permutation(len(y))).to(y.device)
        share = float(rng.beta(cfg.strength, cfg.strength)) if cfg.strength else 1.0
        z = model(torch.lerp(x[partners], x, share)).float()
        return share * functional.cross_entropy(z, y) + (1 - share) * functional.cross_entropy(z, y[partners])

    return loss


def loss_of(cfg: "Config", run: Run, task: Task) -> Loss:
    """The loss of a method that trains a network: cross-entropy, except where the method is another loss."""
    counts = task.counts.cpu()
    prior = imbalance.shares(counts).to(run.device)
    if cfg.method == "mixed":
        return mixup(cfg, run)
    if cfg.method == "focal":
        return lambda model, x, y, i: imbalance.focal(model(x), y, cfg.strength)
    if cfg.method == "balanced":
        return lambda model, x, y, i: imbalance.logit_adjusted(model(x), y, prior)
    if cfg.method == "weighted":
        heavy = imbalance.effective_weights(counts, BETA, cfg.strength).to(run.device)
        return lambda model, x, y, i: imbalance.weighted_cross_entropy(model(x), y, heavy)
    if cfg.method == "ldam":
        heavy = imbalance.effective_weights(counts, BETA).to(run.device)
        margins = imbalance.ldam_margins(counts, cfg.strength).to(run.device)
        return lambda model, x, y, i: imbalance.ldam(
            model(x), y, margins, SCALE, heavy if i >= DEFERRED * cfg.steps else torch.ones_like(heavy)
        )
    if cfg.method == "experts":

        def together(model: nn.Module, x: Tensor, y: Tensor, i: int) -> Tensor:
            each = model.each(x)  # type: ignore[operator]
            own = torch.stack([imbalance.logit_adjusted(z, y, prior) for z in each]).mean()
            return own - cfg.strength * imbalance.expert_divergence(each)

        return together
    return cross_entropy


def in_turn(run: Run, n: int, batch: int, member: int = 0) -> RowsAt:
    """Rows of step i: every one once an epoch."""
    return Batches(n, batch, run.seed("order", member)).at


def draw_rows(run: Run, y: Tensor, batch: int, power: float, stream: str) -> RowsAt:
    """Rows of step i, drawn with chances that favour rare classes."""
    chance = resampling.drawing_chances(y, power)
    return lambda i: torch.from_numpy(run.rng(stream, i).choice(len(chance), batch, p=chance))


def plain(cfg: "Config", run: Run, task: Task, member: int = 0) -> Classifier:
    """The network that nothing is done for the tail of; one a member, which all variants of the seed share."""
    fields = {name: value for name, value in asdict(cfg).items() if name not in ("method", "strength")}

    def make(own: Run) -> None:
        model = network(cfg, own, task, member)
        learn(own, cfg, model, task.train, cross_entropy, in_turn(own, len(task.train.y), cfg.batch, member))
        weights.save(own.path("model.safetensors"), model)
        own.result(parameters=count_parameters(model))

    record = run.once(f"plain-{member}", fields, make)
    return weights.load(record.folder / "model.safetensors", network(cfg, run, task, member))


def train_network(cfg: "Config", run: Run, task: Task) -> nn.Module:
    """The network of a method that changes pictures, their order, the loss or the network."""
    data = task.train
    if cfg.method == "undersampled":
        data = data.take(resampling.undersample(data.y, cfg.strength, run.rng("undersample")))
    rows_at = in_turn(run, len(data.y), cfg.batch)
    if cfg.method == "oversampled":
        rows_at = draw_rows(run, data.y, cfg.batch, cfg.strength, "draw")
    if cfg.method == "experts":
        model: nn.Module = experts(cfg, run, task)
    else:
        model = network(cfg, run, task, cosine=cfg.method == "ldam")
    learn(run, cfg, model, data, loss_of(cfg, run, task), rows_at)
    return model


def refit(cfg: "Config", run: Run, task: Task) -> Classifier:
    """The plain network with a new last layer, learnt on the features of unchanged pictures.

    "retrained" draws classes alike (cRT: Kang et al. 2019, sec. 4.2); "smote" makes up features for rare classes.
    """
    model = plain(cfg, run, task)
    x, y = outputs(model.body, task.train, cfg.side), task.train.y
    if cfg.method == "smote":
        made, classes = resampling.smote(x, y, resampling.lacking(y, cfg.strength), run.rng("smote"))
        x, y = torch.cat([x, made]), torch.cat([y, classes])
        rows_at = in_turn(run, len(y), cfg.batch)
    else:
        rows_at = draw_rows(run, y, cfg.batch, cfg.strength, "later")
    model.last = seeded(run, "classifier", lambda: nn.Linear(x.shape[1], len(task.counts)))
    later = replace(cfg, steps=cfg.later_steps)
    opt, schedule = sgd(model.last, later)

    def step(i: int) -> dict[str, Tensor]:
        rows = rows_at(i).to(y.device)
        features, classes = part(x[rows], y[rows])
        return {"train/loss": descend(functional.cross_entropy(model.last(features).float(), classes), opt, schedule)}

    fit(run, {"last": model.last, "opt": opt, "schedule": schedule}, step, later.steps, log_every=cfg.log_every)
    return model


def scorer(cfg: "Config", run: Run, task: Task) -> Score:
    """What scores classes by cfg.method, after its training."""
    prior = imbalance.shares(task.counts)
    if cfg.method in ("ensemble", "ensemble-adjusted"):
        members = [plain(cfg, run, task, member) for member in range(cfg.members)]

        def together(data: Part) -> Tensor:
            each = torch.stack([functional.softmax(outputs(member, data, cfg.side), 1) for member in members])
            score = each.mean(0).clamp_min(1e-30).log()
            return imbalance.adjust(score, prior, cfg.strength) if cfg.method == "ensemble-adjusted" else score

        return together
    if cfg.method in ("plain", "adjusted", "normalised"):
        model = plain(cfg, run, task)
        if cfg.method == "normalised":  # without the bias: Kang et al. 2019, sec. 4.2
            with torch.no_grad():
                model.last.weight.copy_(imbalance.tau_normalise(model.last.weight, cfg.strength))
                model.last.bias.zero_()
        tau = cfg.strength if cfg.method == "adjusted" else 0.0
        return lambda data: imbalance.adjust(outputs(model, data, cfg.side), prior, tau)
    trained = (refit if cfg.method in ("retrained", "smote") else train_network)(cfg, run, task)
    return lambda data: outputs(trained, data, cfg.side)
