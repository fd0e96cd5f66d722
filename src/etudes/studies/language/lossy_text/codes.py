"""Embeddings in few bits, and the file that holds them: header, what the decoder must know, packed codes."""

import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch

from etudes.core.errors import Problem

Kind = Literal["float", "scalar", "product"]
KINDS: tuple[Kind, ...] = ("float", "scalar", "product")
MAGIC = b"LTX1"
HEADER = struct.Struct("<4sBBHHI")  # magic, kind, bits a code, width, numbers kept of a vector, lines
SAMPLE, ROUNDS = 4000, 8  # vectors that a codebook is learnt from at most; rounds of k-means


@dataclass(frozen=True, eq=False)
class Codec:
    """How vectors [n, width] become whole numbers below 2^bits, and what of it stands in every file.

    float: the vectors as they are, in float32. scalar: each of the first `kept` numbers, less the mean and over the
    deviation, as the nearest of `normal_levels`. product: vectors less the mean in equal pieces, each as the nearest of
    its own 2^bits centroids (Jégou et al. 2011, Product quantization for nearest neighbor search, eq. 8).
    Numbers that are cut away come back as the mean's.
    """

    kind: Kind
    bits: int
    mean: np.ndarray  # float16 [width]
    table: np.ndarray  # float16: deviations [kept] (scalar), centroids [pieces, 2^bits, width / pieces] (product)

    @property
    def length(self) -> int:
        """Codes a line."""
        return len(self.mean) if self.kind == "float" else len(self.table)

    @property
    def code_bytes(self) -> int:
        """Bytes that a line's own codes take."""
        return 4 * len(self.mean) if self.kind == "float" else math.ceil(self.length * self.bits / 8)


