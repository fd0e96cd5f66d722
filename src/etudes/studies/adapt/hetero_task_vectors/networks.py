"""Two networks that share their trunk: one begins as a residual network, the other as a vision transformer."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem
from etudes.measure.size import count_parameters
from etudes.nn.norm import GroupNorm
from etudes.nn.vit import EPS, Patches, blocks

Kind = Literal["residual", "transformer"]
KINDS: tuple[Kind, Kind] = ("residual", "transformer")
OTHER: dict[Kind, Kind] = {"residual": "transformer", "transformer": "residual"}
GROUPS = 8  # of group normalisation


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) with group norms, and a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(GROUPS, channels), GroupNorm(GROUPS, out)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        straight = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        return straight + self.conv2(functional.relu(self.norm2(self.conv1(active))))


class ResidualStem(nn.Module):
    """Pictures [n, 3, side, side] to tokens [n, (side / patch)^2, width]: a residual network's first stages, whose
    places are the tokens. It begins with ResNet's convolution of 7 x 7 and its `pool`, each of which halves the
    picture, or without it with steps of 4 pixels; each stage but the first halves it again."""

    def __init__(self, channels: Sequence[int], depth: int, pool: bool, side: int, patch: int, width: int) -> None:
        super().__init__()
        first = channels[0]
        if patch != 2 ** (len(channels) + 1):
            raise Problem(f"channels {list(channels)} make tokens of {2 ** (len(channels) + 1)} pixels, not {patch}")
        body: list[nn.Module] = [nn.Conv2d(3, first, 7, 2 if pool else 4, 3, bias=False)]
        body += [nn.MaxPool2d(3, 2, 1)] if pool else []
        for stage, out in enumerate(channels):
            body += [Residual(first, out, 2 if stage else 1)]
            body += [Residual(out, out, 1) for _ in range(depth - 1)]
            first = out
        self.body = nn.Sequential(*body, nn.Conv2d(first, width, 1))
        self.norm = nn.LayerNorm(width, EPS)
        self.places = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.body(x).flatten(2).transpose(1, 2)) + self.places


class PatchStem(nn.Module):
    """Pictures [n, 3, side, side] to tokens [n, (side / patch)^2, width]: the first blocks of a vision transformer."""

    def __init__(self, side: int, patch: int, depth: int, heads: int, width: int) -> None:
        super().__init__()
        self.patches = Patches(side, patch, 3, width)
        self.blocks = blocks(width, heads, depth)
        self.norm = nn.LayerNorm(width, EPS)
        self.places = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.patches(x))) + self.places


class Mixing(nn.Module):
    """x + mlp over tokens, then x + mlp over channels, for x: [n, tokens, width], each of the normalised x (Tolstikhin
    et al. 2021, arXiv:2105.01601, sec. 2). It learns in fewer steps than attention does."""

    def __init__(self, tokens: int, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.among, self.back = nn.Linear(tokens, width), nn.Linear(width, tokens)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.back(functional.gelu(self.among(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Trunk(nn.Module):
    """Tokens [n, tokens, width] to features [n, width]: blocks, a norm, and the mean over tokens. The common part."""

    def __init__(self, kind: str, tokens: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        mixing = (Mixing(tokens, width, hidden) for _ in range(depth))
        self.blocks = blocks(width, heads, depth) if kind == "attention" else nn.Sequential(*mixing)
        self.norm = nn.LayerNorm(width, EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks(tokens)).mean(1)


class Networks(nn.Module):
    """Networks of the kinds asked for, with one trunk and one classifier a set for all of them."""

    def __init__(self, stems: dict[str, nn.Module], trunk: Trunk, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.stems, self.trunk, self.heads = nn.ModuleDict(stems), trunk, nn.ModuleDict(heads)

    def tokens(self, kind: Kind, x: Tensor) -> Tensor:
        """What the trunk is given [n, tokens, width] of pictures in [0, 1]."""
        return self.stems[kind](4 * x - 2)

    def common_share(self, kind: Kind) -> float:
        """The share of a network's parameters that the trunk has; the classifiers of all sets are counted with it."""
        whole = sum(map(count_parameters, (self.stems[kind], self.trunk, self.heads)))
        return count_parameters(self.trunk) / whole
