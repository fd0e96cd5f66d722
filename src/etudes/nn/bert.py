"""BERT's encoder: every token of a text sees all the others.

Paper: BERT, Devlin et al. 2019, arXiv:1810.04805, sec. 3; its block is the Transformer's of Vaswani et al. 2017,
arXiv:1706.03762, sec. 3.1, whose norm stands behind each sum.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYER = {  # our name of a layer's parts -> the transformers library's, several where ours has them under each other
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}


class Linear(nn.Module):
    """A matrix and a bias without first values: nothing is drawn for what is read from a file."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, into))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Words(nn.Module):
    """The vector [width] of each of a vocabulary's tokens, int64 [n] -> [n, width]; without first values."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens, self.weight)


class Block(nn.Module):
    """norm(x + attention(x)), then norm(x + down(gelu(up(x)))), for the tokens of several texts, x: [all, width]."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps)
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        seen = [self._seen(part) for part in self.qkv(x).split(lengths)]
        x = self.norm1(x + self.out(torch.cat(seen)))
        found: Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return found

    def _seen(self, qkv: Tensor) -> Tensor:
        """What the t tokens of one text see [t, width], from their projections [t, 3 * width]."""
        q, k, v = qkv.view(1, len(qkv), 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(qkv), -1)


class Bert(nn.Module):
    """A network (tokens int64 [t] of each text) -> the vectors [t, width] of each text's tokens, t <= `context`.

    Texts lie behind each other and not in the rows of a rectangle: none is padded, and so none costs more, or comes out
    otherwise than by rounding, because of the others. All tokens are of the first segment, and nothing is dropped.
    Weights have no first values.
    """

    def __init__(
        self, vocabulary: int, width: int, depth: int, heads: int, hidden: int, context: int, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.context = context
        self.words: nn.Module = Words(vocabulary, width)
        self.places = nn.Parameter(torch.empty(context, width))
        self.segment = nn.Parameter(torch.empty(width))
        self.norm = nn.LayerNorm(width, eps)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, eps) for _ in range(depth))

    def forward(self, texts: Sequence[Tensor]) -> list[Tensor]:
        lengths = [len(text) for text in texts]
        places = torch.cat([self.places[:length] for length in lengths])
        x = self.norm(self.words(torch.cat(list(texts))) + self.segment + places)
        for block in self.blocks:
            x = block(x, lengths)
        return list(x.split(lengths))


def from_checkpoint(weights: Mapping[str, Tensor], heads: int, eps: float = 1e-12) -> Bert:
    """The network with the weights of a BertModel of the transformers library, in evaluation mode."""
    begin = {"words.weight": "word_embeddings", "places": "position_embeddings", "segment": "token_type_embeddings"}
    ours = {name: weights[f"embeddings.{theirs}.weight"] for name, theirs in begin.items()}
    ours["segment"] = ours["segment"][0]
    depth = sum(name.endswith(".intermediate.dense.bias") for name in weights)
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for i in range(depth):
            for name, parts in LAYER.items():
                ours[f"blocks.{i}.{name}.{kind}"] = torch.cat([weights[f"encoder.layer.{i}.{p}.{kind}"] for p in parts])
    hidden, (vocabulary, width) = len(ours["blocks.0.up.bias"]), ours["words.weight"].shape
    model = Bert(vocabulary, width, depth, heads, hidden, len(ours["places"]), eps)
    model.load_state_dict(ours, assign=True)
    return model.eval()
