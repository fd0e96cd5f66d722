"""The networks: a small one, whose 10x10 places see 32 pixels each way of a scene of 40, and ResNet-50."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.nn.bottleneck import resnet50
from etudes.nn.entropy_pooling import EntropyPooling
from etudes.nn.norm import BatchNorm, Standardise
from etudes.nn.pooling import AttentionPooling, GeMPooling, LogSumExpPooling, MaxPooling, PooledClassifier
from etudes.train import scheduled, sgd

if TYPE_CHECKING:
    from etudes.studies.convnets.entropy_pooling import Config


class Network(nn.Module):
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes]: a body that keeps places apart, and a head that pools."""

    def __init__(self, body: nn.Module, head: PooledClassifier) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def small_body(channels: int, width: int) -> nn.Sequential:
    """Pictures [n, channels, h, w] to features [n, 2 width, h / 4, w / 4]: two convolutions of stride 2, two of 1.

    The strided ones have 4x4 filters, so that a place lies in the middle of the 4x4 pixels that it stands for.
    """
    layers: list[nn.Module] = []
    for out, kernel, stride in ((width // 2, 4, 2), (width, 4, 2), (width, 3, 1), (2 * width, 3, 1)):
        layers += [nn.Conv2d(channels, out, kernel, stride, 1, bias=False), BatchNorm(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers)


def head(cfg: "Config", channels: int, classes: int) -> PooledClassifier:
    """The pooling and the classifier of the variant."""
    if cfg.pooling == "max":
        return MaxPooling(channels, classes)
    if cfg.pooling == "log-sum-exp":
        return LogSumExpPooling(channels, classes, cfg.r)
    if cfg.pooling == "gem":
        return GeMPooling(channels, classes)
    if cfg.pooling == "attention":
        return AttentionPooling(channels, classes, cfg.hidden)
    if cfg.pooling == "entropy":
        return EntropyPooling(channels, classes, cfg.sharpness, cfg.form, cfg.stop_gradient)
    return PooledClassifier(channels, classes)


def network(cfg: "Config", x: Tensor, classes: int) -> Network:
    """The variant's network for pictures like the training pictures x: uint8 [n, c, h, w]."""
    some = x[:2000].double() / 255
    first = Standardise(some.mean((0, 2, 3)).tolist(), some.std((0, 2, 3)).clamp_min(1e-3).tolist())
    if cfg.network == "resnet50":
        body = list(resnet50(x.shape[1], classes).children())[:-3]  # without its pooling and classifier
        return Network(nn.Sequential(first, *body), head(cfg, 2048, classes))
    return Network(nn.Sequential(first, small_body(x.shape[1], cfg.width)), head(cfg, 2 * cfg.width, classes))


def optimiser(model: nn.Module, cfg: "Config") -> tuple[Optimizer, LambdaLR]:
    """Adam, or SGD with momentum and weight decay, and the recipe's schedule."""
    if cfg.optimiser == "sgd":
        return sgd(model, cfg)
    opt = torch.optim.Adam(model.parameters(), cfg.lr, fused=True)
    return opt, scheduled(opt, cfg)
