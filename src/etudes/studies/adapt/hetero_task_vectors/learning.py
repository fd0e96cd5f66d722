"""The base and the vectors, each learnt once a seed for all variants that ask for it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.studies.adapt.hetero_task_vectors.materials import HEADS, Materials
from etudes.studies.adapt.hetero_task_vectors.networks import (
    KINDS,
    Kind,
    Networks,
    PatchStem,
    ResidualStem,
    Trunk,
)
from etudes.train import Adam, adam, descend, fit, seeded, weights
from etudes.train.arithmetic import minus, state

if TYPE_CHECKING:
    from etudes.studies.adapt.hetero_task_vectors import Config

DECIDES = (  # fields that decide what a base is; those of a vector are these and the task's
    "dataset", "known", "fresh", "second", "other", "examples", "held_out", "side", "patch", "width", "heads",
    "stem_blocks", "channels", "blocks_a_stage", "pool", "trunk", "depth", "hidden", "agreement", "unlabelled",
    "steps", "batch", "lr", "schedule",
)  # fmt: skip
OF_VECTORS = ("task_steps", "task_batch", "task_lr")


def networks(cfg: "Config", classes: dict[str, int], kinds: tuple[Kind, ...] = KINDS) -> Networks:
    """Networks of these kinds around one trunk."""
    tokens = (cfg.side // cfg.patch) ** 2
    stems: dict[str, nn.Module] = {}
    if "residual" in kinds:
        stems["residual"] = ResidualStem(cfg.channels, cfg.blocks_a_stage, cfg.pool, cfg.side, cfg.patch, cfg.width)
    if "transformer" in kinds:
        stems["transformer"] = PatchStem(cfg.side, cfg.patch, cfg.stem_blocks, cfg.heads, cfg.width)
    trunk = Trunk(cfg.trunk, tokens, cfg.width, cfg.depth, cfg.heads, cfg.hidden)
    return Networks(stems, trunk, {head: nn.Linear(cfg.width, classes[head]) for head in HEADS})


def flip(x: Tensor, run: Run, i: int) -> Tensor:
    """Pictures in [0, 1], of which a random half is mirrored."""
    mirrored = torch.from_numpy(run.rng("flip", i).random(len(x)) < 0.5).to(x.device)
    return torch.where(mirrored[:, None, None, None], unit(x).flip(3), unit(x))


def base(cfg: "Config", run: Run, m: Materials, kinds: tuple[Kind, ...] = KINDS) -> Networks:
    """The pretrained networks of a seed: both kinds together, or one kind apart from the other.

    A batch has three quarters of known domains and a quarter of the second set, and both networks see it. Beside the
    two cross-entropies stands how far the two stems' tokens are from each other, also on unlabelled pictures of the
    fresh domain: what makes the trunk mean the same in both.
    """

    def make(own: Run) -> None:
        def begin() -> Networks:
            return networks(cfg, m.classes, kinds)

        model = seeded(own, f"init {' '.join(kinds)}", begin)
        opt, schedule = adam(model, cfg)
        sizes = {"known": cfg.batch - cfg.batch // 4, "other": cfg.batch // 4, "fresh": cfg.unlabelled}
        sets = {task: m.of(task, "train") for task, size in sizes.items() if size}
        rows = {task: Batches(len(x), sizes[task], own.seed(f"order {task}")) for task, (x, *_) in sets.items()}

        def step(i: int) -> dict[str, Tensor]:
            picked = {task: (x[rows[task].at(i)], y[rows[task].at(i)], h) for task, (x, y, h) in sets.items()}
            x = flip(torch.cat([x for x, *_ in picked.values()]), own, i)
            tokens = [model.tokens(kind, x) for kind in kinds]
            features = model.trunk(torch.cat([t[: cfg.batch] for t in tokens]))
            loss = torch.zeros((), device=x.device)
            for part in features.split(cfg.batch):
                for task, own_part in zip(
                    ("known", "other"), part.split([sizes["known"], sizes["other"]]), strict=True
                ):
                    _, y, head = picked[task]
                    found = functional.cross_entropy(model.heads[head](own_part).float(), y, reduction="sum")
                    loss = loss + found / (cfg.batch * len(kinds))
            apart = (tokens[0] - tokens[-1]).float().square().mean()
            descend(loss + cfg.agreement * apart, opt, schedule)
            return {"train/loss": loss.detach(), "train/stems-apart": apart.detach()}

        parts = {"model": model, "opt": opt, "schedule": schedule}
        fit(own, parts, step, cfg.steps, log_every=cfg.log_every)
        own.result(**{"train/steps": cfg.steps})
        weights.save(own.path("networks.safetensors"), model)

    found = run.once("base", _deciding(cfg, DECIDES) | {"kinds": list(kinds)}, make)
    return weights.load(found.folder / "networks.safetensors", networks(cfg, m.classes, kinds)).to(run.device)


def vector(
    cfg: "Config", run: Run, m: Materials, model: Networks, kind: Kind, task: str, ascent: bool = False
) -> dict[str, Tensor]:
    """The task vector of the trunk: what training on a task changes in it, inside the network of this kind.

    Stem and classifiers stay as they are. With `ascent` the loss is climbed.
    """
    kinds = tuple(k for k in KINDS if k in model.stems)

    def make(own: Run) -> None:
        x, y, head = m.of(task, "train")
        before = state(model.trunk)
        trunk = networks(cfg, m.classes, ()).trunk.to(own.device)
        trunk.load_state_dict(model.trunk.state_dict())
        recipe = Adam(steps=cfg.task_steps, batch=cfg.task_batch, lr=cfg.task_lr)
        opt, schedule = adam(trunk, recipe)
        rows = Batches(len(x), cfg.task_batch, own.seed(f"order {task}"))

        def step(i: int) -> dict[str, Tensor]:
            batch = rows.at(i)
            with torch.no_grad():
                tokens = model.tokens(kind, flip(x[batch], own, i))
            logits = model.heads[head](trunk(tokens)).float()
            loss = functional.cross_entropy(logits, y[batch])
            descend(-loss if ascent else loss, opt, schedule)
            return {"train/loss": loss.detach()}

        fit(own, {"model": trunk, "opt": opt, "schedule": schedule}, step, cfg.task_steps, log_every=cfg.log_every)
        own.result(**{"train/steps": cfg.task_steps})
        save_file(minus(state(trunk), before), own.path("vector.safetensors"))

    of = {"kinds": list(kinds), "kind": kind, "task": task, "ascent": ascent}
    found = run.once("vector", _deciding(cfg, DECIDES + OF_VECTORS) | of, make)
    return load_file(found.folder / "vector.safetensors", device=str(run.device))


def _deciding(cfg: "Config", names: tuple[str, ...]) -> dict[str, object]:
    values = asdict(cfg)
    return {name: values[name] for name in names}
