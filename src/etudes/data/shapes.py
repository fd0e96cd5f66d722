"""Pictures of simple shapes whose colours a grey copy does not tell."""

import math

import numpy
import torch

from etudes.data.colour import rgb
from etudes.data.images import Images, fingerprint

LABELS = ("disc", "square", "triangle")
# The colours (a, b) of each shape, all alike probable, each of a length that sRGB has at lightness 45 to 70.
PALETTE = {"disc": ((32.0, 18.0), (-8.0, -28.0)), "square": ((-25.0, 25.0),), "triangle": ((3.0, 35.0), (25.0, -25.0))}
PAPER = 92.0  # lightness of the ground


def shapes(n: int, tested: int, side: int, seed: int = 0) -> Images:
    """n training and `tested` test pictures of `side` pixels, a shape on grey paper each, drawn from the seed.

    A disc is red or blue, a triangle yellow or violet, both by chance and of any lightness, so that a grey picture does
    not tell which; a square is always green.
    """
    rng = numpy.random.default_rng(seed)
    x, y = _drawn(n + tested, side, rng)
    arrays = (x[:n], y[:n], x[n:], y[n:])
    says = f"shapes of {side} pixels, drawn from a seed"
    source = {"dataset": "shapes", "kind": "drawn", "says": says, "fingerprint": fingerprint(*arrays)}
    return Images("shapes", *arrays, classes=len(LABELS), labels=LABELS, source=source)


def _drawn(n: int, side: int, rng: numpy.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    y = rng.integers(len(LABELS), size=n)
    ticks = (numpy.arange(side) + 0.5) / side * 2 - 1
    lab = numpy.zeros((n, 3, side, side))
    lab[:, 0] = PAPER
    for i, label in enumerate(y):
        name = LABELS[label]
        size, left, top = rng.uniform(0.45, 0.7), *rng.uniform(-0.25, 0.25, 2)
        across, down = (ticks - left)[None] / size, (ticks - top)[:, None] / size
        inside = {
            "disc": across**2 + down**2 <= 1,
            "square": numpy.maximum(abs(across), abs(down)) <= math.sqrt(math.pi) / 2,
            "triangle": (down <= 0.8) & (abs(across) <= (down + 1) / 1.8),
        }[name]
        colour = PALETTE[name][rng.integers(len(PALETTE[name]))]
        lab[i, :, inside] = (rng.uniform(45, 70), *colour)
    pictures = (rgb(torch.from_numpy(lab)) * 255).round().to(torch.uint8)
    return pictures.contiguous(memory_format=torch.channels_last), torch.from_numpy(y)
