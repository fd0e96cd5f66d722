"""What is measured: errors, where the weight lies, and how well maps of places tell where the object is."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from etudes.data.images import unit
from etudes.exhibits.sheets import save_sheet
from etudes.measure.error import evaluation_mode
from etudes.nn.entropy_pooling import certainty
from etudes.studies.convnets.entropy_pooling.networks import Network
from etudes.studies.convnets.entropy_pooling.scenes import Scenes, box_masks

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares of a map's range


@dataclass(frozen=True, eq=False)
class Look:
    """What a network makes of pictures: the class of each [n], and maps float32 [n, h, w] over its places."""

    predicted: Tensor
    weights: Tensor  # each place's share of what is classified; sums to 1
    activation: Tensor  # the class activation map of the predicted class
    certain: Tensor  # certainty of the class prediction at each place, in [0, 1]


def look(model: Network, x: Tensor, batch: int = 500) -> Look:
    """What the network makes of pictures x: uint8 [n, c, h, w]."""
    parts = []
    with evaluation_mode(model):
        for some in x.split(batch):
            features = model.body(unit(some))
            predicted = model.head(features).argmax(1)
            scores = model.head.class_scores(features).float()
            own = scores[torch.arange(len(some)), predicted]
            parts.append((predicted, model.head.location_weights(features), own, certainty(scores)))
    return Look(*(torch.cat(part) for part in zip(*parts, strict=True)))


def coverage(masks: Tensor, places: tuple[int, int]) -> Tensor:
    """Which share in [0, 1] of the pixels that each place stands for is in masks bool [n, h, w]: [n, *places]."""
    return functional.adaptive_avg_pool2d(masks.float()[:, None], places)[:, 0]


def weight_inside(weights: Tensor, boxes: Tensor) -> float:
    """The mean share of the weights [n, h, w] that lies in the boxes, bool [n, H, W]."""
    return (weights * coverage(boxes, _places(weights))).sum((1, 2)).mean().item()


def pointing(maps: Tensor, boxes: Tensor) -> float:
    """The share of pictures where the highest place of the map [n, h, w] lies in the box, bool [n, H, W], by half or
    more of its pixels: the pointing game (Zhang et al. 2016, arXiv:1608.00507, sec. 4.1)."""
    inside = coverage(boxes, _places(maps)).flatten(1)
    top = maps.flatten(1).argmax(1)
    return (inside[torch.arange(len(top)), top] >= 0.5).double().mean().item()


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The maps [n, h, w] as float32 [n, *size] in [0, 1], each from its lowest to its highest; 0 where it is flat."""
    large = functional.interpolate(maps[:, None].float(), size=size, mode="bilinear")[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return (large - low) / (high - low).clamp_min(1e-12)


def overlap(maps: Tensor, masks: Tensor, threshold: float) -> float:
    """The mean intersection over union of masks bool [n, H, W] with the pixels where the map [n, h, w], enlarged and
    brought to [0, 1] in each picture, is `threshold` or more (Zhou et al. 2016, arXiv:1512.04150, sec. 3.2)."""
    found = enlarge(maps, (masks.shape[1], masks.shape[2])) >= threshold
    return ((found & masks).sum((1, 2)) / (found | masks).sum((1, 2))).double().mean().item()


def best_threshold(maps: Tensor, masks: Tensor) -> float:
    """The threshold with the largest overlap: to be asked on validation pictures."""
    return max(THRESHOLDS, key=lambda threshold: overlap(maps, masks, threshold))


def measure(model: Network, validation: Scenes, test: Scenes) -> dict[str, float]:
    """All numbers of a trained network; those of places where the object's are known.

    `-weights` is the map of the places' shares of the pooled vector, which for average pooling are all alike and tell
    nothing; `-cam` the class activation map. Thresholds are chosen on the validation scenes, for each map apart.
    """
    before, after = look(model, validation.x), look(model, test.x)
    kind = "error" if test.masks is not None else "error-natural"
    found = {
        f"validation/{kind}": (before.predicted != validation.y).double().mean().item(),
        f"test/{kind}": (after.predicted != test.y).double().mean().item(),
    }
    if validation.masks is None or test.masks is None:
        return found
    boxes = box_masks(test.masks)
    inside = coverage(boxes, _places(after.weights))
    outside = 1 - inside
    found |= {
        "test/weight-inside": weight_inside(after.weights, boxes),
        "test/area-inside": inside.mean().item(),
        "test/certainty-inside": ((after.certain * inside).sum() / inside.sum()).item(),
        "test/certainty-outside": ((after.certain * outside).sum() / outside.sum()).item(),
        "test/certain-clutter": 1 - pointing(after.certain, boxes),
        "test/overlap-everything": test.masks.double().mean((1, 2)).mean().item(),
    }
    maps = {"cam": (before.activation, after.activation)}
    if after.weights.std() > 1e-6:
        maps["weights"] = (before.weights, after.weights)
    for name, (own, theirs) in maps.items():
        found |= {
            f"test/pointing-{name}": pointing(theirs, boxes),
            f"test/overlap-{name}": overlap(theirs, test.masks, best_threshold(own, validation.masks)),
        }
    return found


def save_maps(path: Path, model: Network, scenes: Scenes, n: int = 8) -> None:
    """Write a sheet of the first n scenes, below each its weights, and below these its class activation map."""
    x = scenes.x[:n]
    found, size = look(model, x), (x.shape[2], x.shape[3])
    maps = [enlarge(of, size)[:, None].expand(-1, x.shape[1], -1, -1) for of in (found.weights, found.activation)]
    save_sheet(path, torch.cat([unit(x), *maps]), columns=len(x), scale=2)


def _places(maps: Tensor) -> tuple[int, int]:
    return maps.shape[1], maps.shape[2]
