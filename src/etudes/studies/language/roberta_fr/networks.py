"""The encoders: their sizes, their loss, how they begin and descend."""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.nn.roberta import Roberta, look_beside
from etudes.studies.language.roberta_fr.reading import FIRST, PAD

SIZES = {  # layers and width (Turc et al. 2019, arXiv:1908.08962, table 1); half-tiny is ours, and base RoBERTa's
    "half-tiny": (2, 64),
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "base": (12, 768),
}
HEAD = 64  # width of an attention head; there are two heads at least


def encoder(size: str, vocabulary: int, context: int, dropout: float, beside: bool) -> Roberta:
    """A network of a named size; `beside`: its heads begin by looking at the places beside."""
    depth, width = SIZES[size]
    model = Roberta(vocabulary, width, depth, max(2, width // HEAD), context, dropout, PAD)
    return look_beside(model) if beside else model


@torch.no_grad()
def begin_at_frequencies(model: Roberta, windows: Tensor) -> None:
    """Let the output's biases begin as the logarithms of how often ordinary tokens occur, so that no step is spent on
    learning that; one is added to every count, and special tokens have none."""
    counts = torch.bincount(windows.flatten(), minlength=len(model.bias)).double()
    counts[:FIRST] = 0
    model.bias.copy_(((counts + 1) / (counts + 1).sum()).log())


def masked_loss(model: Roberta, inputs: Tensor, chosen: Tensor, tokens: Tensor) -> Tensor:
    """The mean of -log p over the chosen places; the last layer and the head are not even asked about the others."""
    return functional.cross_entropy(model.logits(model(inputs, chosen)), tokens[chosen])


def adamw(model: Roberta, lr: float, decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices alone, with RoBERTa's second beta (sec. 3.1). The rate falls as the width grows beyond
    128 (Yang et al. 2022, arXiv:2203.03466, table 3)."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    width = model.position_embedding.weight.shape[1]
    return torch.optim.AdamW(groups, lr=lr * min(1.0, 128 / width), betas=(0.9, 0.98), fused=True)
