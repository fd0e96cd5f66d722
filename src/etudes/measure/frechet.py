"""How far a set of samples is from a set of data: as distributions, and each sample from its nearest neighbour."""

import torch
from torch import Tensor

from etudes.core.errors import Problem


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance between Gaussians fitted to the features a: [n, d] and b: [m, d], at least 0.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with covariances A and B of n - 1 (Dowson and Landau 1982,
    "The Fréchet distance between multivariate normal distributions"; Heusel et al. 2017, arXiv:1706.08500, eq. 6; with
    features of an Inception network it is the FID). The last trace is the sum of the singular values of A^1/2 B^1/2:
    the roots come from symmetric eigendecompositions in float64, so that nothing turns complex. The estimate is biased
    upwards, the more the smaller the sets: compare at equal n and m alone. Raises Problem where a set has fewer than
    d + 1 rows, too few for a covariance of full rank, or a feature is not finite.
    """
    for x in (a, b):
        if x.ndim != 2 or x.shape[1] != a.shape[1] or not x.shape[1]:
            raise Problem(f"a Fréchet distance needs features [n, d] and [m, d], not {[*a.shape]} and {[*b.shape]}")
        if len(x) < x.shape[1] + 1:
            raise Problem(f"{len(x)} rows are too few for a covariance of {x.shape[1]} features; take {x.shape[1] + 1}")
        if not torch.isfinite(x).all():
            raise Problem("a Fréchet distance needs finite features; the samples or the features have diverged")
    a, b = a.detach().double(), b.detach().double()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    roots, spread = [], shift.new_zeros(())
    for x in (a, b):
        covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(0)  # rounding may put a zero below itself
        roots.append((vectors * values.sqrt()) @ vectors.T)
        spread = spread + values.sum()
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    return max(0.0, (shift + spread - 2 * shared).item())


def nearest(x: Tensor, pool: Tensor, batch: int = 500) -> Tensor:
    """The Euclidean distance [n], float64, of each of x: [n, ...] to the nearest of pool: [m, ...].

    Small ones, against those of held-out data, show that samples are copies. The neighbour is found by products of
    matrices, |x|^2 - 2 x p + |p|^2 in float64, and its distance computed anew from the difference, so that a copy is
    at 0. Raises Problem where the pool is empty or of another shape.
    """
    if not len(pool) or x.shape[1:] != pool.shape[1:]:
        raise Problem(f"nearest needs a pool of pictures alike, not {[*pool.shape]} for {[*x.shape]}")
    pool = pool.detach().flatten(1).double()
    squares = pool.square().sum(1)
    found = []
    for part in x.detach().flatten(1).split(batch):
        part = part.double()
        neighbour = pool[(squares - 2 * part @ pool.T).argmin(1)]
        found.append((part - neighbour).square().sum(1).sqrt())
    return torch.cat(found) if found else pool.new_zeros(0)
