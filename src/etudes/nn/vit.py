"""The vision transformer: a picture as a row of patches, read by a transformer's encoder.

Paper: An Image is Worth 16x16 Words, Dosovitskiy et al. 2021, arXiv:2010.11929, sec. 3.1 (the network, and the hybrid
whose patches come from a residual network) and table 1 (the sizes).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem

EPS = 1e-6  # of the layer norms, as in the authors' code
Pool = Literal["token", "mean"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), for tokens x: [n, t, width]; all tokens see each other.

    The norms stand before the parts (eq. 2 and 3). Nothing is dropped.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        if width % heads:
            raise Problem(f"{width} channels do not fall into {heads} heads; take a multiple of {heads}")
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


def blocks(width: int, heads: int, depth: int) -> nn.Sequential:
    """So many blocks, one behind the other, with four times the width inside their MLPs."""
    return nn.Sequential(*(Block(width, heads, 4 * width) for _ in range(depth)))


class Patches(nn.Module):
    """Pictures [n, channels, side, side] to tokens [n, (side / patch)^2, width]: a linear map of each patch, plus what
    is learnt for its place (eq. 1)."""

    def __init__(self, side: int, patch: int, channels: int, width: int) -> None:
        super().__init__()
        if side % patch:
            raise Problem(f"a picture of {side} pixels does not fall into patches of {patch}")
        self.cut = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(x).flatten(2).transpose(1, 2) + self.places


class ViT(nn.Module):
    """A network [n, channels, side, side] -> logits [n, classes].

    What the classifier reads is the token that stands before the patches (`pool="token"`, the paper's), or the mean of
    the patches' tokens ("mean": Beyer et al. 2022, arXiv:2205.01580). ViT-B/16 is side 224, patch 16, width 768, depth
    12 and 12 heads: 86,567,656 parameters with 1,000 classes.
    """

    def __init__(
        self,
        side: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        classes: int,
        channels: int = 3,
        pool: Pool = "token",
    ) -> None:
        super().__init__()
        self.patches = Patches(side, patch, channels, width)
        if pool == "token":
            self.token = nn.Parameter(torch.zeros(width))
            self.token_place = nn.Parameter(0.02 * torch.randn(width))
        self.pool = pool
        self.blocks = blocks(width, heads, depth)
        self.norm = nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x)
        if self.pool == "token":
            first = (self.token + self.token_place).expand(len(x), 1, -1)
            tokens = torch.cat([first, tokens], 1)
        seen = self.norm(self.blocks(tokens))
        logits: Tensor = self.head(seen[:, 0] if self.pool == "token" else seen.mean(1))
        return logits
