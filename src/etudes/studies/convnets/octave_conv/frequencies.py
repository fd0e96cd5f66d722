"""Pictures of which one octave is left: what the low-frequency channels can hold, or what they cannot."""

from typing import Literal

import torch
from torch import Tensor

from etudes.data.images import unit
from etudes.nn.octave import pool, upsample

Frequencies = Literal["all", "low", "high"]


def frequency_part(x: Tensor, frequencies: Frequencies) -> Tensor:
    """Pictures uint8 [n, c, h, w] of even sides as those of some frequencies, uint8 of the same shape.

    "low": upsample(pool(x)), every 2x2 pixels at their mean. "high": x less that, about grey, at half the contrast so
    that all values fit. So low + 2 high is x again, up to rounding, and of "high" pool leaves nothing but grey.
    """
    if frequencies == "all":
        return x
    pictures = unit(x)
    low = upsample(pool(pictures))
    found = low if frequencies == "low" else 0.5 + (pictures - low) / 2
    return (255 * found).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)
