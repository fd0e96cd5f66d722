"""Arithmetic coding: texts without loss, in as many bits as a language model finds them surprising."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.measure.error import evaluation_mode

BITS = 32  # of the interval's ends
WHOLE, HALF, QUARTER = 1 << BITS, 1 << (BITS - 1), 1 << (BITS - 2)
TOTAL = 1 << 16  # counts into which a distribution is rounded

Choose = Callable[[int, int, np.ndarray], int]  # (line, place, bounds) -> the symbol that stands there


class Model(Protocol):
    """A language model as samplers use it."""

    def parameters(self) -> Iterator[Tensor]: ...
    def start(self, n: int) -> tuple[object, ...]: ...
    def next(self, tokens: Tensor, state: tuple[object, ...]) -> tuple[Tensor, tuple[object, ...]]: ...


class Encoder:
    """Whole numbers' intervals [start, end) of TOTAL, one after the other, as bytes (Witten, Neal and Cleary 1987,
    Arithmetic coding for data compression, fig. 3)."""

    def __init__(self) -> None:
        self.low, self.high, self.waiting = 0, WHOLE - 1, 0
        self.bits: list[int] = []

    def put(self, start: int, end: int) -> None:
        span = self.high - self.low + 1
        self.low, self.high = self.low + span * start // TOTAL, self.low + span * end // TOTAL - 1
        while True:
            if self.high < HALF:
                self._emit(0)
            elif self.low >= HALF:
                self._emit(1)
                self.low, self.high = self.low - HALF, self.high - HALF
            elif self.low >= QUARTER and self.high < HALF + QUARTER:  # the next bit is the other of the one after it
                self.waiting += 1
                self.low, self.high = self.low - QUARTER, self.high - QUARTER
            else:
                return
            self.low, self.high = 2 * self.low, 2 * self.high + 1

    def _emit(self, bit: int) -> None:
        self.bits += [bit, *[1 - bit] * self.waiting]
        self.waiting = 0

    def finish(self) -> bytes:
        """The bytes: two more bits say in which quarter the number lies."""
        self.waiting += 1
        self._emit(int(self.low >= QUARTER))
        return np.packbits(np.array(self.bits, np.uint8)).tobytes()


class Decoder:
    """The way back: `get` finds the symbol whose interval the number lies in."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
        self.low, self.high, self.place = 0, WHOLE - 1, BITS
        self.value = int("".join(map(str, (self.bits + [0] * BITS)[:BITS])), 2)

    def get(self, bounds: np.ndarray) -> int:
        """The symbol, of bounds [symbols + 1] that rise from 0 to TOTAL."""
        span = self.high - self.low + 1
        target = ((self.value - self.low + 1) * TOTAL - 1) // span
        symbol = int(np.searchsorted(bounds, target, "right")) - 1
        start, end = int(bounds[symbol]), int(bounds[symbol + 1])
        self.low, self.high = self.low + span * start // TOTAL, self.low + span * end // TOTAL - 1
        while True:
            if self.high < HALF:
                less = 0
            elif self.low >= HALF:
                less = HALF
            elif self.low >= QUARTER and self.high < HALF + QUARTER:
                less = QUARTER
            else:
                return symbol
            bit = self.bits[self.place] if self.place < len(self.bits) else 0
            self.place += 1
            self.low, self.high = 2 * (self.low - less), 2 * (self.high - less) + 1
            self.value = 2 * (self.value - less) + bit


def bounds_of(logits: Tensor) -> np.ndarray:
    """Distributions [n, v] as bounds int64 [n, v + 1] from 0 to TOTAL: every symbol has one count, and the rest by its
    probability, the last symbol what rounding leaves."""
    sums = logits.double().softmax(-1).cumsum(-1).cpu().numpy()
    n, v = sums.shape
    if v > TOTAL // 4:
        raise Problem(f"{v} symbols are too many for counts of {TOTAL}; take a vocabulary of {TOTAL // 4} or fewer")
    inner = np.floor(np.minimum(sums[:, :-1], 1) * (TOTAL - v)).astype(np.int64) + np.arange(1, v)
    return np.concatenate([np.zeros((n, 1), np.int64), inner, np.full((n, 1), TOTAL)], 1)


def encode(model: Model, lines: Sequence[Sequence[int]], end: int) -> bytes:
    """The bytes of lines of tokens, each closed by the token `end`, which the model also reads before a line.

    All lines' first tokens come first, then their second ones: so the model reads all lines at once, and at every step
    the decoder runs it on the very same numbers, without which the two would not agree.
    """
    out = Encoder()
    closed = [[*line, end] for line in lines]

    def choose(row: int, place: int, bounds: np.ndarray) -> int:
        symbol = closed[row][place]
        out.put(int(bounds[symbol]), int(bounds[symbol + 1]))
        return symbol

    _walk(model, len(lines), end, choose)
    return out.finish()


def decode(model: Model, data: bytes, count: int, end: int) -> list[list[int]]:
    """The `count` lines of tokens that `encode` made into the bytes with the same model, on the same machine."""
    source = Decoder(data)
    return _walk(model, count, end, lambda row, place, bounds: source.get(bounds))


def _walk(model: Model, count: int, end: int, choose: Choose) -> list[list[int]]:
    """The lines whose symbols `choose` names or finds, place by place, the model reading all lines together."""
    lines: list[list[int]] = [[] for _ in range(count)]
    is_open = [True] * count
    last = torch.full((count, 1), end, device=next(model.parameters()).device)
    with evaluation_mode(model):
        state = model.start(count)
        place = 0
        while any(is_open):
            logits, state = model.next(last, state)
            bounds = bounds_of(logits[:, -1])
            for row in range(count):
                if is_open[row]:
                    symbol = choose(row, place, bounds[row])
                    last[row] = symbol
                    is_open[row] = symbol != end
                    lines[row] += [symbol] if symbol != end else []
            place += 1
    return lines
