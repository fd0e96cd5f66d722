"""RoBERTa's network: BERT's encoder with learnt positions, and a head that names the token of any place.

Papers: RoBERTa, Liu et al. 2019, arXiv:1907.11692; BERT, Devlin et al. 2019, arXiv:1810.04805, whose block it keeps.
nn/bert.py reads BERT's encoder without training it; this one trains, and knows its tokens back.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.attention import SHORT, check

EPS = 1e-5  # of the norms, as in the paper's code


class Block(nn.Module):
    """norm(x + attention(x)), then norm(x + down(gelu(up(x)))), with dropout on both; x: [n * t, width].

    Also on the attention weights, as there. `unseen` is bool [n, t], True where nobody looks at a token (padding);
    None: all are seen. `wanted`: rows of x that are asked for alone; None: all.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, EPS)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, EPS)

    def forward(self, x: Tensor, n: int, unseen: Tensor | None, wanted: Tensor | None = None) -> Tensor:
        rate = self.dropout if self.training else 0.0
        seen = self._look(self.qkv(x), n, unseen, rate)
        if wanted is not None:
            seen, x = seen[wanted], x[wanted]
        x = self.norm1(x + functional.dropout(self.out(seen), rate))
        hidden = functional.gelu(self.up(x))
        return self.norm2(x + functional.dropout(self.down(hidden), rate))

    def _look(self, qkv: Tensor, n: int, unseen: Tensor | None, rate: float) -> Tensor:
        """What each token sees [n * t, width], from the projections [n * t, 3 * width].

        On a CPU the scores of short texts are written out: PyTorch's fused attention is slow backward in bf16 there.
        """
        q, k, v = qkv.view(n, -1, 3, self.heads, qkv.shape[1] // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        t, d = q.shape[2:]
        if q.device.type != "cpu" or t > SHORT:
            mask = None if unseen is None else ~unseen[:, None, None]
            seen = functional.scaled_dot_product_attention(q, k, v, mask, rate)
        else:
            scores = q @ k.transpose(2, 3) * d**-0.5
            if unseen is not None:
                scores = scores.masked_fill(unseen[:, None, None], -math.inf)
            seen = functional.dropout(scores.softmax(-1), rate) @ v
        return seen.transpose(1, 2).reshape(n * t, self.heads * d)


class Roberta(nn.Module):
    """A network tokens int64 [n, t] -> vectors [n, t, width], t <= `context`; `logits` makes tokens of vectors.

    `pad` is the token that fills short rows on their right: no other token sees it, and its own vectors mean nothing.
    The head's matrix is the embedding's. RoBERTa's base is vocabulary 50265, width 768, depth 12, heads 12, context
    512, dropout 0.1. Departure: matrices begin with deviations of 1 / sqrt(inputs), as 0.02 is too little for narrow
    networks. Raises Problem on sizes that do not fit each other, and on more tokens than the context.
    """

    def __init__(
        self, vocabulary: int, width: int, depth: int, heads: int, context: int, dropout: float = 0.0, pad: int = 0
    ) -> None:
        super().__init__()
        check(vocabulary, width, depth, heads, heads, context)
        if not 0 <= dropout < 1 or not 0 <= pad < vocabulary:
            raise Problem(f"dropout lies in [0, 1) and pad is one of the tokens; they cannot be {dropout} and {pad}")
        self.context, self.dropout, self.pad = context, dropout, pad
        self.embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(context, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width, dropout) for _ in range(depth))
        self.dense = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, EPS)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """The vectors [n, t, width]; with `wanted`, bool [n, t], those of m wanted places alone [m, width].

        In training 15 % of the places are wanted: the last layer then makes its sums and its wide layer for them alone,
        which takes a third of the time from a network of two layers.
        """
        n, t = tokens.shape
        if t > self.context:
            raise Problem(f"this network sees {self.context} tokens at once, not {t}; give it fewer")
        unseen = tokens == self.pad
        x = self.norm(self.embedding(tokens) + self.position_embedding.weight[:t]).flatten(0, 1)
        x = functional.dropout(x, self.dropout, self.training)
        padding = unseen if bool(unseen.any()) else None
        for block in self.blocks[:-1]:
            x = block(x, n, padding)
        if wanted is None:
            return self.blocks[-1](x, n, padding).view(n, t, -1)
        return self.blocks[-1](x, n, padding, wanted.flatten().nonzero()[:, 0])

    def logits(self, vectors: Tensor) -> Tensor:
        """The logits [..., vocabulary] of vectors [..., width]: hand over those of hidden places alone, the matrix is
        large."""
        hidden = self.head_norm(functional.gelu(self.dense(vectors)))
        return functional.linear(hidden, self.embedding.weight, self.bias)


def waves(places: int, width: int) -> Tensor:
    """Vectors [places, width] of cosines and sines of width / 2 rates between 0 and pi: of length sqrt(width / 2), and
    nearly orthogonal where places <= width / 2. A shift by one place is the same rotation everywhere."""
    angles = torch.arange(places)[:, None] * _rates(width)
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(1)


@torch.no_grad()
def look_beside(model: Roberta, score: float = 8.0) -> Roberta:
    """The network, in place, with heads that begin by looking at the places beside: the first head of each layer one
    place back, the second one ahead, the third two back and so on.

    Positions p become `waves`, as large as the embedding of tokens. Queries begin as A p, keys as A R p with the same
    random A, and R the rotation that moves a position to where the head looks from. A'A is near a multiple of the unit
    matrix, so that the place looked for has about `score` before the softmax, and the others have 0. Without this a
    small network rests long on a plateau: it has to find its neighbours before their vectors are of use. (Mimetic
    initialisation, Trockman and Kolter 2023, arXiv:2305.09828, also lets queries and keys begin alike.)
    """
    width, scale = model.position_embedding.weight.shape[1], model.embedding.weight.std()
    model.position_embedding.weight.copy_(scale * math.sqrt(2) * waves(model.context, width))
    for block in model.blocks:
        size = width // block.heads
        deviation = math.sqrt(2 * score / (width * math.sqrt(size)))
        for head in range(block.heads):
            shift = (head // 2 + 1) * (1 if head % 2 == 0 else -1)
            begin = deviation * torch.randn(size, width)
            block.qkv.weight[head * size : (head + 1) * size] = begin
            block.qkv.weight[width + head * size : width + (head + 1) * size] = begin @ rotation(width, shift)
    return model


def _rates(width: int) -> Tensor:
    return math.pi * (torch.arange(width // 2) + 0.5) / (width // 2)


def rotation(width: int, shift: int) -> Tensor:
    """The matrix [width, width] that makes the waves of place i into those of place i + shift."""
    turn = _rates(width) * shift
    blocks = torch.stack([torch.stack([turn.cos(), -turn.sin()], -1), torch.stack([turn.sin(), turn.cos()], -1)], 1)
    return torch.block_diag(*blocks)
