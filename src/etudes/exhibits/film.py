"""Pictures that move, as a GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem
from etudes.core.files import appearing

COLOURS = 16  # of a film's palette


def save_gif(path: Path, frames: Sequence[np.ndarray], milliseconds: int) -> None:
    """Write pictures uint8 [h, w] (grey) or [h, w, 3] of one size as a GIF that repeats, each shown for so long.

    Raises Problem without pictures, and on other shapes or types.
    """
    from PIL import Image

    shapes = {(*frame.shape, frame.dtype.name) for frame in frames}
    if len(shapes) != 1 or not _is_picture(next(iter(shapes))):
        listed = ", ".join(map(str, sorted(shapes))) or "none"
        raise Problem(f"a film needs pictures uint8 [h, w] or [h, w, 3] of one size, not {listed}")
    first, *others = [Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE) for frame in frames]
    with appearing(path) as draft:
        first.save(draft, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)


def _is_picture(shape: tuple) -> bool:
    *size, kind = shape
    return kind == "uint8" and (len(size) == 2 or (len(size) == 3 and size[2] == 3)) and 0 not in size
