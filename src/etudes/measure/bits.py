"""How well a network predicts text, in a unit that does not depend on the tokenizer."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.measure.error import evaluation_mode

ENTRIES = 1 << 22  # of the logits held at once: 16 MB


class Tokens(Protocol):
    """What is asked of a tokenizer here, as `etudes.data.tokens` makes them."""

    start: int

    def encode(self, text: str) -> list[int]: ...
    def lost_bytes(self, text: str) -> float: ...


def nats(model: nn.Module, tokens: Tensor, window: int, stride: int) -> Tensor:
    """-log p of every token but the first, float64 [n - 1], each given at most `window` tokens before it.

    model(tokens int64 [m, t]) gives logits [m, t, vocabulary]; tokens: int64 [n]. Windows begin every `stride` tokens,
    and each scores what the one before it did not reach: all but those in the first window are predicted from at least
    window - stride + 1 tokens, or from all there are. stride = window is cheapest; a smaller one is closer to what the
    network can do. Raises Problem unless 1 <= stride <= window.
    """
    if not 1 <= stride <= window:
        raise Problem(f"a stride of {stride} tokens does not fit a window of {window}; take one from 1 to {window}")
    count = len(tokens) - 1
    if count < 1:
        return torch.zeros(0, dtype=torch.float64)
    begins = [0, *range(stride, max(count - window, 0) + stride, stride)] if count > window else [0]
    # The last window would be shorter. On its right side, where nothing that counts can see it, it is filled up.
    padded = functional.pad(tokens, (0, begins[-1] + window - count))
    found = torch.empty(count, dtype=torch.float64)
    done = 0
    with evaluation_mode(model):
        rows = max(1, ENTRIES // (window * _vocabulary(model, padded[:1])))
        for some in _in_groups(begins, rows):
            block = torch.stack([padded[b : b + window + 1] for b in some])
            logits = model(block[:, :-1])
            losses = functional.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten(), reduction="none")
            for b, loss in zip(some, losses.view(len(some), window).double().cpu(), strict=True):
                end = min(b + window, count)
                found[done:end] = loss[done - b : end - b]
                done = end
    return found


def bits_per_byte(model: nn.Module, tokenizer: Tokens, works: Sequence[str], window: int, stride: int) -> float:
    """Bits that the network needs for a byte of the works in UTF-8, each work read from its start token on.

    For the same text this compares networks with any tokenizers: bytes that a tokenizer does not give back are charged
    8 bits each. Windows as in `nats`. Raises Problem on works without text.
    """
    size = sum(len(work.encode()) for work in works)
    if not size:
        raise Problem("there is no text to measure bits per byte on; take a set whose held-out part has some")
    device = next(model.parameters()).device
    total = 0.0
    for work in works:
        tokens = torch.tensor([tokenizer.start, *tokenizer.encode(work)], device=device)
        total += nats(model, tokens, window, stride).sum().item() / math.log(2) + 8 * tokenizer.lost_bytes(work)
    return total / size


def unigram_bits(train: Sequence[str], works: Sequence[str]) -> float:
    """Bits per byte of the works for whoever knows how often each byte occurs in `train`, and no more.

    The trivial baseline. One is added to every count. Raises Problem on works without text.
    """
    seen = _bytes(works)
    if not seen.sum():
        raise Problem("there is no text to measure bits per byte on; take a set whose held-out part has some")
    counts = _bytes(train) + 1
    return ((counts.sum().log2() - counts.log2()) @ seen / seen.sum()).item()


def _bytes(works: Sequence[str]) -> Tensor:
    """How often each byte occurs in the works: float64 [256]."""
    data = torch.frombuffer(bytearray("".join(works).encode()) or bytearray(1), dtype=torch.uint8)
    return torch.bincount(data, minlength=256).double() * any(works)


def _vocabulary(model: nn.Module, one: Tensor) -> int:
    return model(one[None]).shape[-1]


def _in_groups(items: Sequence[int], size: int) -> list[Sequence[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
