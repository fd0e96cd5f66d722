"""The networks that are compared, and how they are trained."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.train import descend, fit, part, seeded, sgd, weights

if TYPE_CHECKING:
    from etudes.studies.dynamics.spectral_maps import Config

Kind = Literal["half", "other-half", "other-set", "random-labels", "other-random-labels", "untrained"]
SHARED = ("dataset", "other", "examples", "side", "widths", "pools", "steps", "batch", "lr", "schedule", "momentum",
          "weight_decay")  # fmt: skip
SETTLING = 50  # batches from which an untrained network takes the statistics of its normalisations


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] to logits [n, classes], as in VGG: a stage for each of `widths`, named "1", "2" and so on,
    of a 3x3 convolution, batch normalisation, ReLU and, behind those in `pools`, a 2x2 max-pool; then a mean over what
    is left of the picture, and a dense layer."""
    stages: list[nn.Module] = [Standardise(d.mean, d.std)]
    channels = d.x.shape[1]
    for i, width in enumerate(cfg.widths, 1):
        pool = [nn.MaxPool2d(2)] if i in cfg.pools else []
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        stages.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), *pool))
        channels = width
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, d.classes))
    return nn.Sequential(*stages, head)


def pictures(cfg: "Config", run: Run, kind: Kind) -> Images:
    """What a network of the kind learns from: `examples` pictures of the first or the other half of the reference set,
    with their labels or random ones, or of the other set, brought to the reference set's size and channels; and the
    first `tested` test pictures of that set."""
    d = images(cfg.dataset)
    side, channels = cfg.side or d.shape[1], d.shape[0]
    if kind == "other-set":
        d = images(cfg.other)
    rows = torch.from_numpy(run.rng("halves", int(kind == "other-set")).permutation(len(d.x)))
    half = rows[len(rows) // 2 :] if kind in ("other-half", "other-random-labels") else rows[: len(rows) // 2]
    tested = cfg.tested or len(d.test_x)
    d = replace(d.take(half[: cfg.examples or len(half)]), test_x=d.test_x[:tested], test_y=d.test_y[:tested])
    d = d.resize(side)
    if kind in ("random-labels", "other-random-labels"):
        d = replace(d, y=torch.from_numpy(run.rng(kind).integers(d.classes, size=len(d.y))))
    return replace(d, x=with_channels(d.x, channels), test_x=with_channels(d.test_x, channels)).to(run.device)


def with_channels(x: Tensor, channels: int) -> Tensor:
    """uint8 pictures [n, channels, h, w] of x: [n, c, h, w]: themselves, or their grey mean in every channel."""
    if x.shape[1] == channels:
        return x
    return x.float().mean(1, keepdim=True).round().to(torch.uint8).repeat(1, channels, 1, 1)


def learn(cfg: "Config", run: Run, kind: Kind) -> tuple[nn.Sequential, Images]:
    """A network of the kind, trained from scratch in this run, and the pictures that it learnt from."""
    d = pictures(cfg, run, kind)
    model = seeded(run, f"init {kind}", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed(f"order {kind}"))

    def evaluate() -> dict[str, float]:
        return {"train/error": error_rate(model, d.x, d.y)}

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x, y = part(unit(d.x[rows]), d.y[rows])
        if kind == "untrained":  # it sees the pictures, so that its batch statistics are theirs, and learns nothing
            with torch.no_grad():
                return {"train/loss": functional.cross_entropy(model(x), y)}
        return {"train/loss": descend(functional.cross_entropy(model(x), y), opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    steps = min(cfg.steps, SETTLING) if kind == "untrained" else cfg.steps
    found = fit(run, parts, step, steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    run.result(parameters=count_parameters(model), **found)
    return model.eval(), d


def common_network(cfg: "Config", run: Run, kind: Kind) -> tuple[nn.Sequential, Images]:
    """As `learn`, once for all variants of a seed: the first that asks for the network makes it."""

    def make(own: Run) -> None:
        model, d = learn(cfg, own, kind)
        own.note(data=d.source)
        weights.save(own.path("model.safetensors"), model)

    made = run.once(kind, {name: getattr(cfg, name) for name in SHARED}, make)
    d = pictures(cfg, run, kind)
    return weights.load(made.folder / "model.safetensors", network(cfg, d).to(run.device)), d
