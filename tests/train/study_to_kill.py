"""A study with all that must survive a kill: two phases, dropout, batch norm, evaluation, a generator of its own."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from coins import make_study
from etudes.core.run import Run
from etudes.core.spec import Variant
from etudes.measure.error import error_rate
from etudes.nn.norm import BatchNorm
from etudes.train.distribute import part
from etudes.train.loop import fit
from etudes.train.recipe import Sgd, descend, seeded, sgd


@dataclass(frozen=True)
class Config(Sgd):
    steps: int = 40
    batch: int = 8
    lr: float = 0.05
    dropout: float = 0.3


def network(cfg: Config) -> nn.Sequential:
    layers = (nn.Conv2d(3, 8, 3, padding=1), BatchNorm(8), nn.ReLU(), nn.Dropout(cfg.dropout), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(128, 5))


def train_phase(cfg, run, phase, model, noise, x, y):
    opt, schedule = sgd(model, cfg)

    def step(i: int) -> dict[str, torch.Tensor]:
        pick = torch.from_numpy(run.rng(phase, i).integers(64, size=cfg.batch))
        jitter = 0.1 * torch.randn(cfg.batch, 3, 4, 4, generator=noise)
        a, b = part(x[pick] + jitter, y[pick])
        return {"train/loss": descend(functional.cross_entropy(model(a).float(), b), opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule, "noise": noise}
    evaluate = lambda: {"test/error": error_rate(model, x, y)}  # noqa: E731
    return fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=15, log_every=4)


def train(cfg: Config, run: Run) -> None:
    x = torch.from_numpy(run.rng("pictures").normal(size=(64, 3, 4, 4))).float()
    y = torch.from_numpy(run.rng("labels").integers(5, size=64))
    model = seeded(run, "init", lambda: network(cfg))
    noise = torch.Generator().manual_seed(run.seed("noise"))
    for phase in ("first", "second"):
        final = train_phase(cfg, run, phase, model, noise, x, y)
        run.log(cfg.steps, phase_ended=1.0)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    run.result(**final, weights=weights.double().square().sum().item())


STUDY = make_study(
    name="to-kill", config=Config, program=train, variants=(Variant("plain"),), claims=make_study().claims
)
