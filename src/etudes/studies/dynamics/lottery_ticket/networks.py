"""The networks of the papers, and the optimisers that they are trained by."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.data.images import Images
from etudes.nn.norm import Standardise
from etudes.nn.resnet import preact_resnet
from etudes.nn.vgg import vgg
from etudes.optim.schedules import SCHEDULES

if TYPE_CHECKING:
    from etudes.studies.dynamics.lottery_ticket import Config

Kind = Literal["lenet", "vgg", "resnet"]


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes].

    "lenet" is LeNet-300-100 at width 300: 266,610 parameters for MNIST, of which 266,200 are weights; their first
    values are normal with Glorot's variance, biases 0 (sec. 2). "vgg" has six convolutions with batch normalisation,
    as Conv-6, and "resnet" three stages of three blocks: at width 16 the residual network of 20 layers.
    """
    c, h, w = d.shape
    first = Standardise(d.mean.tolist(), d.std.tolist())
    if cfg.network == "vgg":
        return nn.Sequential(first, *vgg(c, d.classes, h, width=cfg.width, kind="batch"))
    if cfg.network == "resnet":
        return nn.Sequential(first, *preact_resnet(c, d.classes, cfg.width, (3, 3, 3)))
    wide, narrow = cfg.width, max(1, cfg.width // 3)
    dense = [nn.Linear(c * h * w, wide), nn.Linear(wide, narrow), nn.Linear(narrow, d.classes)]
    for layer in dense:
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.Flatten(), dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2])


def optimiser(model: nn.Module, cfg: "Config", done: int = 0) -> tuple[Optimizer, LambdaLR]:
    """Adam, or SGD with momentum and weight decay; its rate rises along a straight line over the first share `warm` of
    the steps, on top of the schedule, of which `done` steps are over."""
    opt: Optimizer
    if cfg.optimiser == "adam":
        opt = torch.optim.Adam(model.parameters(), cfg.lr, fused=True)
    else:
        opt = torch.optim.SGD(model.parameters(), cfg.lr, cfg.momentum, weight_decay=cfg.weight_decay)
    factor, rising = SCHEDULES[cfg.schedule], max(1, round(cfg.warm * cfg.steps))
    return opt, LambdaLR(opt, lambda i: min(1.0, (i + done + 1) / rising) * factor(i + done, cfg.steps))
