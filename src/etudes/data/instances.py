"""Objects in masks: numbered, parted where they touch, and how far every pixel is from the nearest two."""

import numpy as np
from scipy import ndimage

from etudes.core.errors import Problem


def components(mask: np.ndarray) -> np.ndarray:
    """The connected parts (by edges, not by corners) of a mask [h, w], numbered from 1 in int32; 0 is none."""
    return ndimage.label(mask)[0].astype(np.int32)


def ridge(instances: np.ndarray) -> np.ndarray:
    """Which pixels [h, w] belong to an object and have another one among their eight neighbours.

    As background they part objects that touch (Ronneberger et al. 2015, arXiv:1505.04597, sec. 3, insert such borders
    and do not say how wide: here both objects give one pixel).
    """
    if instances.ndim != 2:
        raise Problem(f"objects are numbered in an array [h, w], not {[*instances.shape]}")
    highest = ndimage.maximum_filter(instances, 3)
    lowest = ndimage.minimum_filter(np.where(instances > 0, instances, np.iinfo(np.int32).max), 3)
    return (instances > 0) & ((highest != instances) | (lowest != instances))


def border_distances(instances: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The distances (d1, d2), float32 [h, w] in pixels, to the nearest object and to the second nearest.

    0 inside of an object, to itself. A distance beyond `reach` is infinite, as where there are less than two objects:
    each object is then looked at in its surroundings alone.
    """
    h, w = instances.shape
    first = np.full((h, w), np.inf, np.float32)
    second = first.copy()
    around = int(np.ceil(reach))
    for number, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        place = tuple(
            slice(max(0, s.start - around), min(n, s.stop + around)) for s, n in zip(box, (h, w), strict=True)
        )
        far = ndimage.distance_transform_edt(instances[place] != number).astype(np.float32)
        far[far > reach] = np.inf
        near = first[place]
        second[place] = np.minimum(second[place], np.maximum(near, far))
        first[place] = np.minimum(near, far)
    return first, second
