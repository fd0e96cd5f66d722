"""Networks that read a sentence and write another: a GRU without and with attention, and a transformer.

Each has `vocabulary`, read(sources, lengths) -> (memory, state) and look(tokens, memory, state) -> (outputs, state,
weights); a memory and a state are tensors, batch first, or nested tuples of such, so that `select` chooses rows.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem


def weigh(scores: Tensor, mask: Tensor) -> Tensor:
    """Attention weights [..., s]: softmax(scores) over the positions where mask [..., s] is True; 0 elsewhere.

    Eq. 6 of Bahdanau et al. 2014, eq. 7 of Luong et al. 2015. Filled-up places get no weight, whatever their score.
    """
    return scores.masked_fill(~mask, -math.inf).softmax(-1)


def luong_scores(hidden: Tensor, keys: Tensor) -> Tensor:
    """Scores [n, t, s] = h W m of hidden: [n, t, w] with keys W m: [n, s, w] (Luong et al. 2015, eq. 8, "general")."""
    return hidden @ keys.transpose(1, 2)


def bahdanau_scores(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """Scores [n, s] = v tanh(W h + U m) of queries W h: [n, w] with keys U m: [n, s, w] (Bahdanau et al., A.1.2)."""
    return torch.tanh(query[:, None] + keys) @ v


class Translator(nn.Module):
    """What the networks share: one embedding for both languages and, transposed, for the output."""

    def __init__(self, vocabulary: int, embedding: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, embedding)  # the last begins every translation
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def embed(self, tokens: Tensor) -> Tensor:
        """Vectors of unit variance (Vaswani et al. 2017, sec. 3.4)."""
        return self.embedding(tokens) * self.embedding.embedding_dim**0.5

    def logits(self, outputs: Tensor) -> Tensor:
        return functional.linear(outputs, self.embedding.weight[: self.vocabulary], self.bias)

    def write(self, tokens: Tensor, memory: Any, state: Any) -> tuple[Tensor, Any]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state after the last."""
        outputs, state, _ = self.look(tokens, memory, state)
        return self.logits(outputs), state

    def look(self, tokens: Tensor, memory: Any, state: Any) -> tuple[Tensor, Any, Tensor]:
        """Outputs [n, t, embedding] after each token, the state, and the weights [n, t, s] of the source's tokens."""
        raise NotImplementedError


