"""How a network is trained: which parameters decay, and how another run's norms are put in the place of decay."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import Record, Run
from etudes.data.images import Images
from etudes.measure.error import error_rate
from etudes.optim.schedules import SCHEDULES
from etudes.studies.dynamics.norm_matters.idea import channel_norms, correct_step, scaled_to, scheduled_norms
from etudes.studies.dynamics.norm_matters.networks import convolutions, network
from etudes.train import descend, fitted, opened, seeded, shown

if TYPE_CHECKING:
    from etudes.studies.dynamics.norm_matters import Config


class Norms:
    """Lengths of channels [steps, channels] before each step, in a row over all convolutions: one of the parts of
    `fit`."""

    def __init__(self, steps: int, model: nn.Module) -> None:
        self.values = torch.zeros(steps, len(lengths(model)), device=next(model.parameters()).device)

    def state_dict(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.values = state["values"].to(self.values.device)


def lengths(model: nn.Module) -> Tensor:
    """The length of each channel's weights, in a row over all convolutions."""
    return torch.cat([channel_norms(conv.weight) for conv in convolutions(model)])


def optimiser(model: nn.Module, cfg: "Config") -> Optimizer:
    """SGD with momentum, or AdamW. The dense layer always decays, by `cfg.last_decay`, weights of convolutions unless
    `cfg.decayed` is "last", scales and shifts only where it is "all".

    Weights that begin `cfg.weight_scale` times as large have the rate times its square (itself with AdamW), and lose
    the same share a step by decay: but for rounding the network learns the same.
    """
    convs, last = convolutions(model), [m for m in model.modules() if isinstance(m, nn.Linear)]
    weights = [conv.weight for conv in convs]
    dense = [p for layer in last for p in layer.parameters()]
    known = {id(p) for p in (*weights, *dense)}
    others = [p for p in model.parameters() if id(p) not in known]
    adam = cfg.optimiser == "adamw"
    lr, decay = (cfg.adam_lr, cfg.adam_decay) if adam else (cfg.lr, cfg.weight_decay)
    faster = cfg.weight_scale if adam else cfg.weight_scale**2
    groups = [
        {"params": weights, "lr": lr * faster, "weight_decay": 0 if cfg.decayed == "last" else decay / faster},
        {"params": others, "weight_decay": decay if cfg.decayed == "all" else 0},
        {"params": dense, "weight_decay": cfg.last_decay},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=lr) if adam else SGD(groups, lr=lr, momentum=cfg.momentum)


@torch.no_grad()
def mimic(cfg: "Config", model: nn.Module, before: list[Tensor], norms: Tensor, i: int) -> None:
    """After step i give each convolution the turn that it had in the decayed run, whose lengths before each step are
    `norms` [steps, channels]."""
    convs = convolutions(model)
    sizes = [len(conv.weight) for conv in convs]
    if cfg.mimic == "norms":
        if i + 1 < cfg.steps:  # behind the last step there is no rate to stand for
            factor = SCHEDULES[cfg.schedule](i + 1, cfg.steps)
            for conv, reference in zip(convs, norms[i + 1].split(sizes), strict=True):
                conv.weight.copy_(scaled_to(conv.weight, scheduled_norms(reference, factor)))
        return
    power = 1 if cfg.mimic == "rates-linear" else 2
    for conv, old, reference in zip(convs, before, norms[i].split(sizes), strict=True):
        conv.weight.copy_(correct_step(old, conv.weight, reference, power))


def scheduled(opt: Optimizer, cfg: "Config") -> LambdaLR:
    """The schedule on all rates; with scheduled norms not on the convolutions', which are the first group."""
    factor = SCHEDULES[cfg.schedule]
    falling = [lambda step: factor(step, cfg.steps)] * len(opt.param_groups)
    return LambdaLR(opt, [lambda step: 1.0, *falling[1:]] if cfg.mimic == "norms" else falling)


