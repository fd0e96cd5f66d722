"""The network that writes lines: from an embedding, from an embedding and a hypothesis, or from nothing."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.measure.error import evaluation_mode

State = tuple[Tensor, Tensor, Tensor, Tensor]  # memory's keys, values [n, m, width], what may be seen [n, m]; hidden


class Writer(nn.Module):
    """Logits of the next token of lines, given vectors [n, conditions, vector] and perhaps texts to be corrected.

    A linear map makes `prefix` vectors of the conditions (Morris et al. 2023, sec. 3); a text to be corrected stands
    behind them, the embedding of each token with its place (sec. 3). A GRU writes; what it writes depends on its own
    output h and on the average of this memory m, weighted by softmax(h W m) (Luong et al. 2015, arXiv:1508.04025, eq.
    5-8). The paper's writer is a T5 of 220 million parameters. One embedding serves texts read, texts written, and,
    transposed, the output. With vectors of zeros it is a language model.
    """

    def __init__(self, vocabulary: int, width: int, vector: int, conditions: int, prefix: int, context: int) -> None:
        super().__init__()
        if min(vocabulary, width, vector, conditions, prefix, context) < 1:
            raise Problem("a writer needs a vocabulary, a width, vectors, prefixes and a context of at least 1 each")
        self.conditions, self.vector, self.context = conditions, vector, context
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.places = nn.Embedding(context, width)
        self.maps = nn.ModuleList(nn.Linear(vector, (prefix + 2) * width, bias=i == 0) for i in range(conditions))
        for later in list(self.maps)[1:]:  # a corrector begins as the inverter whose weights it takes
            nn.init.zeros_(later.weight)
        self.gru = nn.GRU(2 * width, width, batch_first=True)
        self.score = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.score.weight, std=1 / width)  # first weights of the memory are nearly equal
        self.merge = nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("mean", torch.zeros(vector))  # of the training lines' embeddings
        self.register_buffer("scale", torch.ones(()))  # one over the deviation of their numbers

    def fit_scale(self, train: Tensor) -> None:
        """Take the mean and the deviation of embeddings [n, vector], so that the network sees numbers of variance 1."""
        self.mean.copy_(train.mean(0))
        self.scale.copy_(1 / (train - self.mean).square().mean().sqrt())

    def conditions_of(self, e: Tensor, hypothesis: Tensor | None = None) -> Tensor:
        """What is given: an embedding e, and to a corrector its hypothesis' own h, and e - h, [n, 1 or 3, vector]
        (Morris et al. 2023, sec. 3)."""
        found = (e - self.mean) * self.scale
        if hypothesis is None:
            return found[:, None]
        own = (hypothesis - self.mean) * self.scale
        return torch.stack([found, own, found - own], 1)

    def _embedded(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) * self.embedding.embedding_dim**0.5

    def read(self, vectors: Tensor, texts: Tensor | None = None, lengths: Tensor | None = None) -> State:
        """The state before any token is written, of vectors and texts int64 [n, s], of which `lengths` [n] count."""
        n, width = len(vectors), self.embedding.embedding_dim
        found = sum(own(vectors[:, i]) for i, own in enumerate(self.maps)).view(n, -1, width)
        values, begin = found[:, 1:], found[:, 0].tanh()
        seen = torch.ones(n, values.shape[1] - 1, dtype=torch.bool, device=vectors.device)
        entry, memory = values[:, :1], values[:, 1:]
        if texts is not None:
            memory = torch.cat([memory, self._embedded(texts) + self.places.weight[: texts.shape[1]]], 1)
            seen = torch.cat([seen, torch.arange(texts.shape[1], device=texts.device) < lengths[:, None]], 1)
        return self.score(memory), torch.cat([entry, memory], 1), seen, begin

    def start(self, n: int) -> State:
        """The state of the language model before any token, for n lines."""
        return self.read(self.bias.new_zeros(n, self.conditions, self.vector))

    def next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state after the last."""
        out, after = self.outputs(tokens, state)
        return self.logits(out), after

    def outputs(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """What the logits after each token are made of, [n, t, width], and the state after the last."""
        keys, values, seen, hidden = state
        entry = values[:, :1].expand(-1, tokens.shape[1], -1)
        h, last = self.gru(torch.cat([self._embedded(tokens), entry], -1), hidden[None])
        scores = (h @ keys.transpose(1, 2)).masked_fill(~seen[:, None], -torch.inf)
        average = scores.softmax(-1) @ values[:, 1:]
        return self.merge(torch.cat([average, h], -1)).tanh(), (keys, values, seen, last[0])

    def logits(self, out: Tensor) -> Tensor:
        return functional.linear(out, self.embedding.weight, self.bias)

    def forward(self, tokens: Tensor, state: State) -> Tensor:
        return self.next(tokens, state)[0]


def write_lines(
    model: Writer, state: State, end: int, choose: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(-1)
) -> list[list[int]]:
    """The tokens of a line for each row of the state, without the token `end`, which also begins it; at most as many as
    the model's context.

    choose(logits [n, vocabulary]) gives the next tokens int64 [n]: the most probable, unless another is given.
    """
    last = torch.full((len(state[3]), 1), end, device=state[3].device)
    is_open, steps = torch.ones(len(last), dtype=torch.bool, device=last.device), []
    with evaluation_mode(model):
        while len(steps) < model.context and is_open.any():
            logits, state = model.next(last, state)
            last = choose(logits[:, -1].float())[:, None]
            is_open &= last[:, 0] != end
            steps.append(last[:, 0])
    lines = torch.stack(steps, 1).tolist()
    return [line[: line.index(end)] if end in line else line for line in lines]


def loss_of(model: Writer, lines: Sequence[Sequence[int]], end: int, state: State) -> Tensor:
    """The mean cross-entropy in nats of the lines' tokens and of the end of each."""
    rows, lengths = pad(lines, end)
    targets = torch.cat([rows, torch.full((len(rows), 1), end)], 1)
    tokens = torch.cat([torch.full((len(rows), 1), end), rows], 1).to(state[3].device)
    counts = torch.arange(targets.shape[1]) <= lengths[:, None]  # logits of what fills a line up are not computed
    out = model.outputs(tokens, state)[0][counts.to(tokens.device)]
    return functional.cross_entropy(model.logits(out).float(), targets[counts].to(tokens.device))


def pad(lines: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Lines of tokens as int64 [n, s], filled up on the right, and their lengths [n]; also lines without a token."""
    lengths = torch.tensor([len(line) for line in lines])
    rows = torch.full((len(lines), max(1, int(lengths.max()))), fill)
    for row, line in zip(rows, lines, strict=True):
        row[: len(line)] = torch.tensor(line, dtype=torch.long)
    return rows, lengths
