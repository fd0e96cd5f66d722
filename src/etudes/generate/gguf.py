"""Files of llama.cpp's format GGUF: facts by name, and tensors whose weights are packed into few bits.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the packings are ggml's Q4_1 and Q8_0, blocks of 32
weights each with numbers of their own in float16.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem

BLOCK = 32  # packed weights that share a scale
_NUMBERS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")))  # by GGUF's kind
_TEXT, _LIST = 8, 9
_F32, _Q4_1, _Q8_0 = 0, 3, 8
_BLOCKS = {_F32: (1, 4), _Q4_1: (BLOCK, 4 + BLOCK // 2), _Q8_0: (BLOCK, 2 + BLOCK)}  # weights, bytes


class Gguf:
    """A file of the format, version 2 or 3. Raises Problem where it is none, or holds weights packed in other ways."""

    def __init__(self, path: Path) -> None:
        self._at = 0
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            if bytes(self._data[:4]) != b"GGUF" or self._number("4xI") not in (2, 3):
                raise Problem(f"{path} is no GGUF file of version 2 or 3; fetch it again")
            tensors, facts = self._number("Q"), self._number("Q")
            self.facts: dict[str, Any] = {self._text(): self._value(self._number("I")) for _ in range(facts)}
            self._places = dict(self._place() for _ in range(tensors))
        except (struct.error, ValueError):  # an empty file cannot be mapped
            raise Problem(f"{path} ends too soon; fetch it again") from None
        unknown = {kind for _, kind, _ in self._places.values()} - set(_BLOCKS)
        if unknown:
            raise Problem(f"{path} packs weights in ways that are not read here: {', '.join(map(str, unknown))}")
        step = self.facts.get("general.alignment", 32)
        self._begin = -(-self._at // step) * step

    def shape(self, name: str) -> tuple[int, ...]:
        return self._places[name][0]

    def tensor(self, name: str, into: np.ndarray | None = None) -> np.ndarray:
        """The weights of a name, float32, the last axis the one along which they lie; written into an array if given,
        which has their number and no gaps."""
        shape, kind, offset = self._places[name]
        found = np.empty(shape, np.float32) if into is None else into
        weights, size = _BLOCKS[kind]
        blocks = found.size // weights
        packed = np.frombuffer(self._data, np.uint8, blocks * size, self._begin + offset).reshape(blocks, size)
        _UNPACKED[kind](packed, found.reshape(blocks, weights))
        return found

    def _number(self, form: str) -> Any:
        (found,) = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return found

    def _text(self) -> str:
        size = self._number("Q")
        self._at += size
        return str(self._data[self._at - size : self._at], "utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            return self._number(_NUMBERS[kind])
        item, count = self._number("I"), self._number("Q")
        if item in (_TEXT, _LIST):
            return [self._value(item) for _ in range(count)]
        found = struct.unpack_from(f"<{count}{_NUMBERS[item]}", self._data, self._at)
        self._at += struct.calcsize(f"<{count}{_NUMBERS[item]}")
        return list(found)

    def _place(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name, axes = self._text(), self._number("I")
        shape = tuple(self._number("Q") for _ in range(axes))[::-1]  # the file begins with the inner axis
        return name, (shape, self._number("I"), self._number("Q"))


def _numbers(packed: np.ndarray, count: int) -> np.ndarray:
    """The first `count` numbers of each block [blocks, bytes], kept as float16, as float32."""
    return packed[:, : 2 * count].copy().view("<f2").astype(np.float32)


def _plain(packed: np.ndarray, found: np.ndarray) -> None:
    found[:] = packed.view("<f4")


def _four_bits(packed: np.ndarray, found: np.ndarray) -> None:
    """scale * n + least for the 32 numbers n of 4 bits of a block: the low halves of its bytes, then the high ones."""
    numbers, halves = _numbers(packed, 2), packed[:, 4:]
    np.multiply(halves & 15, numbers[:, :1], out=found[:, : BLOCK // 2])
    np.multiply(halves >> 4, numbers[:, :1], out=found[:, BLOCK // 2 :])
    found += numbers[:, 1:]


def _eight_bits(packed: np.ndarray, found: np.ndarray) -> None:
    """scale * n for the 32 signed bytes n of a block."""
    np.multiply(packed[:, 2:].view(np.int8), _numbers(packed, 1), out=found)


_UNPACKED = {_F32: _plain, _Q4_1: _four_bits, _Q8_0: _eight_bits}
