"""T5: an encoder reads a text, a decoder writes another one token by token.

Papers: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, Raffel et al. 2019,
arXiv:1910.10683, sec. 2.1; its version 1.1, which Flan-T5 is (arXiv:2210.11416), has the gated layer of GLU Variants
Improve Transformer, Shazeer 2020, arXiv:2002.05202, and an output matrix of its own. Positions are known by their
distances alone (Shaw et al. 2018, arXiv:1803.02155, made simpler). Departure: nothing is dropped in training.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem

PAD = 0  # fills a row behind its end, is seen by nobody, and begins every answer, as in T5
Read = tuple[Tensor, Tensor]  # keys and values [n, heads, s, d]
Memory = tuple[tuple[Read, ...], Tensor]  # what each layer of the decoder has of a text, and what may not be seen


def buckets(distances: Tensor, both_ways: bool, count: int = 32, farthest: int = 128) -> Tensor:
    """The bucket 0 .. count - 1 of each distance, the key's position less the query's (int64, any shape).

    Half of the buckets hold one distance each, the other half grow by a factor up to `farthest`, and the last holds all
    beyond (sec. 2.1). Both ways, the upper half of all buckets is for keys that stand behind the query.

    >>> buckets(torch.tensor([-200, -20, -3, 0, 3]), both_ways=False).tolist()
    [31, 17, 3, 0, 0]
    """
    if both_ways:
        count //= 2
        offset = count * (distances > 0).long()
        size = distances.abs()
    else:
        offset = torch.zeros_like(distances)
        size = (-distances).clamp(min=0)
    exact = count // 2
    share = (size.clamp(min=1).float() / exact).log() / math.log(farthest / exact)
    far = (exact + (share * (count - exact)).long()).clamp(max=count - 1)
    return offset + torch.where(size < exact, size, far)


class Attention(nn.Module):
    """softmax(q k + bias) v over heads, x: [n, t, width] -> [n, t, width]; scores are not scaled by the heads' size."""

    def __init__(self, width: int, heads: int, d: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, heads * d, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * d, width, bias=False)

    def read(self, x: Tensor) -> Read:
        """Keys and values [n, heads, s, d] of what is attended to, x: [n, s, width]."""
        return self._parted(self.k(x)), self._parted(self.v(x))

    def forward(self, x: Tensor, read: Read, bias: Tensor) -> Tensor:
        keys, values = read
        weights = (self._parted(self.q(x)) @ keys.transpose(2, 3) + bias).softmax(-1).to(values.dtype)
        return self.out((weights @ values).transpose(1, 2).flatten(2))

    def _parted(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), in a decoder x + attention to the text, x + down(gelu(gate(norm(x))) * up(norm(x)))."""

    def __init__(self, width: int, heads: int, d: int, hidden: int, writes: bool) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, 1e-6)
        self.own = Attention(width, heads, d)
        if writes:
            self.norm2 = nn.RMSNorm(width, 1e-6)
            self.other = Attention(width, heads, d)
        self.norm3 = nn.RMSNorm(width, 1e-6)
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor, read: Read | None = None, seen: Tensor | None = None) -> Tensor:
        own = self.norm1(x)
        x = x + self.own(own, self.own.read(own), bias)
        if read is not None:
            x = x + self.other(self.norm2(x), read, seen)
        inner = self.norm3(x)
        gated = functional.gelu(self.gate(inner), approximate="tanh") * self.up(inner)
        return x + self.down(gated)


class Stack(nn.Module):
    """The blocks of an encoder or a decoder, and the biases [buckets, heads] that all of them share."""

    def __init__(self, width: int, depth: int, heads: int, d: int, hidden: int, writes: bool) -> None:
        super().__init__()
        self.writes = writes
        self.distances = nn.Embedding(32, heads)
        self.blocks = nn.ModuleList(Block(width, heads, d, hidden, writes) for _ in range(depth))
        self.norm = nn.RMSNorm(width, 1e-6)

    def bias(self, t: int) -> Tensor:
        """What is added to the scores [1, heads, t, t] of t tokens: by distance, and -inf for what a decoder may not
        see yet."""
        places = torch.arange(t, device=self.distances.weight.device)
        distances = places - places[:, None]
        bias = self.distances(buckets(distances, both_ways=not self.writes)).permute(2, 0, 1)[None]
        return bias.masked_fill(distances > 0, -math.inf) if self.writes else bias


class T5(nn.Module):
    """A network (texts int64 [n, s], answers int64 [n, t]) -> logits [n, t, vocabulary] of each token of the answers,
    given the text and the tokens before. Rows end in PAD where they are shorter than the longest.

    `d` is the width of a head, `hidden` that of the gated layer, `depth` the blocks of either half. Weights begin as
    T5's, but the output's, whose logits begin with a variance of 1. Raises Problem on sizes below 1.
    """

    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, d: int, hidden: int) -> None:
        super().__init__()
        if min(vocabulary, width, depth, heads, d, hidden) < 1:
            raise Problem(
                "a T5 needs a vocabulary, a width, blocks, heads, a width of heads and of gated layers of at least 1 "
                f"each, not {vocabulary}, {width}, {depth}, {heads}, {d} and {hidden}"
            )
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = Stack(width, depth, heads, d, hidden, writes=False)
        self.decoder = Stack(width, depth, heads, d, hidden, writes=True)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if not self.embedding.weight.is_meta:  # else weights are put in
            _initialise(self, width, d)

    def encode(self, texts: Tensor) -> Tensor:
        """What the encoder makes of texts int64 [n, s]: [n, s, width], of no meaning where PAD stands."""
        bias = self.encoder.bias(texts.shape[1]) + _unseen(texts, self.head.weight)
        x = self.embedding(texts)
        for block in self.encoder.blocks:
            x = block(x, bias)
        return self.encoder.norm(x)

    def read(self, texts: Tensor) -> Memory:
        """What the decoder needs of texts int64 [n, s]: keys and values for each of its blocks, made once."""
        x = self.encode(texts)
        return tuple(block.other.read(x) for block in self.decoder.blocks), _unseen(texts, self.head.weight)

    def write(self, memory: Memory, begun: Tensor) -> Tensor:
        """Logits [n, t, vocabulary] after each token of begun answers int64 [n, t], whose first is PAD."""
        reads, unseen = memory
        bias, x = self.decoder.bias(begun.shape[1]), self.embedding(begun)
        for block, read in zip(self.decoder.blocks, reads, strict=True):
            x = block(x, bias, read, unseen)
        return self.head(self.decoder.norm(x))

    def forward(self, texts: Tensor, answers: Tensor) -> Tensor:
        return self.write(self.read(texts), functional.pad(answers[:, :-1], (1, 0), value=PAD))


def answer_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean nats of the answers' tokens int64 [n, t] under logits [n, t, vocabulary]; PAD is no token of an answer."""
    return functional.cross_entropy(logits.float().flatten(0, 1), answers.flatten(), ignore_index=PAD)


