"""The networks that are trained: a chain of convolutions for small pictures, and ResNet-50."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import relu

from etudes.core import Problem
from etudes.data.images import Images
from etudes.nn.ghost import BatchRenorm, GhostNorm
from etudes.nn.norm import GroupNorm, Standardise

if TYPE_CHECKING:
    from etudes.studies.dynamics.evalnorm import Config

Norm = Callable[[int], nn.Module]  # channels -> a layer that normalises [n, channels, h, w]
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # of ResNet-50: width, blocks, stride of the first


def chain(channels: int, classes: int, width: int, norm: Norm) -> nn.Sequential:
    """Five 3x3 convolutions, each normalised, of which two halve the picture: [n, channels, h, w] to logits."""
    layers: list[nn.Module] = []
    for out, stride in ((width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2), (4 * width, 1)):
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), norm(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Bottleneck(nn.Module):
    """relu(shortcut(x) + 1x1, 3x3, 1x1), each normalised (He et al. 2016, arXiv:1512.03385, fig. 5).

    The 3x3 has the stride, as in most code since; in the paper the first 1x1 has it.
    """

    def __init__(self, channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            norm(width),
            nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False),
            norm(out),
        )
        fits = stride == 1 and channels == out
        project = [] if fits else [nn.Conv2d(channels, out, 1, stride, bias=False), norm(out)]
        self.shortcut = nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.shortcut(x) + self.body(x))


def resnet50(channels: int, classes: int, norm: Norm) -> nn.Sequential:
    """ResNet-50 (arXiv:1512.03385, table 1): [n, channels, h, w] to logits; 25,557,032 parameters for colour pictures
    and 1,000 classes."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 7, 2, 3, bias=False), norm(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    before = 64
    for width, blocks, stride in STAGES:
        for i in range(blocks):
            layers.append(Bottleneck(before, width, stride if i == 0 else 1, norm))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits, with the config's normalisation."""
    norms: dict[str, Norm] = {
        "batch": lambda channels: GhostNorm(channels, cfg.group, cfg.averaging),
        "renorm": lambda channels: BatchRenorm(channels, cfg.group, cfg.steps, cfg.averaging),
        "group": lambda channels: GroupNorm(cfg.channel_groups, channels),
    }
    norm, channels = norms[cfg.norm], d.x.shape[1]
    if cfg.norm == "group" and (64 if cfg.network == "resnet50" else cfg.width) % cfg.channel_groups:
        raise Problem(f"evalnorm: channels do not fall into channel_groups = {cfg.channel_groups}; take a divisor")
    body = (
        resnet50(channels, d.classes, norm)
        if cfg.network == "resnet50"
        else chain(channels, d.classes, cfg.width, norm)
    )
    return nn.Sequential(Standardise(d.mean, d.std), body)
