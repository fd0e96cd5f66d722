"""What is trained: one network under one mask, the dense network of a seed, and chains of tickets."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Record, Run
from etudes.data.images import Images, images, unit
from etudes.measure.error import evaluation_mode
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.lottery_ticket.idea import State, prune, ticket
from etudes.studies.dynamics.lottery_ticket.networks import network, optimiser
from etudes.train import descend, fit, part, pruning, seeded, shown
from etudes.train.arithmetic import put, state
from etudes.train.pruning import Masks

if TYPE_CHECKING:
    from etudes.studies.dynamics.lottery_ticket import Config

OWN = ("masks", "weights", "prunes")  # fields that decide nothing of what the variants of a seed share


class Kept:
    """Weights and masks that are set aside during training, and numbers, by name: one of the parts of `fit`."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Tensor]] = {}
        self.numbers: dict[str, float] = {"loss": float("inf")}

    def state_dict(self) -> dict[str, Any]:
        return {"states": self.states, "numbers": self.numbers}

    def load_state_dict(self, found: Mapping[str, Any]) -> None:
        self.states, self.numbers = found["states"], found["numbers"]


class Examples:
    """Pictures to train on (`.d`, with the test pictures) and others, held out for validation (`.x`, `.y`)."""

    def __init__(self, cfg: "Config", run: Run) -> None:
        whole = images(cfg.dataset)
        check(cfg, len(whole.y))
        run.note(data=whole.source)
        order = torch.from_numpy(run.rng("rows").permutation(len(whole.y)))
        held, rest = order[: cfg.held_out], order[cfg.held_out :]
        kept = whole.take(rest[: cfg.examples] if cfg.examples else rest)
        tested = torch.from_numpy(run.rng("tested").permutation(len(whole.test_y))[: cfg.tested])
        kept = replace(kept, test_x=kept.test_x[tested], test_y=kept.test_y[tested])
        self.d: Images = kept.to(run.device)
        self.x, self.y = whole.x[held].to(run.device), whole.y[held].to(run.device)
        run.result(**{"test/error-majority": self.d.majority_error})


def check(cfg: "Config", pictures: int) -> None:
    """Raise Problem where the fields do not fit each other, or the number of training pictures of the set."""
    if not cfg.compared or not {*cfg.compared} <= {*cfg.remaining}:
        raise Problem(f"compared is {cfg.compared} and remaining is {cfg.remaining}; compare some of those shares")
    if len({label(share) for share in (1.0, *cfg.compared)}) <= len(cfg.compared):
        raise Problem(f"compared is {cfg.compared}; take shares that differ in per cent, as numbers are called by it")
    if cfg.held_out + max(1, cfg.examples) > pictures:
        raise Problem(f"{cfg.held_out} held out and {cfg.examples or 1} to train on are more than {pictures} pictures")


def moments(cfg: "Config") -> dict[str, int]:
    """The steps after which weights are set aside, by name; a short training has them at its end, or a step before."""
    return {"early": min(cfg.early, cfg.steps), "late": min(cfg.rewind, cfg.steps - 1), "final": cfg.steps}


def label(share: float) -> str:
    """How metrics are called of networks with this share of their weights: 0.21 is "21", in percent."""
    return f"{100 * share:.0f}"


def outcome(model: nn.Module, x: Tensor, y: Tensor, batch: int = 1000) -> tuple[float, float]:
    """The mean cross-entropy, in nats, and the share of errors on pictures x: [n, c, h, w]."""
    torch.clear_autocast_cache()  # else a bf16 copy of weights that were changed since is used again
    loss = wrong = 0.0
    with evaluation_mode(model):
        for some, labels in zip(x.split(batch), y.split(batch), strict=True):
            logits = model(unit(some)).float()
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
            wrong += (logits.argmax(1) != labels).sum().item()
    return loss / len(y), wrong / len(y)


def learn(cfg: "Config", run: Run, e: Examples, start: State, masks: Masks | None, name: str, done: int = 0) -> Kept:
    """Train a network from `start`, under masks where there are any; what was set aside, and its numbers in the result.

    `done` of the steps are behind `start` already: pictures and learning rates go on from there. The weights of the
    look with the lowest validation loss are "best" (early stopping, sec. 2), those after `early` steps in all "early",
    those after `rewind` steps "late", those at the end "final".
    """
    model = seeded(run, "init", lambda: network(cfg, e.d))
    put(model, start)
    opt, schedule = optimiser(model, cfg, done)
    if masks is not None:
        pruning.hold(opt, model, masks)
    pictures, kept = shown(cfg, run, e.d), Kept()

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i + done)
        x, y = part(x, e.d.y[rows])
        loss = descend(functional.cross_entropy(model(x).float(), y), opt, schedule)
        now = i + done + 1
        for what in [what for what, moment in moments(cfg).items() if moment == now]:
            kept.states[what] = state(model, buffers=True)
        if now % cfg.eval_every == 0 or now == cfg.steps:
            found, error = outcome(model, e.x, e.y)
            run.log(now, **{f"validation/error-{name}": error})
            if found < kept.numbers["loss"]:
                kept.numbers |= {"loss": found, "error": error, "step": now}
                kept.states["best"] = state(model, buffers=True)
            if masks is None:
                watch(cfg, run, model, kept, now)
        return {f"train/loss-{name}": loss}

    parts = {"model": model, "opt": opt, "schedule": schedule, "kept": kept}
    fit(run, parts, step, cfg.steps - done, log_every=cfg.log_every)
    report(run, e, model, kept, masks, name)
    return kept


