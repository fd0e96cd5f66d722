"""Error rates."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from etudes.data.images import unit


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode and without gradients; its mode is given back at the end."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def predictions(model: nn.Module, x: Tensor, batch: int = 500) -> Tensor:
    """The most probable class [n] of each picture in x: [n, c, h, w], uint8 or in [0, 1]."""
    with evaluation_mode(model):
        return torch.cat([model(unit(part)).argmax(-1) for part in x.split(batch)])


def wrong(says: Tensor, y: Tensor) -> float:
    """The share of answers, in [0, 1], that are not y: both int64 [n]."""
    return (says != y).double().mean().item()


def error_rate(model: nn.Module, x: Tensor, y: Tensor, batch: int = 500) -> float:
    """The share of pictures, in [0, 1], whose most probable class is not y: [n]."""
    return wrong(predictions(model, x, batch), y)
