"""The U-Net of denoising diffusion.

Paper: Denoising Diffusion Probabilistic Models, Ho, Jain, Abbeel 2020, arXiv:2006.11239, appendix B, after PixelCNN++
and Wide ResNet: residual blocks with group normalisation, the time added in each, self-attention at a low resolution.
"""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem


def embed(t: Tensor, width: int) -> Tensor:
    """Sines and cosines [n, width], float32, of the indices t: int64 [n]; width is even and at least 4.

    Wavelengths rise geometrically from 2 pi to 20,000 pi (Vaswani et al. 2017, arXiv:1706.03762, sec. 3.5).
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, device=t.device, dtype=torch.float32))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation over 32 groups as in the paper, over fewer where a group would have less than its 4 channels."""
    return nn.GroupNorm(math.gcd(32, channels // 4), channels, eps=1e-6)


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class ResBlock(nn.Module):
    """shortcut(x) + conv(drop(silu(norm(conv(silu(norm(x))) + time)))); a 1x1 convolution where channels change."""

    def __init__(self, channels: int, out: int, time: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(time, out)
        self.norm2 = group_norm(out)
        self.drop = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.time(time)[:, :, None, None].to(h.dtype)
        return self.shortcut(x) + self.conv2(self.drop(functional.silu(self.norm2(h))))


class Attention(nn.Module):
    """x + attention over its h*w places, one head of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        seen = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.out(seen.transpose(1, 2).reshape(n, c, h, w))


class Stage(nn.Module):
    """A residual block, with attention behind it or not."""

    def __init__(self, channels: int, out: int, time: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.block = ResBlock(channels, out, time, dropout)
        self.attention = Attention(out) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.block(x, time))


class UNet(nn.Module):
    """A network (x [n, channels, h, w], t int64 [n]) -> [n, channels, h, w] whose first answer is 0.

    Level l has width * multipliers[l] channels and h / 2^l by w / 2^l pixels; `attention` names the levels with
    attention behind every block, and the middle always has it. Ho et al.'s for CIFAR-10 is width 128, multipliers
    (1, 2, 2, 2), blocks 2, attention (1,), dropout 0.1: 35,746,307 parameters. The one departure is that strided
    convolutions pad on all sides. Raises Problem on a width that 4 does not divide, on attention at a level that does
    not exist and on pictures that cannot be halved once for each level after the first.

    On a CPU it belongs in contiguous memory: PyTorch's group normalisation is there some twenty times slower in
    channels_last, and convolutions in bf16 gain less than a tenth from it.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Collection[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise Problem(f"a U-Net cannot be {width} channels wide; take a multiple of 4")
        if missing := sorted(set(attention) - set(range(len(multipliers)))):
            raise Problem(
                f"a U-Net of {len(multipliers)} levels, counted from 0, has no level {missing[0]} to attend at"
            )
        self.width, self.stride, time = width, 2 ** (len(multipliers) - 1), 4 * width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, skips = width, [width]
        for level, multiplier in enumerate(multipliers):
            if level:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
            for _ in range(blocks):
                self.down.append(Stage(now, width * multiplier, time, dropout, level in attention))
                now = width * multiplier
                skips.append(now)
        self.middle = nn.ModuleList(Stage(now, now, time, dropout, attends) for attends in (True, False))
        for level in reversed(range(len(multipliers))):
            out = width * multipliers[level]
            for _ in range(blocks + 1):
                self.up.append(Stage(now + skips.pop(), out, time, dropout, level in attention))
                now = out
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(now, now, 3, padding=1)))
        self.head = nn.Sequential(group_norm(now), nn.SiLU(), zero_init(nn.Conv2d(now, channels, 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if x.shape[-1] % self.stride or x.shape[-2] % self.stride:
            raise Problem(f"this U-Net takes pictures with sides that {self.stride} divides, not {tuple(x.shape[-2:])}")
        with torch.autocast(x.device.type, enabled=False):  # bf16 would make one of many neighbouring indices
            time = self.time(embed(t, self.width))
        x = self.stem(x)
        skips = [x]
        for layer in self.down:
            x = layer(x, time) if isinstance(layer, Stage) else layer(x)
            skips.append(x)
        for stage in self.middle:
            x = stage(x, time)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], dim=1), time) if isinstance(layer, Stage) else layer(x)
        return self.head(x)