class GruTranslator(Translator):
    """A GRU reads, another writes: y ~ softmax(E tanh(W [c; h])), with h of the writer and c a view of the source.

    attention "none": c is the reader's last state, at every word (Cho et al. 2014, arXiv:1406.1078). "luong": c is the
    average of the reader's outputs by weights from h (arXiv:1508.04025, eq. 5-8, without input feeding), so that all
    words of a given translation are taken at once. "bahdanau": two readers, one from either end, each half as wide, and
    weights from the state before, of which the writer then reads the average (arXiv:1409.0473, sec. 3).
    """

    def __init__(self, vocabulary: int, embedding: int, width: int, attention: str, dropout: float = 0.0) -> None:
        super().__init__(vocabulary, embedding)
        if width % 2:
            raise Problem(f"a translator's width is halved between two readers and cannot be {width}; take an even one")
        self.attention = attention
        both = attention == "bahdanau"
        self.readers = nn.ModuleList(nn.GRU(embedding, width // (1 + both), batch_first=True) for _ in range(1 + both))
        self.begin = nn.Linear(width, width)
        self.writer = nn.GRU(embedding + (width if both else 0), width, batch_first=True)
        self.merge = nn.Linear(2 * width, embedding)
        self.dropout = nn.Dropout(dropout)
        if attention != "none":
            self.keys = nn.Linear(width, width, bias=False)
        if both:
            self.query = nn.Linear(width, width)
            self.v = nn.Parameter(torch.randn(width) / width**0.5)

    def read(self, sources: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The memory (keys, values [n, s, width], mask [n, s]) of the sources int64 [n, s], of which the first lengths
        [n] tokens count, and the writer's first state [n, width]."""
        x = self.dropout(self.embed(sources))
        mask = torch.arange(sources.shape[1], device=sources.device) < lengths[:, None]
        values, _ = self.readers[0](x)
        last = _rows(values, lengths[:, None] - 1)[:, 0]
        if self.attention == "bahdanau":
            places = torch.arange(sources.shape[1], device=sources.device)
            back = torch.where(mask, lengths[:, None] - 1 - places, places)  # from the end, what is filled up stays
            turned, _ = self.readers[1](_rows(x, back))
            values = torch.cat([values, _rows(turned, back)], -1)
            last = torch.cat([last, _rows(turned, lengths[:, None] - 1)[:, 0]], -1)
        state = self.begin(last).tanh()
        if self.attention == "none":
            return (last[:, None], last[:, None], mask), state
        return (self.keys(values), values, mask), state

    def look(self, tokens: Tensor, memory: tuple[Tensor, ...], state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.dropout(self.embed(tokens))
        keys, values, mask = memory
        if self.attention == "bahdanau":
            hidden, context, weights = self._walk(x, keys, values, mask, state)
        else:
            hidden, _ = self.writer(x, state[None])
            if self.attention == "none":
                weights = x.new_zeros(len(x), x.shape[1], mask.shape[1])  # it looks at no single token
                context = values.expand(-1, x.shape[1], -1)
            else:
                weights = weigh(luong_scores(hidden, keys), mask[:, None])
                context = weights.to(values.dtype) @ values
        outputs = self.dropout(self.merge(torch.cat([context, hidden], -1)).tanh())
        return outputs, hidden[:, -1], weights

    def _walk(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        hidden, contexts, looks = [], [], []
        cell = self.writer.weight_ih_l0, self.writer.weight_hh_l0, self.writer.bias_ih_l0, self.writer.bias_hh_l0
        for step in x.unbind(1):
            weights = weigh(bahdanau_scores(self.query(state), keys, self.v), mask)
            context = torch.bmm(weights.to(values.dtype)[:, None], values)[:, 0]
            state = torch.gru_cell(torch.cat([step, context], -1), state, *cell)  # half the time of self.writer
            hidden.append(state)
            contexts.append(context)
            looks.append(weights)
        return torch.stack(hidden, 1), torch.stack(contexts, 1), torch.stack(looks, 1)


class TransformerTranslator(Translator):
    """The transformer of Vaswani et al. 2017 (arXiv:1706.03762, sec. 3), small, with norms before each part.

    The weights that `look` gives are those of the last layer's view of the source, averaged over its heads.
    """

    def __init__(
        self, vocabulary: int, width: int, heads: int, layers: tuple[int, int], inner: int, dropout: float = 0.0
    ) -> None:
        super().__init__(vocabulary, width)
        if width % heads or width % 2:
            raise Problem(f"an even width that {heads} heads divide is needed, not {width}; change one of them")
        self.reader = nn.ModuleList(_Layer(width, heads, inner, dropout, False) for _ in range(layers[0]))
        self.writer = nn.ModuleList(_Layer(width, heads, inner, dropout, True) for _ in range(layers[1]))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def read(self, sources: Tensor, lengths: Tensor) -> tuple[Any, Any]:
        """The memory ((keys, values) of each writing layer, mask [n, s]) and the empty state."""
        n, s = sources.shape
        mask = torch.arange(s, device=sources.device) < lengths[:, None]
        x = self.dropout(self.embed(sources) + positions(s, self.embedding.embedding_dim).to(sources.device))
        for layer in self.reader:
            x = layer.read(x, mask[:, None, None])
        x = self.norms[0](x)
        memory = (tuple(layer.across.project(x) for layer in self.writer), mask)
        nothing = x.new_zeros(n, self.writer[0].itself.heads, 0, x.shape[-1] // self.writer[0].itself.heads)
        return memory, tuple((nothing, nothing) for _ in self.writer)

    def look(self, tokens: Tensor, memory: Any, state: Any) -> tuple[Tensor, Any, Tensor]:
        views, mask = memory
        before, t = state[0][0].shape[2], tokens.shape[1]
        place = positions(before + t, self.embedding.embedding_dim)[before:].to(tokens.device)
        x = self.dropout(self.embed(tokens) + place)
        past = torch.ones(t, before + t, dtype=torch.bool, device=tokens.device).tril(before)
        held = []
        for layer, view, own in zip(self.writer, views, state, strict=True):
            x, own, weights = layer.write(x, past, own, view, mask[:, None, None])
            held.append(own)
        return self.norms[1](x), tuple(held), weights.mean(1)


class _Attention(nn.Module):
    """Attention of several heads (sec. 3.2.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.pair = nn.Linear(width, 2 * width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [n, heads, s, d] of x: [n, s, width]."""
        keys, values = self.pair(x).view(*x.shape[:2], 2 * self.heads, -1).transpose(1, 2).chunk(2, 1)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        q = self.query(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        weights = weigh(q @ keys.transpose(2, 3) * q.shape[-1] ** -0.5, mask)
        return self.out((weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)), weights


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, dropout: float, across: bool) -> None:
        super().__init__()
        self.itself = _Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + across))
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        if across:
            self.across = _Attention(width, heads)

    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norms[0](x)
        x = x + self.dropout(self.itself(y, *self.itself.project(y), mask)[0])
        return self._feed(x)

    def write(self, x: Tensor, past: Tensor, held: Any, view: Any, mask: Tensor) -> tuple[Tensor, Any, Tensor]:
        y = self.norms[0](x)
        held = tuple(torch.cat(pair, 2) for pair in zip(held, self.itself.project(y), strict=True))
        x = x + self.dropout(self.itself(y, *held, past)[0])
        seen, weights = self.across(self.norms[2](x), *view, mask)
        return self._feed(x + self.dropout(seen)), held, weights

    def _feed(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(self.up(self.norms[1](x)).relu()))


def positions(length: int, width: int) -> Tensor:
    """Sines and cosines [length, width] that tell a token's place (Vaswani et al. 2017, sec. 3.5)."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _rows(x: Tensor, places: Tensor) -> Tensor:
    """x[i, places[i, j]] for x: [n, s, w] and places: [n, j]."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))
