import numpy
import pytest
import torch

from etudes.core import Problem
from etudes.measure.probe import balanced_accuracy, fit_probe, linear_classes, membership, neighbour_classes


def points(n=60, d=5):
    chance = numpy.random.default_rng(0)
    x = torch.from_numpy(chance.normal(size=(n, d)) * [1, 10, 0.1, 1, 1] + 3)
    kind = x[:, 0] + torch.from_numpy(chance.normal(size=n)) > 3.8
    return x, kind


def test_the_probe_is_where_the_gradient_of_its_loss_vanishes():
    x, kind = points()
    probe = fit_probe(x, kind, 0.3)
    z = (x - probe.mean) / probe.std
    w = probe.weights.clone().requires_grad_()
    target = 2.0 * kind - 1
    errors = (z @ w[:-1] + w[-1] - target) ** 2
    loss = errors[kind].mean() / 2 + errors[~kind].mean() / 2 + 0.3 * w[:-1].square().sum()
    loss.backward()
    assert w.grad.abs().max() < 1e-10
    assert torch.allclose(probe.scores(x), (z @ w[:-1] + w[-1]).detach())


def test_the_probe_is_a_peers():
    linear = pytest.importorskip("sklearn.linear_model")
    x, kind = points()
    probe = fit_probe(x, kind, 0.05)
    z = ((x - probe.mean) / probe.std).numpy()
    share = numpy.where(kind, 0.5 / int(kind.sum()), 0.5 / int((~kind).sum()))
    peer = linear.Ridge(alpha=0.05).fit(z, 2.0 * kind.numpy() - 1, sample_weight=share)
    assert probe.weights[:-1].numpy() == pytest.approx(peer.coef_, abs=1e-8)
    assert probe.weights[-1].item() == pytest.approx(peer.intercept_, abs=1e-8)


def test_the_probe_does_not_depend_on_scale_nor_on_copies_of_one_kind():
    x, kind = points()
    scores = fit_probe(x, kind).scores(x)
    assert torch.allclose(fit_probe(x * 7 - 2, kind).scores(x * 7 - 2), scores)
    dead = torch.cat([x, torch.full((60, 1), 4.0)], 1)
    assert torch.allclose(fit_probe(dead, kind).scores(dead), scores)


@pytest.mark.parametrize(
    ("x", "kind", "penalty", "says"),
    [
        (torch.ones(4, 2), torch.ones(4, dtype=torch.bool), 0.1, "rows of the kind and rows that are not"),
        (torch.ones(4, 2), torch.ones(3, dtype=torch.bool), 0.1, r"features \[n, d\]"),
        (torch.full((2, 2), torch.nan), torch.tensor([True, False]), 0.1, "diverged"),
        (torch.ones(2, 2), torch.tensor([True, False]), 0.0, "above 0"),
    ],
)
def test_what_a_probe_cannot_be_fitted_to_is_told_in_a_sentence(x, kind, penalty, says):
    with pytest.raises(Problem, match=says):
        fit_probe(x, kind, penalty)


def test_balanced_accuracy_by_a_loop():
    kind = torch.tensor([True, True, True, False])
    says = torch.tensor([True, False, True, False])
    assert balanced_accuracy(says, kind) == pytest.approx((2 / 3 + 1) / 2)
    assert balanced_accuracy(torch.ones(4, dtype=torch.bool), kind) == 0.5
    with pytest.raises(Problem, match="give both"):
        balanced_accuracy(says, torch.ones(4, dtype=torch.bool))


def test_membership_by_counting_pairs():
    chance = numpy.random.default_rng(1)
    members, others = (torch.from_numpy(chance.integers(0, 6, n)) for n in (20, 30))
    pairs = [(a > b) + 0.5 * (a == b) for a in members.tolist() for b in others.tolist()]
    assert membership(members, others) == pytest.approx(sum(pairs) / 600)
    assert membership(torch.ones(3), torch.zeros(2)) == 1
    with pytest.raises(Problem, match="AUROC"):
        membership(torch.ones(3), torch.ones(0))


def clusters(n, seed, classes=(1, 3, 4)):
    """Rows around one direction a class, and their classes."""
    chance = numpy.random.default_rng(seed)
    y = torch.from_numpy(chance.choice(classes, n))
    x = torch.eye(6, dtype=torch.float64)[y] + 0.4 * torch.from_numpy(chance.normal(size=(n, 6)))
    return x * torch.from_numpy(chance.uniform(0.1, 10, (n, 1))), y


def test_linear_classes_are_those_of_the_highest_probe():
    (x, y), (asked, truth) = clusters(200, 0), clusters(100, 1)
    says = linear_classes(x, y, asked, 0.2)
    scores = {c: fit_probe(x, y == c, 0.2).scores(asked).tolist() for c in (1, 3, 4)}
    assert says.tolist() == [max(scores, key=lambda c, i=i: scores[c][i]) for i in range(100)]
    assert (says == truth).double().mean() > 0.6
    with pytest.raises(Problem, match="give both"):
        linear_classes(x, torch.ones_like(y), asked)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_neighbours_vote_as_in_a_loop(temperature):
    (x, y), (asked, truth) = clusters(60, 0), clusters(40, 1)
    says = neighbour_classes(x, y, asked, 7, temperature)
    for i, row in enumerate(asked):
        cosines = [(float(row @ other / (row.norm() * other.norm())), int(c)) for other, c in zip(x, y, strict=True)]
        votes = dict.fromkeys((1, 3, 4), 0.0)
        for likeness, c in sorted(cosines, reverse=True)[:7]:
            votes[c] += numpy.exp(likeness / temperature)
        assert int(says[i]) == max(votes, key=votes.get)
    assert (says == truth).double().mean() > 0.6


def test_one_neighbour_is_a_peers_and_finds_itself():
    (x, y), (asked, _) = clusters(60, 0), clusters(40, 1)
    assert neighbour_classes(x, y, x, 1).tolist() == y.tolist()
    peers = pytest.importorskip("sklearn.neighbors")
    peer = peers.KNeighborsClassifier(1, metric="cosine").fit(x.numpy(), y.numpy())
    assert neighbour_classes(x, y, asked, 1).tolist() == peer.predict(asked.numpy()).tolist()


def test_a_vote_that_cannot_be_held_is_refused():
    x, y = clusters(5, 0)
    for k in (0, 6):
        with pytest.raises(Problem, match="1 to 5"):
            neighbour_classes(x, y, x, k)
    with pytest.raises(Problem, match="temperature"):
        neighbour_classes(x, y, x, 2, 0.0)
