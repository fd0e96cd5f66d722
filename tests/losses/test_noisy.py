import math

import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.losses import noisy


def drawn(n=30, classes=6, scale=3.0):
    rng = torch.Generator().manual_seed(4)
    return scale * torch.randn(n, classes, generator=rng), torch.randint(classes, (n,), generator=rng)


def gradient(loss, z):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("log_zero", [-4.0, -9.21])
def test_the_reverse_part_is_the_naive_sum_with_a_number_for_log_zero(log_zero):
    z, y = drawn()
    total = 0.0
    for row, label in zip(z.double(), y.tolist(), strict=True):
        p = [math.exp(v) / sum(math.exp(u) for u in row) for v in row]
        total -= sum(p[k] * (0.0 if k == label else log_zero) for k in range(6))
    assert noisy.reverse_cross_entropy(z, y, log_zero).item() == pytest.approx(total / len(y), rel=1e-5)


def test_the_reverse_part_is_the_mean_absolute_error_where_log_zero_is_minus_two():
    z, y = drawn()
    absolute = (functional.one_hot(y, 6) - z.softmax(1)).abs().sum(1).mean()
    assert torch.allclose(noisy.reverse_cross_entropy(z, y, -2), absolute)


def test_over_all_classes_the_reverse_part_sums_to_a_constant():
    """So wrong labels that are drawn evenly do not move its minimum (the paper's theorem)."""
    z, _ = drawn()
    total = sum(noisy.reverse_cross_entropy(z, torch.full((len(z),), k)) for k in range(6))
    assert total.item() == pytest.approx(-noisy.A * 5, rel=1e-6)


def test_without_beta_it_is_cross_entropy_to_the_bit_and_the_clamped_version_is_not():
    z, y = drawn()
    entropy = functional.cross_entropy(z, y)
    assert noisy.symmetric_cross_entropy(z, y, 1, 0).equal(entropy)
    assert noisy.symmetric_cross_entropy(z, y, 1, 1, -9.21).item() != entropy.item()
    assert abs(noisy.clamped_symmetric_cross_entropy(z, y, 1, 0).item() - entropy.item()) > 1e-3


def test_the_clamped_version_has_the_logarithm_of_its_clamp_for_log_zero():
    z, y = drawn(scale=1.0)
    ours = noisy.reverse_cross_entropy(z, y, math.log(noisy.CLAMP))
    assert noisy.clamped_symmetric_cross_entropy(z, y, 0, 1).item() == pytest.approx(ours.item(), rel=1e-5)
    assert math.log(noisy.CLAMP) == pytest.approx(-9.21, abs=0.001)


def test_beta_and_log_zero_count_as_their_product():
    z, y = drawn()
    a, b = (noisy.symmetric_cross_entropy(z, y, 0.1, beta, log_zero) for beta, log_zero in ((1, -4), (0.5, -8)))
    assert a.item() == pytest.approx(b.item(), rel=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(1, 0), (0, 1), (0.1, 1.0), (6, 0.1)])
def test_its_gradient_is_the_papers(alpha, beta):
    z, y = drawn()
    p = z.double().softmax(1)
    own = p.gather(1, y[:, None])
    others = alpha * p - beta * noisy.A * p * own
    expected = torch.where(functional.one_hot(y, 6).bool(), -noisy.pull(own, alpha, beta), others)
    ours = gradient(lambda z: len(y) * noisy.symmetric_cross_entropy(z, y, alpha, beta), z)
    assert torch.allclose(ours.double(), expected, atol=1e-5)


def test_the_reverse_part_pulls_most_half_way_and_hardly_at_a_hopeless_label():
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    pull = noisy.pull(p, 0, 1)
    assert p[pull.argmax()] == 0.5
    assert pull.max().item() == pytest.approx(-noisy.A / 4)
    z = torch.tensor([[200.0, 0.0]])
    hopeless = gradient(lambda z: noisy.symmetric_cross_entropy(z, torch.tensor([1]), 0, 1), z)
    assert hopeless.abs().max() < 1e-20


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_generalised_loss_is_the_naive_loop(q):
    z, y = drawn()
    losses = [(1 - row.softmax(0)[label] ** q) / q for row, label in zip(z.double(), y, strict=True)]
    assert noisy.generalised_cross_entropy(z, y, q).item() == pytest.approx(sum(losses).item() / len(y), rel=1e-5)


def test_the_ends_of_the_generalised_loss_are_cross_entropy_and_the_reverse_one_with_one_for_log_zero():
    z, y = drawn()
    entropy = functional.cross_entropy(z, y)
    assert torch.allclose(noisy.generalised_cross_entropy(z, y, 0), entropy)
    assert noisy.generalised_cross_entropy(z, y, 1e-6).item() == pytest.approx(entropy.item(), rel=1e-4)
    assert torch.allclose(noisy.generalised_cross_entropy(z, y, 1), noisy.reverse_cross_entropy(z, y, -1))


def test_in_half_precision_they_are_computed_in_single():
    z, y = drawn()
    z = z.bfloat16()
    for loss in (
        lambda z: noisy.symmetric_cross_entropy(z, y, 0.1, 1),
        lambda z: noisy.clamped_symmetric_cross_entropy(z, y, 0.1, 1),
        lambda z: noisy.generalised_cross_entropy(z, y, 0.7),
    ):
        assert loss(z).dtype == torch.float32
        assert loss(z).equal(loss(z.float()))


def test_what_cannot_be_is_refused_in_one_sentence():
    z, y = drawn()
    with pytest.raises(Problem, match="below 0"):
        noisy.reverse_cross_entropy(z, y, 0)
    with pytest.raises(Problem, match="from 0 to 1"):
        noisy.generalised_cross_entropy(z, y, 1.5)
