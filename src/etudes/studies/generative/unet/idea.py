"""The paper's weight map: the background between cells that touch weighs most."""

import numpy
import torch
from torch import Tensor

from etudes.data.instances import border_distances
from etudes.data.masks import Masks


def weight_map(d1: Tensor, d2: Tensor, balance: Tensor, w0: float, sigma: float) -> Tensor:
    """w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)) (eq. 2), all [.., h, w]: how much the loss of each pixel weighs.

    d1, d2: pixels to the nearest two cells, of background alone; within a cell they are infinite. balance: w_c. A pixel
    that is one away from two cells has 9.2 more:

    >>> round(weight_map(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(0.0), 10, 5).item(), 1)
    9.2
    """
    return balance + w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))


def class_balance(y: Tensor, classes: int) -> Tensor:
    """w_c [n, h, w] of classes y [n, h, w]: all pixels over those of the pixel's class, over the number of classes."""
    counts = torch.bincount(y.reshape(-1).long(), minlength=classes)
    return (y.numel() / (classes * counts.clamp_min(1).double()))[y.long()].float()


def training_weights(d: Masks, w0: float, sigma: float) -> Tensor:
    """The weights float [n, h, w] of the training pixels, scaled to mean 1; of a set without objects w_c alone.

    The paper does not scale them. Unscaled, a step of the same learning rate would be larger than without weights.
    """
    found = class_balance(d.y, len(d.classes))
    if d.instances is not None:
        far = torch.from_numpy(numpy.stack([border_distances(p, 5 * sigma) for p in d.instances.numpy()]))
        far = far.masked_fill((d.y > 0)[:, None], torch.inf)
        found = weight_map(far[:, 0], far[:, 1], found, w0, sigma)
    return found / found.mean()