@torch.no_grad()
def write_greedily(model: T5, texts: Tensor, end: int, most: int) -> Tensor:
    """The likeliest token after token, int64 [n, at most `most`]: each row up to its `end`, then PAD."""
    memory = model.read(texts)
    written = texts.new_full((len(texts), 1), PAD)
    done = torch.zeros(len(texts), dtype=torch.bool, device=texts.device)
    while written.shape[1] <= most and not done.all():
        token = model.write(memory, written)[:, -1].argmax(-1).masked_fill(done, PAD)
        written = torch.cat([written, token[:, None]], 1)
        done |= token == end
    return written[:, 1:]


def rows(texts: Sequence[Sequence[int]]) -> Tensor:
    """Token lists as rows of a rectangle int64 [n, longest], PAD behind their ends."""
    return nn.utils.rnn.pad_sequence([torch.tensor(text, dtype=torch.long) for text in texts], True, PAD)


def _unseen(texts: Tensor, like: Tensor) -> Tensor:
    """What is added to scores [n, 1, 1, s], so that PAD is not seen."""
    return torch.zeros(texts.shape, device=like.device).masked_fill(texts == PAD, -math.inf)[:, None, None]


def _initialise(model: T5, width: int, d: int) -> None:
    """T5's first values: deviations by which scores and sums begin with a variance of about 1."""
    for name, parameter in model.named_parameters():
        kind = name.split(".")[-2]
        if kind == "q":
            nn.init.normal_(parameter, std=(width * d) ** -0.5)
        elif kind in ("embedding", "distances"):
            nn.init.normal_(parameter, std=1.0 if kind == "embedding" else width**-0.5)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
