"""How large a model is."""

from torch import nn


def count_parameters(model: nn.Module) -> int:
    """The number of its trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
