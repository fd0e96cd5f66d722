"""Lines to bytes and back: the idea of the study, as two pure functions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etudes.data.tokens import Tokenizer
from etudes.retrieval.embedders import Embedder
from etudes.studies.language.lossy_text.codes import Codec, pack, unpack
from etudes.studies.language.lossy_text.network import Writer, pad, write_lines

TOGETHER = 256  # lines that are written at once


def compress(lines: Sequence[str], embedder: Embedder, codec: Codec) -> bytes:
    """The file of the lines: the embedding phi(x) of each, in the codec's few bits, and nothing else of them."""
    return pack(codec, embedder.encode(list(lines)))


def decompress(data: bytes, inverter: Writer, tokenizer: Tokenizer) -> list[str]:
    """The lines that the inverter writes for the file's embeddings e, the most probable token at a time:

    x = arg max p(x | e),    phi(x) near e    (Morris et al. 2023, arXiv:2310.06816, sec. 3)
    """
    return invert(inverter, tokenizer, unpack(data))


def invert(
    model: Writer, tokenizer: Tokenizer, vectors: np.ndarray, choose: Callable[[Tensor], Tensor] | None = None
) -> list[str]:
    """The lines that the inverter writes for vectors [n, width]: the most probable tokens, or as chosen."""
    more: dict[str, Any] = {"choose": choose} if choose else {}
    found: list[str] = []
    with torch.no_grad():
        for part in torch.from_numpy(vectors).to(model.bias.device).split(TOGETHER):
            lines = write_lines(model, model.read(model.conditions_of(part)), tokenizer.start, **more)
            found += [tokenizer.decode(line).strip() for line in lines]
    return found


def correct(
    model: Writer, tokenizer: Tokenizer, vectors: np.ndarray, texts: Sequence[str], embedded: np.ndarray
) -> list[str]:
    """The corrector's lines for vectors [n, width], given hypotheses and their embeddings [n, width]: a step of

    p(x_t+1 | e) from (e, phi(x_t), e - phi(x_t), x_t)    (sec. 3)
    """
    device, found = model.bias.device, []
    rows, lengths = pad([tokenizer.encode(text)[: model.context] for text in texts], tokenizer.start)
    e, h = (torch.from_numpy(x).to(device) for x in (vectors, embedded))
    with torch.no_grad():
        for own in torch.arange(len(e)).split(TOGETHER):
            state = model.read(model.conditions_of(e[own], h[own]), rows[own].to(device), lengths[own].to(device))
            found += [tokenizer.decode(line).strip() for line in write_lines(model, state, tokenizer.start)]
    return found
