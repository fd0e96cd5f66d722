"""What is trained: the dense network of a seed, and networks that become sparse on from there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Record, Run
from etudes.data.images import Images, unit
from etudes.nn.norm import recalibrate
from etudes.studies.dynamics.sparsity.findings import measure, reference
from etudes.studies.dynamics.sparsity.idea import neuron_masks, prune, share_left, shrink
from etudes.studies.dynamics.sparsity.networks import logits_and_activity, network, optimiser
from etudes.train import descend, fit, opened, pruning, seeded, shown
from etudes.train.arithmetic import put, state
from etudes.train.pruning import Masks

if TYPE_CHECKING:
    from etudes.studies.dynamics.sparsity import Config

State = Mapping[str, Tensor]


class Held:
    """The masks of gradual pruning, as they are now: one of the parts of `fit`."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def state_dict(self) -> dict[str, Any]:
        return dict(self.masks)

    def load_state_dict(self, found: Mapping[str, Any]) -> None:
        self.masks = dict(found)


@dataclass(frozen=True)
class Aim:
    """What a training does beside lowering the loss."""

    masks: Masks | None = None  # weights that stay from the first step on; None: all
    gradual: float = 1.0  # share of the weights to which they are pruned step by step
    proximal: float = 0.0  # L1 penalty, by the proximal step after each step of the optimiser
    l1: float = 0.0  # L1 penalty, as a term of the loss
    quiet: float = 0.0  # penalty on the mean activation of hidden neurons


class Examples:
    """Pictures to train on (`.d`, with the test pictures) and others, held out for validation (`.x`, `.y`)."""

    def __init__(self, cfg: "Config", run: Run) -> None:
        d, _ = opened(cfg, run)
        if cfg.held_out >= len(d.y):
            raise Problem(f"held_out is {cfg.held_out} of {len(d.y)} training pictures; hold out fewer")
        order = torch.from_numpy(run.rng("held out").permutation(len(d.y))).to(d.x.device)
        held = order[: cfg.held_out]
        self.x, self.y = d.x[held], d.y[held]
        self.d: Images = d.take(order[cfg.held_out :])


def learn(
    cfg: "Config", run: Run, e: Examples, start: State, name: str, aim: Aim, first: int = 0, last: int | None = None
) -> nn.Sequential:
    """A network that went on from `start`, the weights after `steps`, by `first` to `last` of the later steps."""
    last = cfg.later_steps if last is None else last
    model = put(seeded(run, "init", lambda: network(cfg, e.d)), start)
    opt, schedule = optimiser(model, cfg, first, cfg.later_steps)
    if aim.masks is not None:
        pruning.hold(opt, model, aim.masks)
    held = Held({})
    weights = pruning.prunable(model)
    pictures = shown(cfg, run, e.d)
    ramp = max(1, round(cfg.ramp * cfg.later_steps))

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(cfg.steps + first + i)
        if aim.gradual < 1 and i <= ramp and (i % cfg.prune_every == 0 or i == ramp):
            held.masks = prune(weights, share_left(i, ramp, aim.gradual), held.masks or None)
            pruning.apply(model, held.masks)
        logits, activity = logits_and_activity(model, x)
        loss = functional.cross_entropy(logits.float(), e.d.y[rows])
        if aim.quiet:
            loss = loss + aim.quiet * activity
        if aim.l1:
            loss = loss + aim.l1 * torch.stack([weight.abs().sum() for weight in weights.values()]).sum()
        rate = schedule.get_last_lr()[0]
        loss = descend(loss, opt, schedule)
        with torch.no_grad():
            for weight in weights.values() if aim.proximal else ():
                weight.copy_(shrink(weight, rate * aim.proximal))
        pruning.apply(model, held.masks)
        return {f"train/loss-{name}": loss}

    parts = {"model": model, "opt": opt, "schedule": schedule, "held": held}
    fit(run, parts, step, last - first, log_every=cfg.log_every)
    return model


