"""A small network that translates sentences either way between two languages: LSTMs with attention."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem

Memory = tuple[Tensor, Tensor, Tensor]  # keys [n, s, width], values [n, s, width], mask bool [n, s]
State = tuple[Tensor, Tensor]  # of the writer: hidden and cell, [n, width] each


class Translator(nn.Module):
    """Logits [n, t, vocabulary] of the next token of translations, given sources and the translations so far.

    Two LSTMs read the source, one from either end (Bahdanau et al. 2015, arXiv:1409.0473, sec. 3.2); a third writes.
    What it writes depends on its own output h and on the average of the readers' outputs m, weighted by softmax(h W m)
    (Luong et al. 2015, arXiv:1508.04025, eq. 5-8, "general"; without feeding the result back, so that all steps of a
    given translation are taken at once). One embedding serves both languages and, transposed, the output.

    Translations begin with the token `vocabulary + language`, so that one network serves both ways (Johnson et al.
    2017, arXiv:1611.04558, who put such a token before the source).
    """

    def __init__(self, vocabulary: int, width: int, dropout: float = 0.0, languages: int = 2) -> None:
        super().__init__()
        if vocabulary < 1 or width < 2 or width % 2 or not 0 <= dropout < 1:
            raise Problem(
                f"a translator needs a vocabulary, an even width and dropout in [0, 1), not {vocabulary}, {width} and "
                f"{dropout:g}"
            )
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + languages, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.readers = nn.ModuleList(nn.LSTM(width, width // 2, batch_first=True) for _ in range(2))
        self.begin = nn.Linear(width, width)
        self.writer = nn.LSTM(width, width, batch_first=True)
        self.score = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Vectors of unit variance, from an embedding small enough to be the output's too (Vaswani et al. 2017, sec.
        3.4)."""
        return self.embedding(tokens) * self.embedding.embedding_dim**0.5

    def read(self, sources: Tensor, lengths: Tensor) -> tuple[Memory, State]:
        """The memory of the sources int64 [n, s], of which only the first lengths [n] tokens count, and the writer's
        first state."""
        places = torch.arange(sources.shape[1], device=sources.device)
        mask = places < lengths[:, None]
        back = torch.where(mask, lengths[:, None] - 1 - places, places)  # of a sentence from its end, the rest as it is
        x = self.dropout(self._embedded(sources))
        forth, _ = self.readers[0](x)
        turned, _ = self.readers[1](_taken(x, back))
        values = torch.cat([forth, _taken(turned, back)], -1)
        ends = torch.cat([_taken(read, lengths[:, None] - 1) for read in (forth, turned)], -1)[:, 0]
        hidden = self.begin(ends).tanh()
        return (self.score(values), values, mask), (hidden, torch.zeros_like(hidden))

    def write(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Tensor, State]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state after the last."""
        x = self.dropout(self._embedded(tokens))
        h, (hidden, cell) = self.writer(x, (state[0][None], state[1][None]))
        keys, values, mask = memory
        scores = (h @ keys.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf)
        found = scores.softmax(-1).to(values.dtype) @ values
        out = self.dropout(self.merge(torch.cat([found, h], -1)).tanh())
        logits = nn.functional.linear(out, self.embedding.weight[: self.vocabulary], self.bias)
        return logits, (hidden[0], cell[0])

    def forward(self, sources: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        memory, state = self.read(sources, lengths)
        return self.write(tokens, memory, state)[0]


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """x[i, places[i, j]] for x: [n, s, w] and places: [n, j]."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))


def pad(sentences: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Sentences of tokens as int64 [n, s], filled up on the right, and their lengths [n]. None may be empty."""
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    if not len(lengths) or not lengths.min():
        raise Problem("there is a sentence without tokens, or no sentence at all; leave empty ones out")
    rows = torch.full((len(sentences), int(lengths.max())), fill)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return rows, lengths


@torch.no_grad()
def translate(
    model: Translator,
    sentences: Sequence[Sequence[int]],
    language: int,
    end: int,
    choose: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(-1),
    batch: int = 128,
) -> list[list[int]]:
    """The tokens of each sentence's translation into the language, without the end token.

    choose(logits [n, vocabulary]) gives the next tokens int64 [n]: by default the most probable, or any drawing one.
    A translation is cut at twice its sentence's tokens and ten. The model is taken in the mode it is in.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))  # little to fill up, early to end
    written: dict[int, list[int]] = {}
    for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
        sources, lengths = (t.to(device) for t in pad([sentences[i] for i in rows], end))
        memory, state = model.read(sources, lengths)
        last = torch.full((len(rows), 1), model.vocabulary + language, device=device)
        ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
        steps = []
        while len(steps) < 2 * sources.shape[1] + 10 and not ended.all():
            logits, state = model.write(last, memory, state)
            last = choose(logits[:, -1].float())[:, None]
            ended |= last[:, 0] == end
            steps.append(last[:, 0])
        for i, tokens, length in zip(rows, torch.stack(steps, 1).tolist(), lengths.tolist(), strict=True):
            stop = tokens.index(end) if end in tokens else len(tokens)
            written[i] = tokens[: min(stop, 2 * length + 10)]
    return [written[i] for i in range(len(sentences))]
