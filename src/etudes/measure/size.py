"""How large a model is, and how much it computes."""

import torch
from torch import nn

from etudes.measure.error import evaluation_mode


def count_parameters(model: nn.Module) -> int:
    """The number of its trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of the convolutions and matrix products for one input of `shape`, such as a picture (c, h, w)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with evaluation_mode(model), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape, device=device))
    return counter.get_total_flops() // 2
