"""The networks that are made sparse, and their optimiser."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core.errors import Problem
from etudes.data.images import Images
from etudes.nn.bottleneck import Bottleneck, resnet50
from etudes.nn.norm import Standardise
from etudes.nn.vgg import vgg
from etudes.optim.schedules import SCHEDULES

if TYPE_CHECKING:
    from etudes.studies.dynamics.sparsity import Config

Kind = Literal["lenet", "vgg", "resnet50"]


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes].

    "lenet" is LeNet-300-100 at width 300, 266,610 parameters for MNIST (LeCun et al. 1998); "vgg" has six convolutions
    with batch normalisation and two dense layers, "resnet50" is for photographs.
    """
    c, h, w = d.shape
    first = Standardise(d.mean.tolist(), d.std.tolist())
    if cfg.network == "resnet50":
        return nn.Sequential(first, *resnet50(c, d.classes))
    if cfg.network == "vgg":
        return nn.Sequential(first, *vgg(c, d.classes, h, width=cfg.width, kind="batch"))
    wide, narrow = cfg.width, max(1, cfg.width // 3)
    dense = [nn.Linear(c * h * w, wide), nn.Linear(wide, narrow), nn.Linear(narrow, d.classes)]
    for layer in dense:
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.Flatten(), dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2])


def hidden_layers(model: nn.Sequential) -> list[str]:
    """The names of the layers whose outputs are neurons that are active or 0."""
    return [name for name, layer in model.named_children() if isinstance(layer, nn.ReLU | Bottleneck)]


def logits_and_activity(model: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """The logits [n, classes], and the mean activation of a hidden neuron, averaged over layers."""
    names, means = hidden_layers(model), []
    for name, layer in model.named_children():
        x = layer(x)
        if name in names:
            means.append(x.float().mean())
    if not means:
        raise Problem("this network has no hidden layer whose activations could be penalised")
    return x, torch.stack(means).mean()


def optimiser(model: nn.Module, cfg: "Config", first: int, steps: int) -> tuple[Optimizer, LambdaLR]:
    """Adam, or SGD with momentum and weight decay, on a schedule of `steps` steps of which `first` are over."""
    opt: Optimizer
    if cfg.optimiser == "adam":
        opt = torch.optim.Adam(model.parameters(), cfg.lr, fused=True)
    else:
        opt = torch.optim.SGD(model.parameters(), cfg.lr, cfg.momentum, weight_decay=cfg.weight_decay)
    factor = SCHEDULES[cfg.schedule]
    return opt, LambdaLR(opt, lambda i: factor(i + first, steps))
