"""Weights as small integers: their rounding, and a layer that computes with them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from etudes.core.errors import Problem


def quantise(weight: Tensor, bits: int, by_channel: bool = True) -> tuple[Tensor, Tensor]:
    """Integers int8 of the weight's shape, and their scales [out, 1, ...]: weight is about integer * scale.

    Symmetric: the largest magnitude of an output channel, or of the whole tensor, becomes 2^(bits - 1) - 1, and 0 stays
    0 (Jacob et al. 2018, arXiv:1712.05877, sec. 2.1; channels: Krishnamoorthi 2018, arXiv:1806.08342, sec. 2). Raises
    Problem unless bits are 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise Problem(f"weights cannot be rounded to {bits} bits here; give 2 to 8")
    most = 2 ** (bits - 1) - 1
    weight = weight.detach().float()
    largest = weight.abs().flatten(1).amax(1) if by_channel else weight.abs().amax().expand(len(weight))
    scale = (largest / most).clamp_min(torch.finfo(torch.float32).tiny).view(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().clamp(-most, most).to(torch.int8), scale


def round_weights(weights: Mapping[str, Tensor], bits: int, by_channel: bool = True) -> dict[str, Tensor]:
    """The weights as floats that have the values of integers times scales: what is called fake quantisation."""
    pairs = {name: quantise(weight, bits, by_channel) for name, weight in weights.items()}
    return {name: integer * scale for name, (integer, scale) in pairs.items()}


def int8_linear(x: Tensor, integer: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """x w^T + b, [n, out], computed in int8 with sums in int32: x: [n, in] floats, w = integer * scale.

    Each row of x is rounded with a scale of its own when it is met ("dynamic"), so that nothing is calibrated. The
    product is PyTorch's, on the CPU.
    """
    x_integer, x_scale = quantise(x, 8)
    product = torch._int_mm(x_integer.contiguous(), integer.t())
    y = product.float() * x_scale * scale.view(1, -1)
    return y if bias is None else y + bias
