"""Attributions against loops, closed forms and captum."""

import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.measure.attributions import correlation, gradient_times_input, integrated_gradients, overlap


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 4)).double()


X = torch.rand(5, 3, 2, 2, dtype=torch.float64)
Y = torch.tensor([0, 3, 1, 1, 2])


def test_of_a_linear_network_both_are_the_terms_of_its_sum():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    terms = X.flatten(1) * model[1].weight[Y]
    for found in (gradient_times_input(model, X, Y), integrated_gradients(model, X, Y, steps=3)):
        assert torch.allclose(found.flatten(1), terms.detach())


def test_gradient_times_input_is_what_single_pictures_and_small_changes_say(network):
    found = gradient_times_input(network, X, Y)
    network.eval()
    for i in range(5):
        for place in ((0, 0, 1), (2, 1, 0)):
            ends = []
            for change in (1e-5, -1e-5):
                x = X[i : i + 1].clone()
                x[(0, *place)] += change
                ends.append(network(x)[0, Y[i]].item())
            slope = (ends[0] - ends[1]) / 2e-5
            assert found[(i, *place)].item() == pytest.approx(slope * X[(i, *place)].item(), rel=1e-5, abs=1e-9)


def test_integrated_gradients_add_up_to_the_change_of_the_logit(network):
    found = integrated_gradients(network, X, Y, steps=200)
    assert network.training  # its mode is given back
    network.eval()
    change = (network(X) - network(torch.zeros_like(X))).gather(1, Y[:, None])[:, 0]
    assert torch.allclose(found.flatten(1).sum(1), change, atol=1e-5)
    assert all(p.grad is None for p in network.parameters())


def test_both_agree_with_captum(network):
    peer = pytest.importorskip("captum.attr")
    network.eval()
    theirs = peer.InputXGradient(network).attribute(X.clone().requires_grad_(), target=Y)
    assert torch.allclose(gradient_times_input(network, X, Y), theirs)
    theirs = peer.IntegratedGradients(network).attribute(X, target=Y, n_steps=16, method="riemann_middle")
    assert torch.allclose(integrated_gradients(network, X, Y, steps=16), theirs)


def test_bytes_are_read_as_pictures_in_0_to_1(network):
    x = (X * 255).round().to(torch.uint8)
    model = network.float()
    assert torch.equal(integrated_gradients(model, x, Y), integrated_gradients(model, x.float() / 255, Y))


def test_overlap_counts_the_strongest_places_that_are_both():
    a, b = torch.zeros(2, 1, 2, 5), torch.zeros(2, 1, 2, 5)
    a[0, 0, 0, :2], b[0, 0, 0, 1:3] = torch.tensor([3.0, -2.0]), torch.tensor([-1.0, 9.0])  # one of two
    a[1, 0, 1, :2], b[1, 0, 1, :2] = 1.0, torch.tensor([1.0, 7.0])  # both
    assert overlap(a, b, share=0.2) == pytest.approx((0.5 + 1) / 2)
    assert overlap(a, a) == 1


def test_overlap_of_random_pictures_is_the_share_of_places():
    torch.manual_seed(0)
    a, b = torch.randn(400, 3, 20, 20), torch.randn(400, 3, 20, 20)
    assert overlap(a, b, share=0.1) == pytest.approx(0.1, abs=0.005)


def test_correlation_is_the_mean_of_that_of_each_picture():
    torch.manual_seed(0)
    a, b = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    b[0] = 3 * a[0] + 1
    b[1] = -a[1]
    expected = sum(torch.corrcoef(torch.stack([a[i].flatten(), b[i].flatten()]))[0, 1].item() for i in range(4)) / 4
    assert correlation(a, b) == pytest.approx(expected, abs=1e-6)
    assert correlation(a[:1], b[:1]) == pytest.approx(1)
    assert correlation(torch.ones(1, 1, 2, 2), torch.rand(1, 1, 2, 2)) == 0


def test_pictures_are_attributed_in_batches_as_they_are_together(network):
    whole = integrated_gradients(network, X, Y)
    assert torch.allclose(integrated_gradients(network, X, Y, batch=2), whole)


def test_what_cannot_be_attributed_is_refused(network):
    with pytest.raises(Problem, match="give one or more"):
        integrated_gradients(network, X, Y, steps=0)
    with pytest.raises(Problem, match="same pictures"):
        overlap(X, X[:3])
    with pytest.raises(Problem, match="same pictures"):
        correlation(X, X[:3])
