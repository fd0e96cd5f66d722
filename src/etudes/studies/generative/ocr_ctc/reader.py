"""The network that reads lines: convolutions, their height folded into channels, an encoder, odds for each frame."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem

Encoder = Literal["none", "lstm", "transformer"]
Stride = Literal[2, 4, 8]  # pixels across of a frame


class Reader(nn.Module):
    """Ink [n, 1, height, w] in [0, 1], 0 for paper, with the `widths` [n] of what is written, to logits [n, frames,
    classes] and the frames [n] that count.

    Three blocks of a convolution, batch norm, ReLU and a pool halve the height three times and the width as often as
    `stride` says. What is left of the height goes into the channels, NCHW -> N W' (C H'), or with fold="max" each
    column's largest values are kept (Retsinas et al. 2024, arXiv:2404.11339). In every block the columns beyond a
    line's end are set to 0, so that white paper to its right changes nothing. Raises Problem on a height that cannot
    be halved three times.
    """

    def __init__(
        self,
        height: int,
        classes: int,
        width: int,
        encoder: Encoder = "lstm",
        layers: int = 1,
        fold: Literal["stack", "max"] = "stack",
        shortcut: bool = False,
        stride: Stride = 4,
    ) -> None:
        super().__init__()
        if height % 8:
            raise Problem(f"lines of {height} pixels cannot be halved three times; take a height of 16, 24, 32 or 40")
        channels = (1, width, 2 * width, 4 * width)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in itertools.pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.fold = fold
        self.across = tuple(2 if stride > 2**i else 1 for i in range(3))  # how much narrower each block's pool makes it
        folded = channels[-1] * (height // 8 if fold == "stack" else 1)
        self.size = 8 * width
        self.into = nn.Linear(folded, self.size)
        self.encoder = _encoder(encoder, self.size, layers)
        self.head = nn.Linear(self.size, classes)
        # a second way to the loss, around the encoder, while the network learns (Retsinas et al. 2024)
        self.around = nn.Conv1d(self.size, classes, 3, 1, 1) if shortcut else None

    def forward(self, ink: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        features, frames = self.features(ink, widths)
        return self.read(features, frames), frames

    def features(self, ink: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder is given, [n, frames, size], and the frames [n] that count: one a stride begun."""
        x, left = ink, widths
        for convolution, norm, across in zip(self.convolutions, self.norms, self.across, strict=True):
            columns = torch.arange(x.shape[-1], device=x.device)
            x = functional.relu(norm(convolution(x))) * (columns < left[:, None])[:, None, None]
            x = functional.max_pool2d(x, (2, across), ceil_mode=True)
            left = (left + across - 1).div(across, rounding_mode="floor")
        x = x.amax(2) if self.fold == "max" else x.flatten(1, 2)
        return functional.relu(self.into(x.transpose(1, 2))), left

    def read(self, features: Tensor, frames: Tensor) -> Tensor:
        if self.encoder is None:
            return self.head(features)
        return self.head(self.encoder(features, frames))

    def shortcut(self, features: Tensor) -> Tensor | None:
        """The logits of the way around the encoder, None without it."""
        return None if self.around is None else self.around(features.transpose(1, 2)).transpose(1, 2)


class Recurrence(nn.Module):
    """Layers of a bidirectional LSTM over the frames that count, each with a way around it, as the transformer has.

    One LSTM reads forwards, one backwards from the last frame: as PyTorch's on packed sequences, which is slower on a
    processor.
    """

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        ways = [nn.LSTM(size, size // 2, batch_first=True) for _ in range(2 * layers)]
        self.forwards, self.backwards = nn.ModuleList(ways[:layers]), nn.ModuleList(ways[layers:])

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], device=x.device)
        turned = torch.where(place < frames[:, None], frames[:, None] - 1 - place, place)[..., None]
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            mirrored = x.gather(1, turned.expand_as(x))
            ahead, behind = forwards(x)[0], backwards(mirrored)[0]
            x = x + torch.cat([ahead, behind.gather(1, turned.expand_as(behind))], -1)
        return x


class Attention(nn.Module):
    """A transformer's encoder with sinusoidal positions, blind beyond the frames that count."""

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(size, 4, 2 * size, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        beyond = torch.arange(x.shape[1], device=x.device) >= frames[:, None]
        return self.blocks(x + positions(x.shape[1], x.shape[2]).to(x), src_key_padding_mask=beyond)


def positions(n: int, size: int) -> Tensor:
    """Sines and cosines [n, size] of the position, at wavelengths from 2 pi to 10,000 times that (Vaswani et al. 2017,
    arXiv:1706.03762, sec. 3.5)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, size, 2) / size)
    angles = torch.arange(n)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def _encoder(kind: Encoder, size: int, layers: int) -> nn.Module | None:
    return {
        "none": lambda: None,
        "lstm": lambda: Recurrence(size, layers),
        "transformer": lambda: Attention(size, layers),
    }[kind]()


def classes_of(texts: Sequence[str], letters: str) -> list[Tensor]:
    """Each text as classes int64 [length]: 1 for the first of the letters, as 0 is the blank. Others are left
    out."""
    place = {letter: i for i, letter in enumerate(letters, start=1)}
    return [torch.tensor([place[letter] for letter in text if letter in place], dtype=torch.int64) for text in texts]


def ctc_loss(logits: Tensor, frames: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """-log p(text | frames), the mean over lines of that divided by the text's length (Graves et al. 2006, eq. 14).

    p is the sum over all paths that collapse to the text. logits: [n, t, classes], of which `frames` [n] count; class 0
    is the blank. In float32, as a path's probability is a product of many.
    """
    lengths = torch.tensor([len(target) for target in targets])
    odds = logits.float().log_softmax(-1).transpose(0, 1)
    return functional.ctc_loss(odds, torch.cat(list(targets)).to(odds.device), frames, lengths.to(odds.device))


def frames_of(widths: Tensor, stride: Stride) -> Tensor:
    """The frames [n] of lines of these widths in pixels: one a stride begun."""
    return (widths + stride - 1).div(stride, rounding_mode="floor")


def slant(ink: Tensor, slants: Tensor, heights: Tensor) -> Tensor:
    """Lines [n, 1, h, w] each leaning by its slant (pixels across a pixel up) and made so many times as high, [n]."""
    n, _, h, w = ink.shape
    zero, one = torch.zeros_like(slants), torch.ones_like(slants)
    rows = torch.stack([one, slants * h / w, zero, zero, 1 / heights, zero], 1)  # in units of half a picture
    grid = functional.affine_grid(rows.view(n, 2, 3), list(ink.shape), align_corners=False)
    return functional.grid_sample(ink, grid, align_corners=False)
