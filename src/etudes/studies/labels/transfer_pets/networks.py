"""Pretrained networks as stages, one after another, under a new head; and the small one that is pretrained here."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Run
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.nn.basic import DEPTHS
from etudes.nn.bottleneck import STAGES
from etudes.nn.efficientnet import EfficientNetLite, pad_same
from etudes.nn.norm import BatchNorm, Standardise
from etudes.nn.resnet import preact_resnet
from etudes.tools.efficientnet import imagenet_network
from etudes.tools.resnets import MEAN, STD, imagenet_resnet, plain_resnet
from etudes.train import Sgd, descend, fit, seeded, sgd, weights

if TYPE_CHECKING:
    from etudes.studies.labels.transfer_pets import Config

SHARED_SEED = 0  # one pretrained network for all seeds, as everybody has the same
BASE, WIDTH = "digits", 8  # of the small network: the set whose first classes it learns, and channels of its stem
BASE_RECIPE = Sgd(lr=0.1, batch=32, schedule="warmup", weight_decay=5e-4)


class Staged(nn.Module):
    """Stages, pictures [n, 3, h, w] in [0, 1] or what lower stages give to features [n, f], and a head of logits
    [n, classes].

    In training mode the statistics of those norms alone follow the batch that stand in `following`. PyTorch's own
    `train()` would move them all, those without gradients too.
    """

    def __init__(self, stages: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.stages, self.head = stages, head
        self.following: frozenset[str] = frozenset()

    def norms(self) -> dict[str, BatchNorm]:
        return {name: layer for name, layer in self.named_modules() if isinstance(layer, BatchNorm)}

    def train(self, mode: bool = True) -> "Staged":
        super().train(mode)
        for name, norm in self.norms().items():
            norm.train(mode and name in self.following)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x)).float()


class Frozen(nn.Sequential):
    """Stages that stay as they are: without gradients, and in evaluation mode whatever mode is asked for."""

    def __init__(self, stages: nn.Sequential) -> None:
        super().__init__(*stages)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


class LiteStem(nn.Module):
    """What EfficientNet-Lite does before its blocks."""

    def __init__(self, lite: EfficientNetLite) -> None:
        super().__init__()
        self.conv, self.norm = lite.stem, lite.stem_norm

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(self.norm(self.conv(pad_same((255 * x - 127) / 128, 3, 2))))


class LiteEnd(nn.Module):
    """What EfficientNet-Lite does after its blocks, up to its last layer."""

    def __init__(self, lite: EfficientNetLite) -> None:
        super().__init__()
        self.conv, self.norm = lite.head, lite.head_norm

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(self.norm(self.conv(x))).mean((2, 3))


def lite_stages(lite: EfficientNetLite) -> nn.Sequential:
    """Eight stages: its seven, the first with the stem, and the widest convolution with the mean over places."""
    begins = [i for i, block in enumerate(lite.blocks) if not block.adds] + [len(lite.blocks)]
    groups = [[*lite.blocks[a:b]] for a, b in pairwise(begins)]
    groups = [[LiteStem(lite), *groups[0]], *groups[1:], [LiteEnd(lite)]]
    return nn.Sequential(*(nn.Sequential(*group) for group in groups))


def resnet_stages(name: str, model: nn.Sequential) -> nn.Sequential:
    """Five stages: the stem, three groups of blocks, and the fourth with the mean over places."""
    depths = DEPTHS.get(name) or tuple(blocks for _, blocks in STAGES)
    ends = [4 + sum(depths[:k]) for k in range(4)]
    groups = [[Standardise(MEAN, STD), *model[:4]], *([*model[a:b]] for a, b in pairwise(ends))]
    return nn.Sequential(*(nn.Sequential(*group) for group in [*groups, [*model[ends[-1] : -1]]]))


def small_stages(model: nn.Sequential) -> nn.Sequential:
    """Three stages of our small network, which begins with Standardise."""
    return nn.Sequential(nn.Sequential(*model[:3]), model[3], nn.Sequential(*model[4:-1]))


def in_colour(d: Images) -> Images:
    """The set with three channels."""
    if d.shape[0] == 3:
        return d
    x, test_x = (t.repeat(1, 3, 1, 1).contiguous(memory_format=torch.channels_last) for t in (d.x, d.test_x))
    return replace(d, x=x, test_x=test_x)


def small_network(classes: int) -> nn.Sequential:
    """Pictures [n, 3, h, w] in [0, 1] to logits [n, classes]."""
    return nn.Sequential(Standardise([0.3] * 3, [0.35] * 3), *preact_resnet(3, classes, WIDTH, (1, 1, 1)))


def pretrained_stages(cfg: "Config", run: Run) -> tuple[nn.Sequential, int]:
    """The stages of the network that the recipe names, in evaluation mode, and the width of their features."""
    name = cfg.deeper if cfg.deep else cfg.network
    if name == "small":
        model = _small(cfg, run)
        return small_stages(model), model[-1].in_features
    if name in ("lite0", "lite2"):
        if cfg.weights == "none":
            raise Problem("EfficientNet-Lite comes with its weights; --weights none is for resnet18, -34 and -50")
        lite = imagenet_network(name)
        for layer in lite.modules():
            if isinstance(layer, BatchNorm):
                layer.momentum = 0.1  # its own 0.01 is for long trainings
        return lite_stages(lite), lite.classify.in_features
    if cfg.weights == "none":
        residual = seeded(run, "first weights", lambda: plain_resnet(name))
    else:
        residual = imagenet_resnet(name)
    return resnet_stages(name, residual).eval(), residual[-1].in_features


def _small(cfg: "Config", run: Run) -> nn.Sequential:
    made = run.once("base", {"steps": cfg.base_steps}, lambda own: _pretrain(cfg, own), seed=SHARED_SEED)
    return weights.load(made.folder / "model.safetensors", small_network(int(made.metrics["train/classes"]))).eval()


def _pretrain(cfg: "Config", run: Run) -> None:
    d = in_colour(images(BASE))
    run.note(data=d.source)
    classes = d.classes // 2
    d = d.take((d.y < classes).nonzero()[:, 0]).to(run.device)
    model = seeded(run, "base", lambda: small_network(classes))
    recipe = replace(BASE_RECIPE, steps=cfg.base_steps)
    opt, schedule = sgd(model, recipe)
    batches = Batches(len(d.x), recipe.batch, run.seed("base order"))

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        return {"train/loss": descend(functional.cross_entropy(model(unit(d.x[rows])), d.y[rows]), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=recipe.log_every)
    run.result(**{"train/classes": classes})
    weights.save(run.path("model.safetensors"), model)