class Examples:
    """Pictures to train on (`.d`, with test pictures) and others, held out for validation (`.x`, `.y`)."""

    def __init__(self, cfg: "Config", run: Run) -> None:
        d, _ = opened(cfg, run)
        order = torch.from_numpy(run.rng("held out").permutation(len(d.x))).to(d.x.device)
        held = order[: cfg.held_out]
        self.x, self.y = d.x[held], d.y[held]
        kept = d.take(order[cfg.held_out :])
        tested = torch.from_numpy(run.rng("tested").permutation(len(d.test_x))[: cfg.tested]).to(d.x.device)
        self.d: Images = replace(kept, test_x=kept.test_x[tested], test_y=kept.test_y[tested])


def begin(cfg: "Config", d: Images, run: Run) -> nn.Module:
    """The network before its first step: the same for all variants of a seed, but for `cfg.jitter`."""
    model = seeded(run, "init", lambda: network(cfg, d))
    if cfg.jitter:
        noise = torch.Generator().manual_seed(run.seed("jitter"))
        with torch.no_grad():
            for conv in convolutions(model):
                conv.weight.mul_(1 + cfg.jitter * torch.randn(conv.weight.shape, generator=noise).to(conv.weight))
    return model


def learn(cfg: "Config", run: Run, e: Examples, reference: Tensor | None = None) -> tuple[nn.Module, Tensor]:
    """Train a network; it, and the lengths [steps, channels] of its convolutions' weights before each step.

    `reference` are those of the decayed run, for a variant that mimics it. All that is measured is in the result.
    """
    model = begin(cfg, e.d, run)
    opt = optimiser(model, cfg)
    schedule, pictures, norms = scheduled(opt, cfg), shown(cfg, run, e.d), Norms(cfg.steps, model)
    convs, power = convolutions(model), 1 if cfg.optimiser == "adamw" else 2
    reference = reference if cfg.mimic != "none" else None

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        norms.values[i] = now = lengths(model)
        rate = opt.param_groups[0]["lr"] * now.pow(-power)
        before = [conv.weight.detach().clone() for conv in convs] if reference is not None else []
        loss = descend(cross_entropy(model(x), e.d.y[rows]), opt, schedule)
        if reference is not None:
            mimic(cfg, model, before, reference, i)
            rate = rate * correction(cfg, now, reference[i])
        return {"train/loss": loss, "train/effective-rate": rate.log().mean().exp()}

    parts = {"model": model, "opt": opt, "schedule": schedule, "norms": norms}
    run.result(**fitted(run, cfg, parts, step, lambda: {"validation/error": error_rate(model, e.x, e.y)}))
    grown = (lengths(model).square().mean() / norms.values[0].square().mean()).sqrt()
    run.result(**{"test/error": error_rate(model, e.d.test_x, e.d.test_y), "train/growth": grown})
    return model, norms.values


def correction(cfg: "Config", norms: Tensor, reference: Tensor) -> Tensor | float:
    """What the plain rate of each channel is multiplied by, given lengths [channels] here and in the decayed run."""
    powers = {"rates": 2, "rates-linear": 1, "norms": 0}
    return (norms / reference).pow(powers[cfg.mimic])


def decayed_run(cfg: "Config", run: Run, e: Examples) -> tuple[Record, Tensor]:
    """The run with weight decay on all weights, made once for all variants of a seed: its record, and its norms."""
    plain = reference_config(cfg)

    def make(own: Run) -> None:
        _, norms = learn(plain, own, e)
        save_file({"norms": norms.cpu().contiguous()}, own.path("norms.safetensors"))

    record = run.once("decayed", asdict(plain), make)
    return record, load_file(record.folder / "norms.safetensors", device=str(run.device))["norms"]


def reference_config(cfg: "Config") -> "Config":
    """The variant's config with weight decay on all weights, and nothing mimicked or perturbed."""
    return replace(cfg, decayed="weights", mimic="none", jitter=0.0, compared=True)


def copy(run: Run, made: Record) -> None:
    """Make the log and the result of what was made once this run's own."""
    run.result(**made.metrics)
    for line in made.log:
        run.log(int(line["step"]), **{name: number for name, number in line.items() if name != "step"})


def curve_distance(curve: list[float], reference: list[float]) -> float:
    """The mean absolute difference of two logged curves of the same steps."""
    return sum(abs(a - b) for a, b in zip(curve, reference, strict=True)) / len(curve)


def logged(record: Record, name: str) -> list[float]:
    """All that a finished run logged as `name`."""
    return [line[name] for line in record.log if name in line]