@cache
def normal_levels(bits: int) -> np.ndarray:
    """The 2^bits values, float64 and rising, by which a standard normal number is told with the least mean square
    error: each is the mean of what is nearest to it (Max 1960, Quantizing for minimum distortion, eq. 3 and 4).

    >>> normal_levels(1).round(4).tolist()
    [-0.7979, 0.7979]
    """
    if not 1 <= bits <= 8:
        raise Problem(f"a number is told in 1 to 8 bits, not {bits}")
    infinity = torch.tensor([torch.inf], dtype=torch.float64)
    levels = torch.special.ndtri((torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits)
    for _ in range(300):
        ends = torch.cat([-infinity, (levels[1:] + levels[:-1]) / 2, infinity])
        density = torch.exp(-(ends**2) / 2) / math.sqrt(2 * math.pi)
        levels = -density.diff() / torch.special.ndtr(ends).diff()
    return levels.numpy()


def scalar_codec(vectors: np.ndarray, bits: int, kept: int, centred: bool = True) -> Codec:
    """The codec that tells the first `kept` numbers of a vector in `bits` bits each; deviations (and the mean, where
    `centred`) are those of the training vectors [n, width]."""
    if not 1 <= kept <= vectors.shape[1]:
        raise Problem(f"of {vectors.shape[1]} numbers {kept} cannot be kept; take 1 or more, and no more than all")
    normal_levels(bits)
    mean = vectors.mean(0) if centred else np.zeros(vectors.shape[1])
    deviations = np.sqrt(((vectors - mean) ** 2).mean(0))[:kept]
    return Codec("scalar", bits, mean.astype(np.float16), deviations.astype(np.float16))


def product_codec(vectors: np.ndarray, pieces: int, bits: int, rng: np.random.Generator) -> Codec:
    """The codec that tells each of a vector's `pieces` by the nearest of 2^bits centroids, which k-means (Lloyd 1982)
    finds for the training vectors [n, width], from centroids drawn among them."""
    n, width = vectors.shape
    if width % pieces or not 1 <= bits <= 8 or n < 2**bits:
        raise Problem(
            f"{n} vectors of {width} numbers do not give {pieces} equal pieces of 2^{bits} centroids; take pieces that "
            "divide the width, 1 to 8 bits, and as many vectors as centroids or more"
        )
    mean = vectors.mean(0)
    some = (vectors - mean)[rng.permutation(n)[:SAMPLE]]
    split = some.reshape(len(some), pieces, -1).transpose(1, 0, 2)
    centroids = split[:, : 2**bits].copy()
    for _ in range(ROUNDS):
        for piece, own in zip(split, centroids, strict=True):
            near = _nearest(piece, own)
            counts = np.bincount(near, minlength=len(own))
            sums = np.stack([np.bincount(near, piece[:, j], len(own)) for j in range(piece.shape[1])], 1)
            own[counts > 0] = sums[counts > 0] / counts[counts > 0, None]  # one that nothing is near to stays
    return Codec("product", bits, mean.astype(np.float16), centroids.astype(np.float16))


def float_codec(width: int) -> Codec:
    """The codec that keeps float32 numbers as they are."""
    return Codec("float", 32, np.zeros(width, np.float16), np.zeros(0, np.float16))


def quantise(codec: Codec, vectors: np.ndarray) -> np.ndarray:
    """The codes uint8 [n, kept] of vectors [n, width]."""
    centred = vectors - codec.mean.astype(np.float32)
    if codec.kind == "scalar":
        levels = normal_levels(codec.bits)
        scaled = centred[:, : codec.length] / np.maximum(codec.table.astype(np.float32), 1e-6)
        return np.searchsorted((levels[1:] + levels[:-1]) / 2, scaled).astype(np.uint8)
    pieces = centred.reshape(len(centred), codec.length, -1).transpose(1, 0, 2)
    centroids = codec.table.astype(np.float32)
    return np.stack([_nearest(x, own) for x, own in zip(pieces, centroids, strict=True)], 1).astype(np.uint8)


def dequantise(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """The vectors float32 [n, width] that the codes uint8 [n, kept] stand for."""
    found = np.tile(codec.mean.astype(np.float32), (len(codes), 1))
    if codec.kind == "scalar":
        found[:, : codec.length] += normal_levels(codec.bits)[codes] * codec.table.astype(np.float32)
    else:
        chosen = codec.table.astype(np.float32)[np.arange(codec.length), codes]
        found += chosen.reshape(len(codes), -1)
    return found


def _nearest(x: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The number of the nearest centroid [k, d] of each of x: [n, d]."""
    return np.asarray(((centroids**2).sum(1) - 2 * x @ centroids.T).argmin(1))


# The file


def pack(codec: Codec, vectors: np.ndarray) -> bytes:
    """The file of vectors float32 [n, width]: header, mean and table of the codec, and the codes without gaps.

    The mean and the table are what a receiver needs who has only the networks: so they are counted. No lengths stand in
    it: a line ends where the inverter says so.
    """
    n, width = vectors.shape
    head = HEADER.pack(MAGIC, KINDS.index(codec.kind), codec.bits, width, codec.length, n)
    if codec.kind == "float":
        return head + vectors.astype("<f4").tobytes()
    bits = (quantise(codec, vectors)[..., None] >> np.arange(codec.bits)[::-1]) & 1
    shared = codec.mean.astype("<f2").tobytes() + codec.table.astype("<f2").tobytes()
    return head + shared + np.packbits(bits.astype(np.uint8).reshape(n, -1), axis=1).tobytes()


def unpack(data: bytes) -> np.ndarray:
    """The vectors float32 [n, width] that a file stands for. Raises Problem on what `pack` did not write."""
    try:
        magic, kind, bits, width, kept, n = HEADER.unpack_from(data)
    except struct.error:
        raise Problem("this is no file of embeddings: it is too short for a header") from None
    if magic != MAGIC or kind >= len(KINDS) or not bits or not kept or kept > width:
        raise Problem("this is no file of embeddings: its header is none that `pack` writes")
    is_float = KINDS[kind] == "float"
    shape = {"float": (0,), "scalar": (kept,), "product": (kept, 2**bits, width // kept)}[KINDS[kind]]
    shared = 0 if is_float else 2 * (width + math.prod(shape))
    row = 4 * width if is_float else math.ceil(kept * bits / 8)
    if len(data) != HEADER.size + shared + n * row:
        raise Problem(f"this file of embeddings is damaged: it should have {HEADER.size + shared + n * row} bytes")
    if is_float:
        return np.frombuffer(data, "<f4", offset=HEADER.size).reshape(n, width).copy()
    numbers = np.frombuffer(data, "<f2", shared // 2, HEADER.size).astype(np.float16)
    codec = Codec(KINDS[kind], bits, numbers[:width], numbers[width:].reshape(shape))
    rows = np.frombuffer(data, np.uint8, offset=HEADER.size + shared).reshape(n, row)
    split = np.unpackbits(rows, axis=1, count=kept * bits).reshape(n, kept, bits)
    return dequantise(codec, (split << np.arange(bits)[::-1]).sum(2).astype(np.uint8))
