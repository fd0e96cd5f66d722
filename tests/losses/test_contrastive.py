import math

import pytest
import torch

from etudes.core import Problem
from etudes.losses.contrastive import nt_xent


def views(n=5, d=4):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator) for _ in range(2)]


def cosine(u, v):
    return sum(p * q for p, q in zip(u, v, strict=True)) / math.sqrt(sum(p * p for p in u) * sum(q * q for q in v))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_it_is_the_naive_loop(temperature):
    a, b = views()
    rows, n = [*a.tolist(), *b.tolist()], len(a)
    total = 0.0
    for i, row in enumerate(rows):
        partner = i + n if i < n else i - n
        others = sum(math.exp(cosine(row, rows[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cosine(row, rows[partner]) / temperature) / others)
    assert nt_xent(a, b, temperature).item() == pytest.approx(total / (2 * n), rel=1e-5)


def test_it_knows_neither_lengths_nor_the_order_of_views_and_pictures():
    a, b = views()
    loss = nt_xent(a, b)
    lengths = torch.tensor([[0.1], [1.0], [5.0], [20.0], [3.0]])
    assert torch.allclose(nt_xent(a * lengths, b), loss)
    assert torch.allclose(nt_xent(b, a), loss)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(nt_xent(a[order], b[order]), loss)
    assert nt_xent(a, b[order]) > nt_xent(a, a)  # which view belongs to which picture does matter


def test_its_ends_are_known():
    same = torch.ones(8, 3)
    assert nt_xent(same, same).item() == pytest.approx(math.log(15))
    apart = torch.eye(4)  # views alike, pictures at right angles
    assert nt_xent(apart, apart, 0.01).item() == pytest.approx(0, abs=1e-6)
    assert nt_xent(apart, apart, 1.0).item() == pytest.approx(math.log(1 + 6 / math.e), rel=1e-5)


def test_its_gradient_draws_views_together_and_half_precision_gives_a_float32_loss():
    a, b = views()
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(nt_xent(a, b), a)
    assert nt_xent(a - 0.1 * gradient, b) < nt_xent(a, b)
    assert nt_xent(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_bad_input_is_refused():
    a, b = views()
    with pytest.raises(Problem, match="same shape"):
        nt_xent(a, b[:3])
    with pytest.raises(Problem, match="at least two pictures"):
        nt_xent(a[:1], b[:1])
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(Problem, match="temperature"):
            nt_xent(a, b, temperature)
