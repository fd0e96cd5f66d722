"""Sentence encoders that can be trained: our own, those that packages carry, and any of the hub, behind one face.

A sentence's vector is the mean of its tokens' vectors in the last layer.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.tokens import bpe
from etudes.nn.bert import Bert
from etudes.retrieval.embedders import CARRIED, LocalBert, embedder
from etudes.tools.hub import hub_encoder
from etudes.train import seeded

BERT = {  # vocabulary, width, depth, heads, hidden layer and places (arXiv:1810.04805, sec. 3)
    "bert-base-random": (30522, 768, 12, 12, 3072, 512),
    "bert-large-random": (30522, 1024, 24, 16, 4096, 512),
}
Sizes = tuple[int, int, int]  # vocabulary, width, depth of our own


class OwnEncoder(nn.Module):
    """Our Bert as an encoder: rows of tokens -> vectors [n, width]. No row is padded."""

    def __init__(self, network: Bert, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self.network, self.encode, self.width = network, encode, int(network.places.shape[1])

    @property
    def words(self) -> nn.Module:
        return self.network.words

    @property
    def blocks(self) -> nn.ModuleList:
        return self.network.blocks

    def keep(self, depth: int) -> None:
        """Take away all blocks above the first `depth`."""
        self.network.blocks = self.network.blocks[:depth]

    def forward(self, rows: Sequence[list[int]]) -> Tensor:
        place = self.network.places.device
        found = self.network([torch.tensor(row, device=place) for row in rows])
        return torch.stack([vectors.mean(0) for vectors in found])


class HubEncoder(nn.Module):
    """An encoder of the transformers library: rows of tokens -> vectors [n, width]. Rows are padded, and masked."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        super().__init__()
        self.network, self.width = network, int(network.config.hidden_size)
        self.pad = int(tokenizer.pad_token_id or 0)
        self.encode: Callable[[str], list[int]] = lambda text: list(tokenizer(text, verbose=False)["input_ids"])

    @property
    def words(self) -> nn.Module:
        found: nn.Module = self.network.get_input_embeddings()
        return found

    @property
    def blocks(self) -> nn.ModuleList:
        found: nn.ModuleList = self.network.encoder.layer
        return found

    def keep(self, depth: int) -> None:
        """Take away all blocks above the first `depth`."""
        self.network.encoder.layer = self.network.encoder.layer[:depth]

    def forward(self, rows: Sequence[list[int]]) -> Tensor:
        place = self.words.weight.device
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [self.pad] * (longest - len(row)) for row in rows], device=place)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=place)
        vectors = self.network(input_ids=tokens, attention_mask=mask).last_hidden_state
        return (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


Encoder = OwnEncoder | HubEncoder


def sentence_encoder(run: Run, name: str, pretrained: bool, near: Sequence[str], own: Sizes, depth: int = 0) -> Encoder:
    """An encoder by name, with its first `depth` blocks at most (0: all), or its copy with first weights.

    "minilm" and "e5-small" are carried by packages. "own" has the sizes `own` and tokens made of the texts `near`, and
    is never pretrained; neither are "bert-base-random" and "bert-large-random", which are for where no hub is. Anything
    else is of the hub (see `etudes.tools.hub`). Raises Problem where it cannot be had, or not without pretraining.
    """
    encoder = seeded(run, "encoder", lambda: _encoder(name, pretrained, near, own))
    if depth:
        encoder.keep(depth)
    return encoder


def _encoder(name: str, pretrained: bool, near: Sequence[str], own: Sizes) -> Encoder:
    if name in CARRIED:
        found = embedder(name)
        assert isinstance(found, LocalBert)
        tokenizer, begin = found.tokenizer, found.begin
        network = copy.deepcopy(found.model)  # what is read once is kept for all: it must not be trained
        if not pretrained:
            if not list(network.words.parameters()):
                raise Problem(f"{name} comes packed and has no copy with first weights; take minilm or one of the hub")
            draw_first_weights(network)
        return OwnEncoder(network, lambda text: list(tokenizer.encode(begin + text).ids))
    if name == "own" or name in BERT:
        words = bpe(near, own[0])
        width, depth = own[1:]
        sizes = BERT.get(name, (words.size, width, depth, max(1, width // 32), 4 * width, 512))
        return OwnEncoder(draw_first_weights(Bert(*sizes)), lambda text: [words.start, *words.encode(text)])
    return HubEncoder(*hub_encoder(name, pretrained))


def draw_first_weights(network: Bert) -> Bert:
    """The network with BERT's first weights: matrices normal with deviation 0.02, biases 0 (its sec. A.2)."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    for name, parameter in network.named_parameters():
        if "norm" not in name:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.02)
    return network


def shorten(row: list[int], most: int) -> list[int]:
    """The row's first tokens, at most `most` of them, of which the last stays the row's last: its end mark."""
    return row if len(row) <= most else [*row[: most - 1], row[-1]]


def layer_parameters(encoder: Encoder) -> list[list[nn.Parameter]]:
    """The parameters by layer from below: what is no block's (words, places, the first norm), then each block's."""
    blocks = [list(block.parameters()) for block in encoder.blocks]
    inside = {id(parameter) for block in blocks for parameter in block}
    return [[p for p in encoder.parameters() if id(p) not in inside], *blocks]
