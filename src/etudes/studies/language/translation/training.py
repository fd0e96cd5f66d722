"""A variant's network, and the loss that it learns by."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.measure.size import count_parameters
from etudes.nn.translator import pad
from etudes.studies.language.translation.decoding import own_words
from etudes.studies.language.translation.networks import GruTranslator, TransformerTranslator, Translator

if TYPE_CHECKING:
    from etudes.studies.language.translation import Config


def network(cfg: "Config", vocabulary: int) -> Translator:
    """The network of a variant. A transformer's layers are as wide inside as makes its parameters those of the GRU with
    Luong's attention, or as nearly as whole units can."""
    attention = "luong" if cfg.network == "transformer" else cfg.attention
    gru = GruTranslator(vocabulary, cfg.embedding, cfg.width, attention, cfg.dropout)
    if cfg.network == "gru":
        return gru

    def make(inner: int) -> Translator:
        return TransformerTranslator(vocabulary, cfg.embedding, cfg.heads, cfg.layers, inner, cfg.dropout)

    one, two = (count_parameters(make(inner)) for inner in (1, 2))
    return make(max(1, 1 + round((count_parameters(gru) - one) / (two - one))))


def loss_of(
    model: Translator, examples: list[tuple[list[int], list[int]]], end: int, own: np.ndarray | None = None
) -> Tensor:
    """The mean cross-entropy in nats of the true next tokens; what is filled up counts nothing.

    own: bool [n], the examples that are read on from the network's own most probable words and not from the true ones.
    """
    device = next(model.parameters()).device
    sources, lengths = (t.to(device) for t in pad([source for source, _ in examples], end))
    targets, sizes = pad([[model.vocabulary, *target, end] for _, target in examples], end)
    given, wanted = targets[:, :-1].to(device), targets[:, 1:].to(device)
    counted = (torch.arange(1, targets.shape[1]) < sizes[:, None]).to(device)
    memory, state = model.read(sources, lengths)
    if own is not None and own.any():
        rows = torch.from_numpy(own).to(device)
        words = own_words(model, memory, state, given.shape[1] - 1)
        given = torch.where(rows[:, None], torch.cat([given[:, :1], words], 1), given)
    outputs, _, _ = model.look(given, memory, state)
    return functional.cross_entropy(model.logits(outputs[counted]).float(), wanted[counted])


@torch.no_grad()
def mean_loss(model: Translator, examples: list[tuple[list[int], list[int]]], end: int, batch: int) -> float:
    """The loss over all examples, a batch at a time: the mean over their tokens in nats."""
    total, count = 0.0, 0
    for some in (examples[i : i + batch] for i in range(0, len(examples), batch)):
        tokens = sum(len(target) + 1 for _, target in some)
        total, count = total + tokens * loss_of(model, some, end).item(), count + tokens
    return total / count
