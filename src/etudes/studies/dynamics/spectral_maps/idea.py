"""Maps between the eigenvectors of two operators: of surfaces, and of layers of networks. All in float64.

Papers: FM is Ovsjanikov, Ben-Chen, Solomon, Butscher, Guibas 2012, Functional Maps; GM is Guth and Ménard 2024,
arXiv:2409.19460.
"""

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem


def spectral_map(source: Tensor, target: Tensor, carry: Tensor, mass: Tensor | None = None) -> Tensor:
    """C [k2, k1] = target^T diag(mass) carry source: what each basis function becomes, in the other basis.

    source: [n1, k1] and target: [n2, k2], an orthonormal function a column, the target's in the inner product of `mass`
    [n2] (None: 1 everywhere); carry: [n2, n1], what brings functions over. FM: eigenfunctions of Laplacians, `carry`
    the correspondence of points, `mass` the areas, so that target^T diag(mass) is the pseudo-inverse of target. GM:
    eigenvectors of weight covariances, and for `carry` the rotation that best aligns the activations.

    >>> spectral_map(torch.eye(2), torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    carried = carry @ source
    return target.T @ (carried if mass is None else mass[:, None] * carried)


def procrustes(x: Tensor, y: Tensor) -> Tensor:
    """The orthogonal R [c, c] for which the sum of |R x_i - y_i|^2 over rows x: [n, c] and y: [n, c], both centred, is
    least: U V^T of the singular value decomposition of y^T x (Schönemann 1966; GM's alignment). Raises Problem where
    the numbers of rows or of channels differ, and where the rows are too few to determine it."""
    if x.shape != y.shape or x.ndim != 2:
        raise Problem(f"an alignment needs activations [n, c] alike in both, not {[*x.shape]} and {[*y.shape]}")
    if len(x) <= x.shape[1]:
        raise Problem(f"{len(x)} activations of {x.shape[1]} channels determine no rotation; give more than channels")
    u, _, vh = torch.linalg.svd((y - y.mean(0)).T @ (x - x.mean(0)))
    return u @ vh


def random_rotation(n: int, rng: np.random.Generator) -> Tensor:
    """An orthogonal matrix [n, n], uniform over all (Mezzadri 2007, arXiv:math-ph/0609050)."""
    q, r = np.linalg.qr(rng.normal(size=(n, n)))
    return torch.from_numpy(q * np.sign(np.diag(r)))


def eigenvectors(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [c], from the largest down, and eigenvectors [c, c], a column each, of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0), vectors.flip(1)


def channel_covariance(weight: Tensor) -> Tensor:
    """W^T W / n [c, c] over the n = out h w rows of a filter [out, c, h, w]: its covariance over input channels, with
    the spatial one factored out (GM). Not centred, as GM's encoding is of the directions that neurons read."""
    rows = weight.double().flatten(2).transpose(1, 2).flatten(0, 1)
    return rows.T @ rows / len(rows)


def spatial_covariance(weight: Tensor) -> Tensor:
    """[h w, h w] over all pairs of channels of a filter [out, c, h, w]: the other factor (GM)."""
    rows = weight.double().flatten(2).flatten(0, 1)
    return rows.T @ rows / len(rows)


def shrink(values: Tensor, samples: int) -> Tensor:
    """Eigenvalues [c], of a covariance from `samples` rows, without what independent weights would give.

    Noise of variance s gives eigenvalues up to s (1 + sqrt(g))^2, g = c / samples (Marchenko and Pastur); s is the
    median over 1, which holds for small g. One above becomes l - s, with l / s = ((z + 1 - g) + sqrt((z + 1 - g)^2 -
    4 z)) / 2 and z the eigenvalue over s, which inverts z = l (1 + g / (l - 1)); others become 0 (Donoho, Gavish and
    Johnstone 2018, arXiv:1311.0851, sec. 1). GM shrink too; how is told by them, and may differ.
    """
    g = len(values) / samples
    noise = values.median().clamp_min(1e-300)
    z = values / noise
    b = z + 1 - g
    spike = (b + (b.square() - 4 * z).clamp_min(0).sqrt()) / 2
    return torch.where(z > (1 + g**0.5) ** 2, noise * (spike - 1), 0.0)


def overlap(c: Tensor, k: int) -> float:
    """The share, from 0 to 1, of the first k source functions that the first k target functions hold: |C_kk|^2 / k.

    Signs and rotations within either space change nothing. A random rotation of n channels has k / n on average.
    """
    return (c[:k, :k].square().sum() / k).item()


def orthogonality_error(c: Tensor) -> float:
    """|C^T C - I| / sqrt(k), by Frobenius, of C [k, k]: 0 where areas are kept (FM)."""
    return ((c.T @ c - torch.eye(c.shape[1], dtype=c.dtype)).norm() / c.shape[1] ** 0.5).item()


def commutation_error(c: Tensor, values: Tensor, other: Tensor) -> float:
    """|C L1 - L2 C| / (|C L1| + |L2 C|), from 0 to 1, with the eigenvalues of source and target: 0 for isometries
    (FM)."""
    before, after = c * values, other[:, None] * c
    return ((before - after).norm() / (before.norm() + after.norm())).item()


def bures(one: Tensor, other: Tensor) -> float:
    """tr((A^1/2 B A^1/2)^1/2) / sqrt(tr A tr B), from 0 to 1, of covariances A and B: 1 - d^2 / 2 for the Bures-
    Wasserstein distance d of both scaled to trace 1 (GM's similarity). 0 where one of them is 0."""
    scale = (one.trace() * other.trace()).sqrt()
    if scale == 0:
        return 0.0
    return (torch.linalg.svdvals(_root(one) @ _root(other)).sum() / scale).item()


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of rows x: [n, c] and y: [n, d], from 0 to 1: |y^T x|^2 / (|x^T x| |y^T y|), both
    centred (Kornblith et al. 2019, arXiv:1905.00414, sec. 3)."""
    x, y = x - x.mean(0), y - y.mean(0)
    return ((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())).item()


def likeness(one: Tensor, other: Tensor) -> float:
    """The cosine, from 0 to 1, between the absolute entries of two matrices: signs of eigenvectors are free."""
    a, b = one.abs().flatten(), other.abs().flatten()
    return (a @ b / (a.norm() * b.norm())).item()


def _root(a: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T
