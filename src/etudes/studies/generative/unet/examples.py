"""The pictures that are learnt from and tested on, with the truth as the network is to learn it."""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from etudes.data.instances import ridge
from etudes.data.masks import PARTS, Masks, masks
from etudes.nn.segmentation import centre

if TYPE_CHECKING:
    from etudes.studies.generative.unet import Config


def opened(cfg: "Config") -> Masks:
    """The set that a run learns: that of several classes, or the one whose classes are merged into one."""
    if cfg.several:
        return prepare_classes(cfg.classed, cfg.classed_side)
    return prepare(cfg.dataset, cfg.group, cfg.dark, cfg.side, cfg.learnt, cfg.tested)


@lru_cache(maxsize=4)  # for all runs of a process
def prepare(name: str, group: str, dark: bool, side: int, learnt: int, tested: int) -> Masks:
    """The set with all classes but the background merged, objects that touch parted by a ridge of background, pictures
    brought to `side` pixels (0: as they are), and of the two parts the middle of `learnt` and `tested` pixels (0: all).
    Grey pictures are stretched to their own range of light; of these `dark` keeps those on a dark ground."""
    d = masks(name, group)
    d = (d.resize(side) if side else d).binary()
    if d.x.shape[1] == 1:
        d = replace(d, x=stretch(d.x), test_x=stretch(d.test_x))
        d = on_dark_ground(d) if dark else d
    if d.instances is not None:
        for part in ("", "test_"):
            between = torch.from_numpy(
                numpy.stack([ridge(picture) for picture in getattr(d, f"{part}instances").numpy()])
            )
            d = replace(d, **{part + key: getattr(d, part + key).masked_fill(between, 0) for key in ("y", "instances")})
    lengths = {key: tested if key.startswith("test") else learnt for key in PARTS if getattr(d, key) is not None}
    return replace(d, **{key: centre(getattr(d, key), side, side) for key, side in lengths.items() if side})


def prepare_classes(name: str, side: int) -> Masks:
    """The set of several classes, without objects, its pictures brought to `side` pixels (0: as they are)."""
    d = replace(masks(name), instances=None, test_instances=None)
    return d.resize(side) if side else d


def on_dark_ground(d: Masks) -> Masks:
    """The pictures more than half of whose pixels are darker than the middle of their range; no mask is read.

    Few light ones among many dark ones would decide all numbers: whoever met none in training takes the ground for
    objects.
    """
    changed = {}
    for part in ("", "test_"):
        kept = torch.nonzero(getattr(d, f"{part}x").flatten(1).median(1).values < 128)[:, 0]
        arrays = (key for key in PARTS if key.startswith("test") == bool(part) and getattr(d, key) is not None)
        changed |= {key: getattr(d, key)[kept] for key in arrays}
        changed[f"{part}groups"] = tuple(getattr(d, f"{part}groups")[i] for i in kept.tolist())
    return replace(d, **changed)


def stretch(x: Tensor) -> Tensor:
    """The grey pictures uint8 [n, 1, h, w], each with its darkest 200th at 0 and its lightest at 255.

    Some nuclei shine ten times as brightly as others; this is done to training and test pictures alike, and reads no
    mask.
    """
    ends = numpy.quantile(x.flatten(1).numpy(), (0.005, 0.995), axis=1)
    low, high = (torch.from_numpy(end).float().view(-1, 1, 1, 1) for end in ends)
    return (255 * (x - low) / (high - low).clamp_min(1)).clamp(0, 255).round().to(torch.uint8)


def drawn_rows(n: int, held_out: int, examples: int, rng: numpy.random.Generator) -> tuple[Tensor, Tensor]:
    """Which of n rows are for validation, and which to learn from (0: all others): more hold those of fewer."""
    order = torch.from_numpy(rng.permutation(n))
    rest = order[held_out:]
    return order[:held_out], rest[:examples] if examples else rest
