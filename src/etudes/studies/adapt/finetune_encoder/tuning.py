"""Fine-tuning: a linear layer on an encoder's vectors, and what of the encoder is trained with it."""

from typing import Literal

import torch
from torch import Tensor, nn

from etudes.tools.encoders import Encoder, layer_parameters

Trained = Literal["all", "but-words", "last-two", "head"]


class Classifier(nn.Module):
    """An encoder with W and b on its vectors: rows of tokens -> logits [n, classes]."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, rows: list[list[int]]) -> Tensor:
        found: Tensor = self.head(self.encoder(rows)).float()
        return found


def layer_rates(layers: int, lr: float, decay: float) -> list[float]:
    """The learning rate of each layer from below: lr of the last, each other `decay` times that above it (Howard and
    Ruder 2018, arXiv:1801.06146, sec. 3.2; the paper's discriminative fine-tuning).

    >>> layer_rates(3, 1.0, 0.5)
    [0.25, 0.5, 1.0]
    """
    return [lr * decay ** (layers - 1 - k) for k in range(layers)]


def choose_trained(
    model: Classifier, trained: Trained, lr: float, head_lr: float, decay: float = 1.0
) -> torch.optim.Adam:
    """The optimiser of what is trained: W and b at `head_lr`, and of the encoder all, all but the vectors of words, or
    the last two blocks, at `layer_rates`. All else of the model is frozen, in place."""
    model.requires_grad_(True)
    layers = layer_parameters(model.encoder)
    if trained == "but-words":
        model.encoder.words.requires_grad_(False)
    elif trained != "all":
        for layer in layers[: len(layers) - (2 if trained == "last-two" else 0)]:
            for parameter in layer:
                parameter.requires_grad_(False)
    rates = layer_rates(len(layers), lr, decay)
    groups = [
        {"params": [p for p in layer if p.requires_grad], "lr": rate} for layer, rate in zip(layers, rates, strict=True)
    ]
    groups.append({"params": list(model.head.parameters()), "lr": head_lr})
    return torch.optim.Adam([group for group in groups if group["params"]], fused=True)
