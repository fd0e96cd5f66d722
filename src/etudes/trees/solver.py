"""Many linear classifiers on the same documents at once: the squared hinge, by Newton's method on all columns together.

min_w  |w|^2 / 2 + C sum_i max(0, 1 - y_i x_i w)^2, for each column of y: Keerthi and DeCoste 2005, "A Modified Finite
Newton Method for Fast Solution of Large Scale Linear SVMs" (JMLR 6): the objective is piecewise quadratic, so the
Newton system of the documents inside the margin, solved by conjugate gradients, gives a direction, and the best step
along it is found exactly. A bias is a column of x that is 1 everywhere, so it is regularised as in LIBLINEAR.

All vectors are sums of documents, w = x' b, and are kept as their coefficients b [n, k], which are fewer than features:
a step of conjugate gradients takes one product with the documents' inner products x x'. See Chapelle 2007, "Training a
Support Vector Machine in the Primal". Products go by way of the features, with sparse matrices alone: a dense x x' is
no faster, and BLAS adds up in an order that depends on the processor, so weights would too.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

ROUNDS, INNER, STEPS = 100, 4, 4  # at most: Newton rounds; conjugate gradients in each; corrections of a step's length

Products = Callable[[np.ndarray], np.ndarray]  # coefficients b [n, k] -> x x' b


def squared_hinge(x: sparse.csr_matrix, y: np.ndarray, cost: float, tolerance: float = 0.1) -> np.ndarray:
    """The weights float32 [d, k] for documents x [n, d] and classes y [n, k] of -1 and 1, one problem a column.

    A column is solved when its gradient is `tolerance` times the share of the rarer class as long as at the beginning,
    LIBLINEAR's rule: the first steps only learn that a rare class is rare. PECOS too stops LIBLINEAR at 0.1.
    """
    x = x.astype(np.float32, copy=False)
    across = x.T.tocsr()

    def products(b: np.ndarray) -> np.ndarray:
        return x @ (across @ b)

    y = y.astype(np.float32, copy=False)
    b, f = np.zeros_like(y), np.zeros_like(y)  # coefficients; margins x w
    rarer = np.maximum(np.minimum((y > 0).sum(0), (y < 0).sum(0)), 1) / max(1, len(y))
    limits, left = None, np.arange(y.shape[1])
    for _ in range(ROUNDS):
        own = y[:, left]
        slack = np.maximum(1 - own * f[:, left], 0)
        gradient = b[:, left] - 2 * cost * own * slack
        image = products(gradient)
        size = _dot(gradient, image)
        limits = size * (tolerance * rarer) ** 2 if limits is None else limits
        open_ = size > limits[left]
        left, own = left[open_], own[:, open_]
        if not len(left):
            break
        s, xs = _direction(products, slack[:, open_] > 0, gradient[:, open_], image[:, open_], cost)
        t = _length(_dot(f[:, left], s), _dot(xs, s), f[:, left], xs, own, cost)
        b[:, left] += t * s
        f[:, left] += t * xs
    return across @ b


def _direction(
    products: Products, active: np.ndarray, gradient: np.ndarray, image: np.ndarray, cost: float
) -> tuple[np.ndarray, np.ndarray]:
    """About -H^-1 gradient and its margins, H = I + 2 C x' A x, by conjugate gradients; each column has its own A.

    `image` is products(gradient); lengths are those of the weights, |x' b|^2 = b' x x' b.
    """
    scale = np.where(active, np.float32(2 * cost), np.float32(0))
    rest, rest_image = -gradient, -image
    p, xp = rest.copy(), rest_image.copy()
    s, xs = np.zeros_like(p), np.zeros_like(p)
    size = _dot(rest, rest_image)
    limit = 0.01 * size  # a tenth of the gradient's length is left
    for at in range(INNER):
        hp = p + scale * xp
        reach = np.where(size > limit, size / np.maximum(_dot(xp, hp), 1e-30), 0).astype(np.float32)
        s += reach * p
        xs += reach * xp
        if at + 1 == INNER:
            break
        rest -= reach * hp
        rest_image = products(rest)
        new = np.maximum(_dot(rest, rest_image), 0)
        if (new <= limit).all():
            break
        ratio = new / np.maximum(size, 1e-30)
        p = rest + ratio * p
        xp = rest_image + ratio * xp
        size = new
    return s, xs


def _length(
    across: np.ndarray, along: np.ndarray, f: np.ndarray, xs: np.ndarray, y: np.ndarray, cost: float
) -> np.ndarray:
    """The step t [k] >= 0 along s that makes each column's objective smallest, by Newton's method on its derivative;
    `across` is w's, `along` s's own inner product with s."""
    t = np.ones(xs.shape[1], np.float32)
    for _ in range(STEPS):
        slack = np.maximum(1 - y * (f + t * xs), 0)
        slope = across + t * along - 2 * cost * _dot(y * xs, slack)
        bend = along + 2 * cost * _dot(xs * xs, (slack > 0).astype(np.float32))
        t = np.maximum(t - slope / np.maximum(bend, 1e-30), 0)
    return t


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", a, b)
