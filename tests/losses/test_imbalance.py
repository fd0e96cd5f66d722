import math

import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.losses import imbalance

COUNTS = torch.tensor([100, 30, 9, 2])


def drawn(n=12, classes=4):
    rng = torch.Generator().manual_seed(3)
    return 3 * torch.randn(n, classes, generator=rng), torch.randint(classes, (n,), generator=rng)


def test_the_balanced_softmax_is_the_logit_adjusted_loss_up_to_notation():
    z, y = drawn()
    ours = imbalance.logit_adjusted(z, y, imbalance.shares(COUNTS))
    assert imbalance.balanced_softmax(z, y, COUNTS).item() == pytest.approx(ours.item(), rel=1e-6)
    counts = imbalance.logit_adjusted(z, y, COUNTS.float())  # a prior needs no sum of 1
    assert counts.item() == pytest.approx(ours.item(), rel=1e-6)


def test_the_balanced_softmax_is_the_papers_formula():
    z, y = drawn()
    terms = [-math.log(COUNTS[c] * math.exp(row[c]) / sum(n * math.exp(v) for n, v in zip(COUNTS, row, strict=True)))
             for row, c in zip(z.double(), y, strict=True)]  # fmt: skip
    assert imbalance.balanced_softmax(z, y, COUNTS).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_adjusting_afterwards_undoes_the_prior_of_the_loss():
    """Logits that minimise the plain loss are log p(y | x) = log p(x | y) + log prior; adjusted, log p(x | y)."""
    z, _ = drawn()
    prior = imbalance.shares(COUNTS)
    posterior = functional.log_softmax(z + prior.log(), 1)
    assert torch.equal(imbalance.adjust(posterior, prior).argmax(1), z.argmax(1))
    assert torch.equal(imbalance.adjust(z, prior, 0.0), z)


def test_effective_weights_go_from_equal_to_inverse_frequencies():
    assert torch.allclose(imbalance.effective_weights(COUNTS, 0.0), torch.ones(4))
    inverse = 1 / COUNTS.double()
    assert torch.allclose(imbalance.effective_weights(COUNTS, 1 - 1e-9).double(), inverse / inverse.mean(), rtol=1e-4)
    raw = torch.tensor([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS.tolist()])
    assert torch.allclose(imbalance.effective_weights(COUNTS, 0.99), raw / raw.mean(), rtol=1e-5)
    tempered = imbalance.effective_weights(COUNTS, 0.99, 0.5)
    assert torch.allclose(tempered, raw.sqrt() / raw.sqrt().mean(), rtol=1e-5)


def test_a_weighted_loss_counts_an_example_as_often_as_its_weight():
    z, y = drawn()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rows = torch.repeat_interleave(torch.arange(len(y)), weights[y].long())
    many = functional.cross_entropy(z[rows], y[rows], reduction="sum") / len(y)
    assert imbalance.weighted_cross_entropy(z, y, weights).item() == pytest.approx(many.item(), rel=1e-6)


def test_ldam_lowers_the_true_cosine_by_its_margin():
    z, y = drawn()
    cosines = z.tanh()
    margins = imbalance.ldam_margins(COUNTS, 0.5)
    assert margins[-1] == pytest.approx(0.5)
    assert (margins / margins[0]).tolist() == pytest.approx([(100 / n) ** 0.25 for n in COUNTS.tolist()])
    total = 0.0
    for row, c in zip(cosines.double().tolist(), y.tolist(), strict=True):
        reduced = [v - (k == c) * float(margins[k]) for k, v in enumerate(row)]
        total -= 30 * reduced[c] - math.log(sum(math.exp(30 * v) for v in reduced))
    ours = imbalance.ldam(cosines, y, margins, 30.0, torch.ones(4))
    assert ours.item() == pytest.approx(total / len(y), rel=1e-5)
    none = imbalance.ldam(cosines, y, torch.zeros(4), 30.0, torch.ones(4))
    assert none.item() == pytest.approx(functional.cross_entropy(30 * cosines, y).item(), rel=1e-6)


def test_tau_one_makes_all_classes_weights_of_length_one():
    weight = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(imbalance.tau_normalise(weight, 1.0).norm(dim=1), torch.ones(4))
    assert torch.equal(imbalance.tau_normalise(weight, 0.0), weight)
    half = imbalance.tau_normalise(weight, 0.5)
    assert torch.allclose(half.norm(dim=1), weight.norm(dim=1).sqrt())


def test_the_focal_loss_is_the_papers_formula():
    z, y = drawn()
    p = [math.exp(row[c]) / sum(math.exp(v) for v in row) for row, c in zip(z.double(), y, strict=True)]
    for gamma in (0.5, 2.0):
        mean = sum(-((1 - q) ** gamma) * math.log(q) for q in p) / len(p)
        assert imbalance.focal(z, y, gamma).item() == pytest.approx(mean, rel=1e-5)
    assert imbalance.focal(z, y, 0.0).item() == pytest.approx(functional.cross_entropy(z, y).item(), rel=1e-6)


def test_the_focal_loss_has_a_gradient_where_an_example_is_learnt():
    z = torch.tensor([[60.0, 0.0], [0.0, 1.0]], requires_grad=True)
    imbalance.focal(z, torch.tensor([0, 1]), 0.5).backward()
    assert torch.isfinite(z.grad).all()


def test_the_divergence_of_experts_is_the_mean_over_pairs():
    z = torch.stack([drawn(5)[0] * factor for factor in (1.0, -0.5, 2.0)])
    log_p = functional.log_softmax(z.double(), -1)
    pairs = [
        sum(float(log_p[i, n, c].exp() * (log_p[i, n, c] - log_p[j, n, c])) for c in range(4))
        for i in range(3)
        for j in range(3)
        for n in range(5)
        if i != j
    ]
    assert imbalance.expert_divergence(z).item() == pytest.approx(sum(pairs) / (5 * 6), rel=1e-5)
    assert imbalance.expert_divergence(z[[0, 0]]).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(Problem, match="there is 1"):
        imbalance.expert_divergence(z[:1])


def test_what_has_no_meaning_is_refused():
    z, y = drawn()
    with pytest.raises(Problem, match="rarest has 0"):
        imbalance.balanced_softmax(z, y, torch.tensor([3, 2, 1, 0]))
    with pytest.raises(Problem, match="rarest has none"):
        imbalance.shares(torch.zeros(0))
    with pytest.raises(Problem, match="beta is 1"):
        imbalance.effective_weights(COUNTS, 1.0)
