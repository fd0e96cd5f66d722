import struct

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.nn.bert import from_checkpoint
from etudes.retrieval.e5 import PARTS, read, unpack

WIDTH, HIDDEN, VOCABULARY, CONTEXT, HEADS = 32, 64, 6, 5, 2


def packed(rows, rng):
    """Blocks of random weights, uint8 [rows, 18], whose scale is small."""
    scales = rng.uniform(0.01, 0.05, (rows, 1)).astype("<f2").view(np.uint8)
    return np.concatenate([scales, rng.integers(0, 256, (rows, 16), dtype=np.uint8)], 1)


@pytest.fixture
def written(tmp_path):
    """A file in the true layout, and its tensors by name."""
    rng = np.random.default_rng(0)
    sizes = {"fi": (HIDDEN, WIDTH), "fo": (WIDTH, HIDDEN)}
    tensors = {"emb.word": packed(VOCABULARY, rng), "emb.pos": rng.normal(size=(CONTEXT, WIDTH)).astype("<f4")}
    tensors |= {name: rng.normal(size=WIDTH).astype("<f4") for name in ("emb.type", "emb.ln.w", "emb.ln.b")}
    for part in PARTS:
        out, into = sizes.get(part, (WIDTH, WIDTH))
        norm = part.endswith("ln")
        tensors[f"l0.{part}.w"] = rng.normal(size=WIDTH).astype("<f4") if norm else packed(out * into // 32, rng)
        tensors[f"l0.{part}.b"] = rng.normal(size=out).astype("<f4")
    head = b"E5S1" + struct.pack("<i7ifi", 1, WIDTH, 1, HEADS, HIDDEN, VOCABULARY, CONTEXT, 2, 1e-12, 32)
    pieces = b"abcdef"
    tokenizer = struct.pack("<5iQ", VOCABULARY, 0, 2, 1, 3, len(pieces)) + struct.pack("<7I", *range(7))
    tokenizer += struct.pack("<6f", *range(6)) + pieces + struct.pack("<iI", 1, 9) + struct.pack("<IBI", 65, 1, 97)
    listed = sum(2 + len(name) + 21 for name in tensors)
    at, places, data = len(head) + len(tokenizer) + 4 + listed, b"", b""
    for name, values in tensors.items():
        size = values.nbytes
        places += struct.pack("<H", len(name)) + name.encode()
        places += struct.pack("<BIQQ", values.dtype == np.uint8, values.size, at + len(data), size)
        data += values.tobytes()
    path = tmp_path / "tiny.bin"
    path.write_bytes(head + tokenizer + struct.pack("<i", len(tensors)) + places + data)
    return path, tensors


def test_the_network_is_that_of_the_unpacked_weights(written):
    path, tensors = written
    begin = {"emb.pos": "position_embeddings.weight", "emb.ln.w": "LayerNorm.weight", "emb.ln.b": "LayerNorm.bias"}
    weights = {f"embeddings.{theirs}": torch.from_numpy(tensors[ours]) for ours, theirs in begin.items()}
    weights["embeddings.token_type_embeddings.weight"] = torch.from_numpy(tensors["emb.type"])[None]
    weights["embeddings.word_embeddings.weight"] = torch.from_numpy(unpack(tensors["emb.word"]))
    for part, theirs in PARTS.items():
        plain = {kind: tensors[f"l0.{part}.{kind}"] for kind in "wb"}
        if plain["w"].dtype == np.uint8:
            plain["w"] = unpack(plain["w"]).reshape(len(plain["b"]), -1)
        weights[f"encoder.layer.0.{theirs}.weight"] = torch.from_numpy(plain["w"])
        weights[f"encoder.layer.0.{theirs}.bias"] = torch.from_numpy(plain["b"])
    texts = [torch.tensor([0, 4, 2]), torch.tensor([5])]
    with torch.inference_mode():
        for found, wanted in zip(
            read(path, torch.device("cpu"))(texts), from_checkpoint(weights, HEADS)(texts), strict=True
        ):
            torch.testing.assert_close(found, wanted)


def test_a_block_has_a_scale_and_two_halves_a_byte():
    block = np.zeros((1, 18), np.uint8)
    block[0, :2] = np.array([0.5], "<f2").view(np.uint8)
    block[0, 2] = 0xF1
    found = unpack(block)[0]
    assert (found[0], found[16], found[1]) == (-3.5, 3.5, -4.0)


def test_what_is_no_such_file_is_told(written, tmp_path):
    path, _ = written
    (tmp_path / "short.bin").write_bytes(path.read_bytes()[:60])
    with pytest.raises(Problem, match="ends too soon"):
        read(tmp_path / "short.bin", torch.device("cpu"))
    (tmp_path / "other.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(Problem, match="holds no network"):
        read(tmp_path / "other.bin", torch.device("cpu"))
