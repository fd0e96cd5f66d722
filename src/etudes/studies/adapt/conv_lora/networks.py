"""The networks that are adapted: one trained here once for all seeds, or EfficientNet-Lite with ImageNet's weights."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from etudes.core import Run
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.measure.error import error_rate
from etudes.nn.norm import BatchNorm, Standardise
from etudes.nn.resnet import preact_resnet
from etudes.tools.efficientnet import imagenet_network
from etudes.train import Sgd, descend, fit, seeded, sgd, weights
from etudes.train.precision import place

if TYPE_CHECKING:
    from etudes.studies.adapt.conv_lora import Config

SHARED_SEED = 0  # one network is adapted under all seeds, as one pretrained network is by everybody


class Classifier(nn.Module):
    """A body, pictures [n, 3, h, w] in [0, 1] to features [n, f], and a head, features to logits [n, classes]."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def opened_in_colour(name: str, side: int) -> Images:
    """The set with pictures of three channels and `side` pixels; 0: as they are."""
    d = images(name)
    d = d.resize(side) if side else d
    if d.shape[0] == 3:
        return d
    x, test_x = (t.repeat(1, 3, 1, 1).contiguous(memory_format=torch.channels_last) for t in (d.x, d.test_x))
    return replace(d, x=x, test_x=test_x)


def residual_network(width: int, classes: int, mean: Tensor, std: Tensor) -> Classifier:
    """A pre-activation ResNet of three blocks with 2, 4 and 8 times `width` channels, on pictures whose 2 x 2 pixels
    have become channels."""
    *body, head = preact_resnet(12, classes, width, (0, 1, 1, 1))
    return Classifier(nn.Sequential(Standardise(mean, std), nn.PixelUnshuffle(2), *body), head)


def pretrained(cfg: "Config", run: Run, classes: int) -> Classifier:
    """The pretrained body with a new head for so many classes, on the run's device."""
    if cfg.network == "resnet":
        body, features = _residual_body(cfg, run), 8 * cfg.width
    else:
        lite = imagenet_network(cfg.network)
        features, lite.classify = lite.classify.in_features, nn.Identity()
        for layer in lite.modules():
            if isinstance(layer, BatchNorm):  # its own 0.01 is for long trainings: after a hundred steps the statistics
                layer.momentum = 0.1  # would still be ImageNet's to a third
        enlarge = [nn.Upsample((cfg.enlarged, cfg.enlarged), mode="bilinear")] if cfg.enlarged else []
        body = nn.Sequential(*enlarge, lite)
    head = seeded(run, "head", lambda: nn.Linear(features, classes))
    return place(run, Classifier(body, head))


def _residual_body(cfg: "Config", run: Run) -> nn.Module:
    recipe = Sgd(cfg.base_steps, cfg.base_batch, lr=cfg.base_lr, schedule="warmup", weight_decay=5e-4)
    decides = {"dataset": cfg.base_dataset, "side": cfg.side, "width": cfg.width, **vars(recipe)}
    made = run.once("base", decides, lambda own: _pretrain(cfg, recipe, own), seed=SHARED_SEED)
    run.result(**{"test/error-base": made.metrics["test/error"]})
    classes = int(made.metrics["train/classes"])
    model = residual_network(cfg.width, classes, torch.zeros(3), torch.ones(3))
    return weights.load(made.folder / "model.safetensors", model).body


def _pretrain(cfg: "Config", recipe: Sgd, run: Run) -> None:
    d = opened_in_colour(cfg.base_dataset, cfg.side).to(run.device)
    run.note(data=d.source)
    model = seeded(run, "base", lambda: residual_network(cfg.width, d.classes, d.mean, d.std))
    opt, schedule = sgd(model, recipe)
    batches = Batches(len(d.x), recipe.batch, run.seed("base order"))

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = shift(flip(unit(d.x[rows]), run.rng("base flip", i)), run.rng("base shift", i), cfg.side // 8)
        return {"train/loss": descend(cross_entropy(model(x).float(), d.y[rows]), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=recipe.log_every)
    with run.autocast():
        run.result(**{"test/error": error_rate(model, d.test_x, d.test_y), "train/classes": d.classes})
    weights.save(run.path("model.safetensors"), model)
