"""Masks laid over their pictures: outlines and tints, and the comparison of a prediction with the truth."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etudes.core.errors import Problem
from etudes.core.files import appearing

if TYPE_CHECKING:
    from PIL.Image import Image

PALETTE = ((0, 0, 0), (213, 94, 0), (0, 158, 115), (0, 114, 178), (204, 121, 167), (240, 228, 66))  # Okabe and Ito's
RIGHT, EXTRA, MISSED = (0, 0, 0), (230, 159, 0), (86, 180, 233)  # of pixels in a comparison
GAP = 4  # white pixels between two pictures
LARGEST = 300_000  # bytes: a report shows no larger picture


def outlines(mask: np.ndarray) -> np.ndarray:
    """Which pixels bool [h, w] of a mask of classes belong to one other than the background and have a neighbour above,
    below or beside of another class."""
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        other = np.diff(mask.astype(np.int64), axis=axis) != 0
        first = [slice(None)] * 2
        last = [slice(None)] * 2
        first[axis], last[axis] = slice(0, -1), slice(1, None)
        edge[tuple(first)] |= other
        edge[tuple(last)] |= other
    return edge & (mask > 0)


def overlay(picture: np.ndarray, mask: np.ndarray, tint: float = 0.25) -> np.ndarray:
    """The picture uint8 [h, w, 3] with the mask's classes [h, w] as outlines in full colour and insides by `tint`.

    picture: uint8 [h, w], [h, w, 1] or [h, w, 3]. Class 0 is left as it is. Raises Problem on other shapes.
    """
    colour = as_colour(picture).astype(float)
    if mask.shape != colour.shape[:2]:
        raise Problem(f"a mask of {[*mask.shape]} does not lie over a picture of {[*colour.shape[:2]]}")
    own = colours(mask).astype(float)
    strength = np.where(outlines(mask), 1.0, np.where(mask > 0, tint, 0.0))[..., None]
    return np.rint((1 - strength) * colour + strength * own).astype(np.uint8)


def as_colour(picture: np.ndarray) -> np.ndarray:
    """The picture as uint8 [h, w, 3]. Raises Problem on what is none."""
    wide = picture[..., None] if picture.ndim == 2 else picture
    if wide.ndim != 3 or wide.shape[2] not in (1, 3) or wide.dtype != np.uint8:
        raise Problem(
            f"an overlay needs a picture uint8 [h, w] or [h, w, 1 or 3], not {picture.dtype} {[*picture.shape]}"
        )
    return np.repeat(wide, 3, 2) if wide.shape[2] == 1 else wide


def colours(mask: np.ndarray) -> np.ndarray:
    """The mask as a picture uint8 [h, w, 3], a colour a class: black is the background."""
    return np.array(PALETTE, np.uint8)[mask.astype(np.int64) % len(PALETTE)]


def differences(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """A picture uint8 [h, w, 3] of two masks: black where they agree, orange where the prediction has a class and the
    truth the background or another class, blue where it misses one."""
    wrong = truth != prediction
    picture = np.zeros((*truth.shape, 3), np.uint8)
    picture[wrong & (prediction > 0)] = EXTRA
    picture[wrong & (prediction == 0)] = MISSED
    return picture


def comparison(picture: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Two rows of three, uint8: the picture, the truth over it, the prediction over it; below, where they differ, the
    truth and the prediction as masks."""
    above = (as_colour(picture), overlay(picture, truth), overlay(picture, prediction))
    below = (differences(truth, prediction), colours(truth), colours(prediction))
    return _joined([_joined(above, 1), _joined(below, 1)], 0)


def save_comparisons(
    path: Path, pictures: Sequence[np.ndarray], truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray],
    columns: int = 2, scale: int = 1, most: int = LARGEST,
) -> None:  # fmt: skip
    """Write the comparisons as a PNG, `columns` a row, each pixel `scale` wide and high; the same bytes for the same
    arrays. A sheet of more than `most` bytes is halved until it has fewer. All pictures have one size. Raises Problem
    where there is none."""
    from PIL import Image

    if not len(pictures):
        raise Problem("there is no picture to lay a mask over")
    cells = [comparison(*each) for each in zip(pictures, truths, predictions, strict=True)]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [_joined(cells[i : i + columns], 1, 3 * GAP) for i in range(0, len(cells), columns)]
    sheet = Image.fromarray(_joined(rows, 0, 3 * GAP).repeat(scale, 0).repeat(scale, 1))
    while len(content := _png(sheet)) > most:
        sheet = sheet.reduce(2)
    with appearing(path) as draft:
        draft.write_bytes(content)


def _png(sheet: "Image") -> bytes:
    content = io.BytesIO()
    sheet.save(content, "png", optimize=True)
    return content.getvalue()


def _joined(parts: Sequence[np.ndarray], axis: int, gap: int = GAP) -> np.ndarray:
    shape = [*parts[0].shape]
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (white, part)][1:], axis)
