"""Double descent where it can be calculated: linear regression on some of the features that decide the answer.

There are `total` independent standard normal features x, and y = x . beta + noise, where |beta|^2 = `signal` is spread
evenly over all features and `noise` is the variance of what is added. A learner sees the first p features alone: what
the others say is noise to it. All errors are squared errors of y on fresh examples, the noise in it included.
"""

import math

import numpy
from numpy import ndarray
from numpy.random import Generator

from etudes.core.errors import Problem


def variance(ratio: float) -> float:
    """The variance of least squares for p / n = `ratio` features an example, as a multiple of the noise's.

    g / (1 - g) for g < 1, and 1 / (g - 1) for g > 1, where of all weights without training error those of the least
    norm are taken; without bound at g = 1. In the limit of many examples (Hastie et al. 2019, arXiv:1903.08560, eq. 9).
    """
    if ratio <= 0:
        raise Problem(f"the features an example are {ratio}, but must be above 0")
    return math.inf if ratio == 1 else ratio / (1 - ratio) if ratio < 1 else 1 / (ratio - 1)


def shares(p: int, total: int, signal: float, noise: float) -> tuple[float, float]:
    """What the p visible features say of y, and what is noise to who sees these alone: the hidden ones' part too."""
    if not 0 < p <= total:
        raise Problem(f"{p} of {total} features cannot be seen; take from 1 to {total}")
    seen = signal * p / total
    return seen, noise + signal - seen


def expected_error(p: int, n: int, total: int, signal: float, noise: float) -> float:
    """The expected test error of least squares on n examples, of least norm where p > n; infinite for |p - n| < 2.

    Exact for every n (Belkin, Hsu, Xu 2019, arXiv:1903.07571, theorem 1; Breiman, Freedman 1983 for p < n).
    """
    seen, unseen = shares(p, total, signal, noise)
    if abs(p - n) < 2:
        return math.inf
    if p < n:
        return unseen * (1 + p / (n - p - 1))
    return seen * (1 - n / p) + unseen * (1 + n / (p - n - 1))


def best_penalty(p: int, n: int, total: int, signal: float, noise: float) -> float:
    """The penalty l of `ridge_error` that has the lowest error: p / n times noise over signal, as the learner sees them
    (Hastie et al. 2019, corollary 5)."""
    seen, unseen = shares(p, total, signal, noise)
    return p / n * unseen / seen if seen else math.inf


def ridge_error(p: int, n: int, total: int, signal: float, noise: float, penalty: float) -> float:
    """The expected test error of the weights that minimise |y - X w|^2 / n + l |w|^2, l = `penalty` > 0.

    In the limit of many examples at p / n = g: with m(l) the Stieltjes transform at -l of the eigenvalues of X'X / n
    (Marchenko, Pastur 1967), the squared bias is -signal l^2 m'(l) and the variance noise g (m + l m') (Hastie et al.
    2019, theorem 5, whose m' is that of the other sign).
    """
    if penalty <= 0:
        raise Problem(f"the penalty is {penalty}, but must be above 0; without one take expected_error")
    seen, unseen = shares(p, total, signal, noise)
    if penalty == math.inf:
        return seen + unseen
    g = p / n
    a = 1 - g + penalty
    root = math.sqrt(a * a + 4 * g * penalty)
    m = 2 / (root + a) if a > 0 else (root - a) / (2 * g * penalty)  # the same number, without cancellation
    slope = -m * (1 + g * m) / root  # from g l m^2 + a m = 1
    return unseen - seen * penalty**2 * slope + unseen * g * (m + penalty * slope)


def draw(n: int, total: int, signal: float, noise: float, rng: Generator) -> tuple[ndarray, ndarray, ndarray]:
    """n examples x: [n, total], their answers y: [n], and beta: [total], of a direction drawn evenly."""
    beta = rng.normal(size=total)
    beta *= math.sqrt(signal) / numpy.linalg.norm(beta)
    x = rng.normal(size=(n, total))
    return x, x @ beta + math.sqrt(noise) * rng.normal(size=n), beta


def weights(x: ndarray, y: ndarray, penalties: list[float]) -> ndarray:
    """For each penalty l the weights [l, p, ...] that minimise |y - X w|^2 / n + l |w|^2; of least norm where l is 0.

    x: [n, p], y: [n, ...]. One singular value decomposition serves all penalties. Without a penalty, singular values
    below a thousand millionth of the largest count as 0.
    """
    u, s, v = numpy.linalg.svd(x, full_matrices=False)
    inner = u.T @ y.reshape(len(y), -1)
    tiny = s < 1e-9 * s[0]
    found = []
    for penalty in penalties:
        below = s * s + len(x) * penalty
        shrunk = numpy.where(tiny & (penalty == 0), 0.0, s / numpy.where(below == 0, 1.0, below))
        found.append((v.T @ (shrunk[:, None] * inner)).reshape(x.shape[1], *y.shape[1:]))
    return numpy.stack(found)


def error(w: ndarray, beta: ndarray, noise: float) -> float:
    """The exact test error of weights w: [p] on the first features of y = x . beta + noise."""
    p = len(w)
    return float(noise + ((w - beta[:p]) ** 2).sum() + (beta[p:] ** 2).sum())


def relu_features(x: ndarray, directions: ndarray) -> ndarray:
    """The random features relu(x . d) / sqrt(p) [n, p] of x: [n, inputs] in p directions d: [p, inputs], never trained
    (Rahimi, Recht 2007; with double descent in Belkin et al. 2019, arXiv:1812.11118, whose features are Fourier's)."""
    return numpy.maximum(x @ directions.T, 0) / math.sqrt(len(directions))
