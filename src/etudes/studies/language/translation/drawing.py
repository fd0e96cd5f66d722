"""Attention as a picture: a row for each token written, a column for each token read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from etudes.core.errors import Problem
from etudes.core.files import appearing

CELL, SCALE = 14, 2  # pixels of a weight, and of those the pixels of the picture


def picture(weights: Tensor, source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """uint8 [height, width]: weights [target, source] in [0, 1] from white to black, the tokens written at the left and
    those read, turned, at the top. Raises Problem where there are not as many tokens as weights."""
    from PIL import Image, ImageDraw, ImageFont

    if weights.shape != (len(target), len(source)):
        raise Problem(f"weights {[*weights.shape]} do not belong to {len(target)} tokens written, {len(source)} read")
    font = ImageFont.load_default_imagefont()  # which comes with Pillow, and has the letters of Latin-1

    def labels(tokens: Sequence[str], right: bool) -> np.ndarray:
        texts = [token.strip().replace("œ", "oe").encode("latin-1", "replace").decode("latin-1") for token in tokens]
        width = 6 + max(round(font.getlength(text)) for text in texts)
        sheet = Image.new("L", (width, CELL * len(texts)), 255)
        for i, text in enumerate(texts):
            start = width - 3 - round(font.getlength(text)) if right else 3
            ImageDraw.Draw(sheet).text((start, CELL * i + 1), text, 0, font)
        return np.asarray(sheet)

    cells = (255 * (1 - weights.clamp(0, 1))).round().byte().numpy().repeat(CELL, 0).repeat(CELL, 1)
    cells[::CELL], cells[:, ::CELL] = 225, 225  # a fine grid
    left, top = labels(target, True), np.rot90(labels(source, False))
    corner = np.full((top.shape[0], left.shape[1]), 255, np.uint8)
    whole = np.vstack([np.hstack([corner, top]), np.hstack([left, cells])])
    return whole.repeat(SCALE, 0).repeat(SCALE, 1)


def save_attention(path: Path, weights: Tensor, source: Sequence[str], target: Sequence[str]) -> None:
    """Write the picture as a PNG; the same bytes for the same weights and tokens."""
    from PIL import Image

    with appearing(path) as draft:
        Image.fromarray(picture(weights, source, target)).save(draft, "png", optimize=True)