def watch(cfg: "Config", run: Run, model: nn.Module, kept: Kept, now: int) -> None:
    """Log how much of the mask of the first compared share is not in that of the look before, and set the weights aside
    as "bird" the first time that it is little, or at the end (the moment of You et al. 2020, arXiv:1909.11957, sec. 3).
    """
    k = cfg.remaining.index(cfg.compared[0])
    masks = prune(pruning.prunable(model), cfg.remaining, k, cfg.layerwise)
    change = pruning.difference(masks, kept.states["former"]) if "former" in kept.states else 1.0
    kept.states["former"] = masks
    run.log(now, **{"train/mask-change": change})
    if "bird" not in kept.states and (change < cfg.settled or now == cfg.steps):
        kept.states["bird"] = state(model, buffers=True)
        kept.numbers["bird"] = now


def report(run: Run, e: Examples, model: nn.Module, kept: Kept, masks: Masks | None, name: str) -> None:
    """Put what a trained network says of validation and test pictures into the result."""
    with run.autocast():
        for when, what in (("", "best"), ("-early", "early")):
            if what in kept.states:  # a network rewound to a later step has no early one
                error = outcome(put(model, kept.states[what]), e.d.test_x, e.d.test_y)[1]
                run.result(**{f"test/error{when}-{name}": error})
    run.result(
        **{
            f"validation/error-{name}": kept.numbers["error"],
            f"validation/best-step-{name}": kept.numbers["step"],
            f"train/weights-{name}": 100 * (1 if masks is None else pruning.share(masks)),
        }
    )


def dense(cfg: "Config", run: Run, e: Examples) -> tuple[Record, dict[str, State]]:
    """The dense network of a seed, trained once: its record, and its weights "initial", "late", "final" and "bird"."""

    def make(own: Run) -> None:
        model = seeded(own, "init", lambda: network(cfg, e.d))
        initial = state(model, buffers=True)
        kept = learn(cfg, own, e, initial, None, label(1))
        own.result(parameters=count_parameters(model), **{"train/settled-step": kept.numbers["bird"]})
        states = {name: kept.states[name] for name in ("late", "final", "bird")} | {"initial": initial}
        save_states(own.path("states.safetensors"), states)

    record = run.once("dense", common_fields(cfg), make)
    return record, load_states(record.folder / "states.safetensors", run)


def chain(cfg: "Config", run: Run, e: Examples, states: Mapping[str, State], start: str) -> tuple[Record, list[Masks]]:
    """Iterative magnitude pruning (sec. 1): its record, and the masks of each round.

    A round prunes the weights that the round before has trained, and trains what is left of those in `states[start]`.
    """

    def make(own: Run) -> None:
        first = moments(cfg)["late"] if start == "late" else 0
        final, masks, found = states["final"], None, {}
        for k, remaining in enumerate(cfg.remaining):
            weights = {name: final[name] for name in pruning.prunable(network(cfg, e.d))}
            masks = prune(weights, cfg.remaining, k, cfg.layerwise, masks)
            name = label(remaining) if remaining in cfg.compared else f"round{k + 1}"
            final = learn(cfg, own, e, ticket(states[start], masks), masks, name, first).states["final"]
            found[str(k)] = masks
        save_states(own.path("masks.safetensors"), found)

    record = run.once(f"chain-{start}", common_fields(cfg) | {"start": start}, make)
    found = load_states(record.folder / "masks.safetensors", run)
    return record, [found[str(k)] for k in range(len(cfg.remaining))]


def common_fields(cfg: "Config") -> dict[str, Any]:
    return {name: value for name, value in asdict(cfg).items() if name not in OWN}


def save_states(path: Path, states: Mapping[str, State]) -> None:
    save_file({f"{name}/{key}": t.clone().contiguous() for name, s in states.items() for key, t in s.items()}, path)


def load_states(path: Path, run: Run) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(path, device=str(run.device)).items():
        outer, _, inner = name.partition("/")
        found.setdefault(outer, {})[inner] = tensor
    return found
