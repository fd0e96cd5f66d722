"""Entropy pooling: its entropy against scipy, and the properties that define its weights."""

import math

import numpy
import pytest
import scipy.stats
import torch

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.entropy_pooling import EntropyPooling, certainty, entropy_weights
from etudes.nn.pooling import PooledClassifier

FORMS = ("exponential", "linear")


def scores(n=4, k=10, h=3, w=5, scale=3.0):
    return scale * torch.randn(n, k, h, w, generator=torch.Generator().manual_seed(0))


def test_certainty_is_one_minus_the_entropy_by_scipy_over_its_largest():
    s = scores()
    p = torch.softmax(s.double(), 1).numpy()
    expected = 1 - scipy.stats.entropy(p, axis=1) / math.log(10)
    assert numpy.allclose(certainty(s).numpy(), expected, atol=1e-6)


def test_certainty_is_zero_for_equal_logits_and_one_for_a_single_class():
    one = torch.zeros(1, 4, 1, 2)
    one[0, 2, 0, 1] = 100.0
    assert torch.allclose(certainty(one)[0, 0], torch.tensor([0.0, 1.0]), atol=1e-6)
    with pytest.raises(Problem, match="two classes"):
        certainty(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_the_naive_loop(form):
    s = scores()
    c = certainty(s)
    for i in range(len(s)):
        raw = [[math.exp(2.5 * v) if form == "exponential" else 1 + 2.5 * v for v in row] for row in c[i].tolist()]
        total = sum(map(sum, raw))
        expected = torch.tensor(raw) / total
        assert torch.allclose(entropy_weights(s, 2.5, form)[i], expected, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_weights_sum_to_one_grow_with_certainty_and_move_with_their_places(form):
    s = scores()
    weights = entropy_weights(s, 4.0, form).flatten(1)
    assert torch.allclose(weights.sum(1), torch.ones(len(s)))
    assert (weights > 0).all()
    by_certainty = weights.gather(1, certainty(s).flatten(1).argsort(1))
    assert (by_certainty.diff(dim=1) >= 0).all()
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    moved = s.flatten(2)[:, :, order].view_as(s)
    assert torch.allclose(entropy_weights(moved, 4.0, form).flatten(1), weights[:, order])


@pytest.mark.parametrize("form", FORMS)
def test_predictions_that_are_equally_uncertain_are_averaged(form):
    uniform = torch.zeros(2, 10, 3, 5)
    assert torch.allclose(entropy_weights(uniform, 9.0, form), torch.full((2, 3, 5), 1 / 15))
    other = torch.zeros(2, 10, 3, 5)
    other[:, 3], other[0, 3, 0, 0], other[0, 7, 0, 0] = 2.0, 0.0, 2.0  # another class, as certain
    assert torch.allclose(entropy_weights(other, 9.0, form), torch.full((2, 3, 5), 1 / 15))
    assert torch.allclose(entropy_weights(scores(), 0.0, form), torch.full((4, 3, 5), 1 / 15))


def test_the_head_is_average_pooling_while_it_is_not_active_and_has_no_parameter_more():
    torch.manual_seed(0)
    head, plain, x = EntropyPooling(6, 10), PooledClassifier(6, 10), torch.rand(4, 6, 3, 5)
    plain.load_state_dict(head.state_dict())
    assert count_parameters(head) == count_parameters(plain)
    assert not torch.allclose(head(x), plain(x), atol=1e-5)
    head.active = False
    assert torch.allclose(head(x), plain(x), atol=1e-6)


def test_the_head_classifies_the_mean_under_its_weights():
    torch.manual_seed(0)
    head, x = EntropyPooling(6, 10, sharpness=7.0), 4 * torch.rand(4, 6, 3, 5)
    weights = entropy_weights(head.class_scores(x), 7.0)
    vector = torch.einsum("nchw,nhw->nc", x, weights)
    assert torch.allclose(head(x), head.classifier(vector), atol=1e-5)


def test_a_stopped_gradient_is_that_of_constant_weights():
    torch.manual_seed(0)
    flows, stops = EntropyPooling(6, 10), EntropyPooling(6, 10, stop_gradient=True)
    stops.load_state_dict(flows.state_dict())

    def gradient(head, fixed=None):
        x = (3 * torch.rand(4, 6, 3, 5, generator=torch.Generator().manual_seed(1))).requires_grad_()
        logits = head(x) if fixed is None else head.classifier(torch.einsum("nchw,nhw->nc", x, fixed))
        logits[:, 0].sum().backward()
        return x.grad, logits.detach()

    (through, one), (stopped, other) = gradient(flows), gradient(stops)
    assert torch.equal(one, other)
    assert not torch.allclose(through, stopped, atol=1e-4)
    x = 3 * torch.rand(4, 6, 3, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(stopped, gradient(stops, stops.location_weights(x))[0], atol=1e-6)


def test_a_negative_sharpness_is_refused():
    for make in (lambda: EntropyPooling(2, 3, sharpness=-1), lambda: entropy_weights(torch.zeros(1, 3, 1, 1), -1)):
        with pytest.raises(Problem, match="0 or more"):
            make()
