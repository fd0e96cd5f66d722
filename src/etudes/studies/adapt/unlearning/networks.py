"""The network, and those that the variants of one seed share: the one that unlearns, and those that never saw it."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.nn.resnet import preact_resnet
from etudes.optim.schedules import cosine
from etudes.studies.adapt.unlearning.examples import Examples
from etudes.studies.adapt.unlearning.findings import Reference, outputs, traces
from etudes.train import descend, fit, part, seeded, weights

if TYPE_CHECKING:
    from etudes.studies.adapt.unlearning import Config

Kind = Literal["small", "resnet18"]
SHARED = ("dataset", "examples", "held_out", "forgets", "learns", "network", "width", "features", "pretraining_steps",
          "pretraining_lr", "batch", "shots", "probes", "relearning_steps", "relearning_lr")  # fmt: skip


def network(cfg: "Config", d: Examples) -> nn.Sequential:
    """Pictures [n, c, h, w] to logits [n, classes]; all but its last layer gives the features [n, d]."""
    channels, h, w = d.x.shape[1:]
    first = Standardise(d.mean.tolist(), d.std.tolist())
    if cfg.network == "resnet18":
        return nn.Sequential(first, *preact_resnet(channels, d.classes, cfg.width, (2, 2, 2, 2)))
    return nn.Sequential(
        first,
        nn.Conv2d(channels, cfg.width, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(cfg.width, 2 * cfg.width, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * cfg.width * (((h + 1) // 2 + 1) // 2) * (((w + 1) // 2 + 1) // 2), cfg.features),
        nn.ReLU(),
        nn.Linear(cfg.features, d.classes),
    )


def learn(cfg: "Config", run: Run, d: Examples, name: str, absent: int) -> nn.Sequential:
    """A network trained from scratch on all classes but one; `name` decides its first weights and its order."""
    model = seeded(run, f"init {name}", lambda: network(cfg, d))
    opt = torch.optim.Adam(model.parameters(), cfg.pretraining_lr)
    schedule = LambdaLR(opt, lambda step: cosine(step, cfg.pretraining_steps))
    kept = (d.y != absent).nonzero()[:, 0]
    batches = Batches(len(kept), cfg.batch, run.seed(f"order {name}"))

    def step(i: int) -> dict[str, Tensor]:
        rows = kept[batches.at(i).to(kept.device)]
        x, y = part(d.x[rows], d.y[rows])
        return {"train/pretraining-loss": descend(functional.cross_entropy(model(x), y), opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    fit(run, parts, step, cfg.pretraining_steps, log_every=cfg.log_every)
    return model


def original(cfg: "Config", run: Run, d: Examples) -> nn.Sequential:
    """The network that has learnt all classes but the new one, made once a seed."""

    def make(own: Run) -> None:
        model = learn(cfg, own, d, "original", cfg.learns)
        own.result(parameters=count_parameters(model))
        weights.save(own.path("model.safetensors"), model)

    made = run.once("original", {name: getattr(cfg, name) for name in SHARED}, make)
    return weights.load(made.folder / "model.safetensors", network(cfg, d).to(run.device)).train()


def references(cfg: "Config", run: Run, d: Examples) -> list[Reference]:
    """Networks trained from scratch on all classes but the forgotten one, each with first weights of its own, made
    once a seed."""
    found = []
    for k in range(1, cfg.references + 1):
        name = f"reference-{k}"

        def make(own: Run, name: str = name) -> None:
            model = learn(cfg, own, d, name, cfg.forgets)
            own.result(**traces(cfg, own, model, d))
            weights.save(own.path("model.safetensors"), model)

        made = run.once(name, {field: getattr(cfg, field) for field in SHARED}, make)
        model = weights.load(made.folder / "model.safetensors", network(cfg, d).to(run.device))
        found.append(Reference(outputs(model, d.test_x).softmax(1), dict(made.metrics)))
    return found
