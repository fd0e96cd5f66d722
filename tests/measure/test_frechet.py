import math

import pytest
import torch

from etudes.core.errors import Problem
from etudes.measure.frechet import frechet, nearest


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n: int, d: int, seed: int) -> torch.Tensor:
    """Rows whose mean is 0 and whose covariance is the identity, exactly but for rounding."""
    x = normal(n, d, seed)
    x = x - x.mean(0)
    return torch.linalg.qr(x).Q * math.sqrt(n - 1)


def test_diagonal_gaussians_have_a_closed_form() -> None:
    deviations = torch.tensor([[1.0, 2.0, 0.5, 3.0], [1.5, 0.1, 0.5, 2.0]], dtype=torch.float64)
    a, b = (whitened(50 + 10 * i, 4, i) * deviations[i] + 2.0 * i for i in (0, 1))
    expected = 4 * 2.0**2 + (deviations[0] - deviations[1]).square().sum().item()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (65, 300, 64), (40, 40, 1)])
def test_against_scipys_matrix_root(n: int, m: int, d: int) -> None:
    import numpy
    from scipy.linalg import sqrtm

    a, b = normal(n, d, 0) @ normal(d, d, 2), normal(m, d, 1) @ normal(d, d, 3) + 0.3
    first, second = (numpy.atleast_2d(numpy.cov(x.numpy(), rowvar=False)) for x in (a, b))
    root = sqrtm(first @ second)
    shift = float((a.mean(0) - b.mean(0)).square().sum())
    expected = shift + numpy.trace(first + second - 2 * numpy.real(root))
    assert frechet(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet(a.float(), b.float()) == pytest.approx(expected, rel=1e-4)


def test_a_set_is_at_zero_from_itself_and_a_shifted_one_at_the_squared_shift() -> None:
    for d in (3, 50):
        a = normal(200, d, 0) @ normal(d, d, 1)
        assert 0 <= frechet(a, a) < 1e-9 * a.square().sum().item() / 200
        assert 0 <= frechet(a, a[torch.randperm(200)]) < 1e-9 * a.square().sum().item() / 200
        assert frechet(a, a + 2.0) == pytest.approx(4.0 * d, rel=1e-8)


def test_features_that_never_vary_do_no_harm() -> None:
    a, b = whitened(60, 4, 0), whitened(60, 4, 1)
    a[:, 2], b[:, 2] = 1.0, 4.0
    b[:, 3] = 0.0
    assert frechet(a, b) == pytest.approx(9.0 + 1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (torch.zeros(8, 8), torch.zeros(20, 8), "8 rows are too few for a covariance of 8 features; take 9"),
        (torch.zeros(20, 8), torch.zeros(2, 8), "2 rows are too few for a covariance of 8 features; take 9"),
        (torch.zeros(20, 8), torch.zeros(20, 7), r"features \[n, d\] and \[m, d\], not \[20, 8\] and \[20, 7\]"),
        (torch.zeros(20, 2, 2), torch.zeros(20, 2, 2), r"needs features \[n, d\]"),
        (torch.full((20, 2), math.nan), torch.zeros(20, 2), "needs finite features"),
    ],
)
def test_what_has_no_distance_is_told(a: torch.Tensor, b: torch.Tensor, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        frechet(a, b)


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_nearest_against_a_loop(batch: int) -> None:
    x, pool = torch.rand(7, 3, 4, 4), torch.rand(11, 3, 4, 4)
    found = nearest(x, pool, batch)
    for sample, distance in zip(x, found, strict=True):
        wanted = min(math.dist(sample.flatten().tolist(), other.flatten().tolist()) for other in pool)
        assert distance.item() == pytest.approx(wanted, rel=1e-12)
    assert nearest(x[:0], pool, batch).shape == (0,)


def test_a_copy_is_at_zero_and_a_near_copy_just_beside() -> None:
    pool = 1e3 + torch.rand(50, 100)
    assert nearest(pool[:5], pool).tolist() == [0.0] * 5
    step = torch.zeros(5, 100)
    step[:, 3] = 2.0**-10
    assert nearest(pool[:5] + step, pool).tolist() == [2.0**-10] * 5


def test_bytes_are_not_wrapped_around() -> None:
    x = torch.tensor([[0, 255]], dtype=torch.uint8)
    assert nearest(x, torch.tensor([[3, 251], [255, 0]], dtype=torch.uint8)).tolist() == [5.0]


def test_nearest_needs_a_pool_of_the_same_shape() -> None:
    for pool in (torch.zeros(0, 4), torch.zeros(3, 5)):
        with pytest.raises(Problem, match="nearest needs a pool"):
            nearest(torch.zeros(2, 4), pool)