def train_dense(cfg: "Config", run: Run, e: Examples, stream: str) -> tuple[nn.Sequential, State]:
    """A dense network from weights drawn from the stream, after `steps` and `later_steps`; its weights between."""
    model = seeded(run, stream, lambda: network(cfg, e.d))
    plain = replace(cfg, schedule="constant")
    opt, schedule = optimiser(model, plain, 0, cfg.steps)
    pictures = shown(cfg, run, e.d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        return {"train/loss": descend(functional.cross_entropy(model(x).float(), e.d.y[rows]), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, cfg.steps, log_every=cfg.log_every)
    base = state(model, buffers=True)
    return learn(cfg, run, e, base, "100", Aim()), base


def dense(cfg: "Config", run: Run, e: Examples) -> tuple[Record, State, nn.Sequential]:
    """The dense network of a seed, made once for all variants: its numbers, its weights after `steps` steps, and it at
    the end."""

    def make(own: Run) -> None:
        model, base = train_dense(cfg, own, e, "init")
        save_file(dict(base), own.path("base.safetensors"))
        save_file(state(model, buffers=True), own.path("final.safetensors"))
        measure(cfg, own, e, model, reference(cfg, e, model), label(1))

    fields = {name: value for name, value in asdict(cfg).items() if name != "method"}
    record = run.once("dense", fields, make)
    model = seeded(run, "init", lambda: network(cfg, e.d))
    base, final = (load_file(record.folder / f"{name}.safetensors", str(run.device)) for name in ("base", "final"))
    return record, base, put(model, final)


def sparse(cfg: "Config", run: Run, e: Examples, base: State, share: float, way: nn.Module | None) -> nn.Sequential:
    """The network with a share of its weights that the config's method makes of the dense one, in `later_steps`.

    `way` is the network after the first half of them under an L1 penalty, where the method has one.
    """
    name = label(share)
    if cfg.method == "gradual":
        return learn(cfg, run, e, base, name, Aim(gradual=share))
    if way is not None:
        masks = prune(pruning.prunable(way), share)
        return learn(cfg, run, e, state(way, buffers=True), name, Aim(masks), first=cfg.later_steps // 2)
    return learn(cfg, run, e, base, name, Aim(masks_at(cfg, run, e, base, share)))


def masks_at(cfg: "Config", run: Run, e: Examples, base: State, share: float) -> Masks:
    """The masks that the config's method draws at once; those by chance keep as many of each layer as magnitude."""
    weights = {name: base[name] for name in pruning.prunable(network(cfg, e.d))}
    if cfg.method == "neurons":
        return neuron_masks(weights, share)
    masks = prune(weights, share)
    if cfg.method == "random":
        chance = torch.Generator().manual_seed(run.seed("random mask", round(1e4 * share)))
        return pruning.layer_masks(pruning.random_scores(weights, chance), pruning.counts(masks))
    return masks


def penalise(cfg: "Config", run: Run, e: Examples, base: State) -> nn.Sequential | None:
    """The network after the first half of `later_steps` under the method's L1 penalty on weights; None without one."""
    if cfg.method == "l1":
        return learn(cfg, run, e, base, "l1", Aim(proximal=cfg.proximal), last=cfg.later_steps // 2)
    if cfg.method == "l1-gradient":
        return learn(cfg, run, e, base, "l1", Aim(l1=cfg.l1), last=cfg.later_steps // 2)
    return None


def cut(cfg: "Config", run: Run, e: Examples, base: State, share: float) -> nn.Sequential:
    """The dense network with the masks on and nothing learnt since, its batch statistics averaged anew over
    `looked_at` training pictures."""
    model = put(seeded(run, "init", lambda: network(cfg, e.d)), base)
    pruning.apply(model, masks_at(cfg, run, e, base, share))
    with torch.no_grad():
        recalibrate(model, (unit(part) for part in e.d.x[: cfg.looked_at].split(cfg.batch)))
    return model


def label(share: float) -> str:
    """How metrics are called of networks with this share of their weights: 0.02 is "2", in percent."""
    return f"{100 * share:.0f}"
