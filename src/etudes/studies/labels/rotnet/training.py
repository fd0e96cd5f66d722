"""The pictures of a seed, the pretext that its variants share, and the training on labels."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etudes.core import Problem, Run
from etudes.data.augment import affine, flip, photometric
from etudes.data.images import Images, unit
from etudes.data.labels import balanced_subset
from etudes.losses.contrastive import nt_xent
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.nn.nin import mean_of_places, nin_blocks
from etudes.nn.norm import Standardise, recalibrate
from etudes.studies.labels.rotnet.idea import rotation_loss
from etudes.train import HeldOut, descend, fit, fitted, hold_out, opened, part, seeded, sgd, shown, weights

if TYPE_CHECKING:
    from etudes.studies.labels.rotnet import Config

BLOCKS = 4  # of the network that learns a pretext
KEPT = 2  # of them, for the network that learns classes, which has three
ZOOM = (0.9, 1.5)  # by which contrasted views are enlarged: what a random crop does
LIGHT = 0.4  # by how much their light, contrast and colour change
SHARED = ("dataset", "digits", "on_digits", "examples", "side", "held_out", "augment", "pretext", "turns",
          "temperature", "contrastive_lr", "width", "steps", "batch", "lr", "schedule", "momentum",
          "weight_decay", "log_every")  # fmt: skip  # what decides the network of a pretext


def pictures_of(cfg: "Config", run: Run) -> HeldOut:
    """The pictures of a run on its device, tested on `tested` of them. Problem where too many are held out."""
    d, _ = opened(replace(cfg, dataset=cfg.digits) if cfg.on_digits else cfg, run)
    return hold_out(d, cfg.held_out, run, cfg.tested)


def network(d: Images, width: int, blocks: int, head: nn.Module) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to what the head makes of the last block's maps; block b is layer b."""
    return nn.Sequential(Standardise(d.mean, d.std), *nin_blocks(d.shape[0], width, blocks), head)


def pretext_network(cfg: "Config", d: Images) -> nn.Sequential:
    """Four blocks, drawn alike for all pretexts, and a head: a linear layer that names turns, or SimCLR's projection
    by one hidden layer to half of the width."""
    blocks = nin_blocks(d.shape[0], cfg.width, BLOCKS)
    if cfg.pretext == "contrastive":
        hidden, last = nn.Linear(cfg.width, cfg.width), nn.Linear(cfg.width, cfg.width // 2)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), hidden, nn.ReLU(), last)
    else:
        head = mean_of_places(cfg.width, cfg.turns)
    return nn.Sequential(Standardise(d.mean, d.std), *blocks, head)


def pictures_a_step(cfg: "Config") -> int:
    """How many pictures a step sees, so that the network is asked about `batch` images whatever the pretext is: in
    all turns or in two views each. Raises Problem where that does not divide the batch."""
    copies = 2 if cfg.pretext == "contrastive" else cfg.turns
    if cfg.batch % copies:
        raise Problem(f"a batch of {cfg.batch} images does not hold whole pictures in {copies} copies; take a multiple")
    return cfg.batch // copies


def view(x: Tensor, run: Run, i: int, which: str) -> Tensor:
    """Pictures x: [n, c, h, w] as one of the two contrasted views of step i: mirrored by chance, enlarged, moved, and
    with another light (as in SimCLR, Chen et al. 2020, sec. 3). Never turned."""
    x = flip(x, run.rng(f"flip {which}", i))
    x = affine(x, run.rng(f"crop {which}", i), shift=x.shape[-1] / 8, scale=ZOOM)
    colour = LIGHT if x.shape[1] == 3 else 0
    return photometric(x, run.rng(f"light {which}", i), LIGHT, LIGHT, colour)


def pretext_loss(cfg: "Config", run: Run, model: nn.Module, x: Tensor, i: int) -> Tensor:
    """The loss of step i on pictures x: [n, c, h, w]."""
    if cfg.pretext == "contrastive":
        both = model(torch.cat([view(x, run, i, "first"), view(x, run, i, "second")]))
        return nt_xent(both[: len(x)], both[len(x) :], cfg.temperature)
    return rotation_loss(model, x, cfg.turns)


def pretrain(cfg: "Config", run: Run, d: Images) -> nn.Sequential:
    """A network that has learnt the pretext on the set's training pictures, without their labels.

    Of the pretext "none" it has its first weights, and the statistics of the training pictures, as the others have.
    """
    model = seeded(run, "init pretext", lambda: pretext_network(cfg, d))
    if cfg.pretext == "none":
        recalibrate(model, [unit(some) for some in d.x[:2000].split(500)])
        return model
    recipe = replace(cfg, batch=pictures_a_step(cfg))
    if cfg.pretext == "contrastive":  # its views are made from pictures as they are
        recipe = replace(recipe, augment=False, lr=cfg.contrastive_lr)
    opt, schedule = sgd(model, recipe)
    pictures = shown(recipe, run, d)

    def step(i: int) -> dict[str, Tensor]:
        _, x = pictures(i)
        return {"train/loss": descend(pretext_loss(cfg, run, model, part(x)[0], i), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, cfg.steps, log_every=cfg.log_every)
    return model


def shared_pretext(cfg: "Config", run: Run, d: Images) -> nn.Sequential:
    """The network of the pretext, learnt once for all variants of a seed that ask for it, in evaluation mode."""

    def make(own: Run) -> None:
        model = pretrain(cfg, own, d)
        weights.save(own.path("model.safetensors"), model)
        own.result(parameters=count_parameters(model))

    record = run.once("pretext", {name: getattr(cfg, name) for name in SHARED}, make)
    return weights.load(record.folder / "model.safetensors", pretext_network(cfg, d).to(run.device))


def labelled_rows(y: Tensor, share: float, run: Run, draw: int = 0) -> Tensor:
    """The rows that have a label: a share of them, equally many of each class and at least one; all where it is 1."""
    if share == 1:
        return torch.arange(len(y), device=y.device)
    found, counts = y.unique(return_counts=True)
    each = min(max(1, round(share * len(y) / len(found))), int(counts.min()))
    return balanced_subset(y, each, run.rng("labelled", draw))


def train_classes(cfg: "Config", run: Run, p: HeldOut) -> dict[str, float]:
    """What a network of three blocks errs that has learnt classes from the labelled pictures.

    "scratch": from first weights. "finetuned": its first two blocks begin with the pretext's. "frozen": and stay so.
    """
    d, use = p.d.take(labelled_rows(p.d.y, cfg.labelled, run)), cfg.use
    model = seeded(run, "init classes", lambda: network(p.d, cfg.width, KEPT + 1, mean_of_places(cfg.width, d.classes)))
    frozen = model[: KEPT + 1]
    if use != "scratch":
        source = shared_pretext(cfg, run, p.d)
        frozen.load_state_dict(source[: KEPT + 1].state_dict())
    if use == "frozen":
        frozen.requires_grad_(False)
    recipe = replace(cfg, steps=cfg.class_steps, batch=cfg.class_batch, lr=cfg.class_lr)
    opt, schedule = sgd(model, recipe)
    pictures, target = shown(recipe, run, d), one_hot(d.y, d.classes)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        x, y = part(x, target[rows])
        if use == "frozen":
            frozen.eval()  # else its running statistics would go on
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        errors = {"test/error": error_rate(model, d.test_x, d.test_y), "validation/error": error_rate(model, p.x, p.y)}
        return {f"{name}-frozen": error for name, error in errors.items()} if use == "frozen" else errors

    return fitted(run, recipe, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate)
