"""Contrastive losses: two views of one picture are to be alike, views of two pictures are not."""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.5) -> Tensor:
    """The mean over all 2n rows z_i of -log( exp(s(i, j) / T) / sum over k != i of exp(s(i, k) / T) ), in nats.

    Row i of a: [n, d] and row i of b: [n, d] are two views of picture i, so j is the other view of the picture of z_i,
    and k goes through the other 2n - 1 rows. s is the cosine of two rows. The loss is computed in float32; where all
    rows are the same it is log(2n - 1). (Chen et al. 2020, arXiv:2002.05709, eq. 1 and algorithm 1.) In several
    processes each compares its own rows alone. Raises Problem on shapes that differ, on a single pair, which has
    nothing to be told from, and where T is not above 0.
    """
    if a.ndim != 2 or a.shape != b.shape:
        raise Problem(f"two views of n pictures need the same shape [n, d], not {[*a.shape]} and {[*b.shape]}")
    if len(a) < 2:
        raise Problem("a contrastive loss needs at least two pictures, so that each has another to be told from")
    if not temperature > 0:
        raise Problem(f"the temperature is {temperature}, but must be above 0")
    n = len(a)
    with torch.autocast(a.device.type, enabled=False):  # bf16 has two digits of a cosine
        z = functional.normalize(torch.cat([a, b]).float(), dim=1)
        likeness = z @ z.T / temperature
        itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
        other = torch.arange(2 * n, device=z.device).roll(n)
        return functional.cross_entropy(likeness.masked_fill(itself, -torch.inf), other)
