"""Translations from a network, many sentences at once: greedy or by beam search; and what it looked at."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.generate.sampling import select
from etudes.nn.translator import pad
from etudes.nn.translator import translate as greedy
from etudes.studies.language.translation.networks import Translator

BATCH = 128


def translate(
    network: Translator, sentences: Sequence[Sequence[int]], end: int, width: int = 1, batch: int = BATCH
) -> list[list[int]]:
    """The tokens of each sentence's translation, without the end token: greedy, or the best of a beam.

    A translation is cut at twice its sentence's tokens and ten. Raises Problem on a width below 1.
    """
    if width < 1:
        raise Problem(f"a beam keeps 1 translation or more, not {width}")
    if width == 1:
        return greedy(network, sentences, 0, end, batch=batch)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))  # little to fill up
    written: dict[int, list[int]] = {}
    for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
        written.update(zip(rows, beam(network, [sentences[i] for i in rows], end, width), strict=True))
    return [written[i] for i in range(len(sentences))]


@torch.no_grad()
def beam(network: Translator, sentences: Sequence[Sequence[int]], end: int, width: int) -> list[list[int]]:
    """The best translation that a beam of `width` finds for each sentence, all sentences side by side.

    The best has the highest log-probability per token, its end included; without that, short ones would win
    (Wu et al. 2016, arXiv:1609.08144, sec. 7). An ended translation stays in the beam as it is.
    """
    device = next(network.parameters()).device
    sources, lengths = (t.to(device) for t in pad(sentences, end))
    n, rows = len(sentences), torch.arange(len(sentences), device=device)
    memory, state = (select(part, rows.repeat_interleave(width)) for part in network.read(sources, lengths))
    last = torch.full((n * width, 1), network.vocabulary, device=device)
    text = last[:, :0]
    sums = torch.full((n, width), -torch.inf, device=device)
    sums[:, 0] = 0  # all begin alike, and one is enough
    ended = torch.zeros(n, width, dtype=torch.bool, device=device)
    sizes = torch.zeros(n, width, device=device)
    cut = 2 * lengths + 10
    while not ended.all() and text.shape[1] < cut.max():
        logits, state = network.write(last, memory, state)
        steps = logits[:, -1].float().log_softmax(-1).view(n, width, -1)
        steps[ended] = -torch.inf
        steps[..., end] = steps[..., end].masked_fill(ended, 0.0)
        totals = sums[..., None] + steps
        grown = (sizes + ~ended)[..., None]
        kept = (totals / grown).flatten(1).topk(width).indices
        came, token = kept // steps.shape[2], kept % steps.shape[2]
        sums, sizes = totals.flatten(1).gather(1, kept), grown[..., 0].gather(1, came)
        ended = ended.gather(1, came) | (token == end) | (sizes >= cut[:, None])
        chosen = (rows[:, None] * width + came).flatten()
        text = torch.cat([text[chosen], token.view(-1, 1)], 1)
        state, last = select(state, chosen), token.view(-1, 1)
    best = rows * width + (sums / sizes).argmax(1)
    return [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in text[best].tolist()]


@torch.no_grad()
def own_words(network: Translator, memory: Any, state: Any, steps: int) -> Tensor:
    """The most probable tokens int64 [n, steps], one after the other, whether or not a translation has ended."""
    token = torch.full((len(state) if isinstance(state, Tensor) else len(state[0][0]), 1), network.vocabulary)
    token = token.to(next(network.parameters()).device)
    words = []
    for _ in range(steps):
        logits, state = network.write(token, memory, state)
        token = logits.argmax(-1)
        words.append(token)
    return torch.cat(words, 1)


@torch.no_grad()
def attention_of(
    network: Translator, sentence: Sequence[int], end: int, translation: Sequence[int] | None = None
) -> tuple[Tensor, list[int]]:
    """The weights [target, source] with which the network looked at a sentence's tokens while it wrote a translation,
    a row for each token and one for the end; and the translation, its own greedy one unless one is given."""
    written = list(translate(network, [sentence], end)[0] if translation is None else translation)
    return attention_many(network, [sentence], [written], end)[0], written


@torch.no_grad()
def attention_many(
    network: Translator, sentences: Sequence[Sequence[int]], translations: Sequence[Sequence[int]], end: int
) -> list[Tensor]:
    """The weights [target, source] of each pair, where the network is made to write the given translations."""
    device = next(network.parameters()).device
    looks = []
    for i in range(0, len(sentences), BATCH):
        some, theirs = sentences[i : i + BATCH], translations[i : i + BATCH]
        sources, lengths = (t.to(device) for t in pad(some, end))
        tokens, sizes = pad([[network.vocabulary, *translation] for translation in theirs], end)
        weights = network.look(tokens.to(device), *network.read(sources, lengths))[2]
        looks += [w[:t, :s].cpu() for w, t, s in zip(weights, sizes.tolist(), lengths.tolist(), strict=True)]
    return looks
