"""Poolings against naive loops and PyTorch's own gradients."""

import math

import pytest
import torch

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.pooling import (
    AttentionPooling,
    GeMPooling,
    LogSumExpPooling,
    MaxPooling,
    PooledClassifier,
    weighted_mean,
)

N, C, H, W, K = 3, 5, 4, 6, 7


def features(grad=False):
    return torch.rand(N, C, H, W, generator=torch.Generator().manual_seed(0)).requires_grad_(grad)


def heads():
    torch.manual_seed(1)
    return {
        "average": PooledClassifier(C, K),
        "max": MaxPooling(C, K),
        "log-sum-exp": LogSumExpPooling(C, K, r=2.0),
        "gem": GeMPooling(C, K, p=2.5),
        "attention": AttentionPooling(C, K, hidden=4),
    }


def classify(head, vector):
    return head.classifier.weight @ vector + head.classifier.bias


@pytest.mark.parametrize("name", heads())
def test_weights_sum_to_one_and_move_with_the_places(name):
    head, x = heads()[name], features()
    weights = head.location_weights(x)
    assert weights.shape == (N, H, W)
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum((1, 2)), torch.ones(N))
    order = torch.randperm(H * W, generator=torch.Generator().manual_seed(2))
    moved = x.flatten(2)[:, :, order].view_as(x)
    assert torch.allclose(head(moved), head(x), atol=1e-5)
    assert torch.allclose(head.location_weights(moved).flatten(1), weights.flatten(1)[:, order], atol=1e-6)


@pytest.mark.parametrize("name", heads())
def test_equal_places_are_pooled_to_what_each_of_them_is(name):
    head, vector = heads()[name], torch.rand(N, C)
    x = vector[:, :, None, None].expand(-1, -1, H, W)
    assert torch.allclose(head(x), head.classifier(vector), atol=1e-5)
    assert torch.allclose(head.location_weights(x), torch.full((N, H, W), 1 / (H * W)))


def test_class_scores_are_the_classifier_at_every_place_and_average_to_its_logits():
    head, x = PooledClassifier(C, K), features()
    scores = head.class_scores(x)
    assert torch.allclose(scores[1, :, 2, 3], classify(head, x[1, :, 2, 3]), atol=1e-6)
    assert torch.allclose(scores.mean((2, 3)), head(x), atol=1e-6)


def test_maximum_and_generalised_mean_are_naive_loops():
    x = features()
    for head, pool in (
        (heads()["max"], lambda channel: max(channel)),
        (heads()["gem"], lambda channel: (sum(v**2.5 for v in channel) / (H * W)) ** (1 / 2.5)),
    ):
        for i in range(N):
            vector = torch.tensor([pool(channel.flatten().tolist()) for channel in x[i]])
            assert torch.allclose(head(x)[i], classify(head, vector), atol=1e-5)


def test_maximum_gives_a_place_the_share_of_channels_that_are_largest_there():
    x = torch.zeros(1, 4, 2, 2)
    x[0, :3, 0, 1] = 1.0
    x[0, 3, 1, 0] = x[0, 3, 1, 1] = 2.0  # a tie
    assert torch.allclose(MaxPooling(4, 2).location_weights(x)[0], torch.tensor([[0, 0.75], [0.125, 0.125]]))


def test_log_sum_exp_is_its_formula_and_its_weights_the_derivative():
    head, x = heads()["log-sum-exp"], features()
    scores = head.class_scores(x).detach().requires_grad_()
    for i in range(N):
        for k in range(K):
            places = scores[i, k].flatten().tolist()
            expected = math.log(sum(math.exp(2 * s) for s in places) / (H * W)) / 2
            assert head(x)[i, k].item() == pytest.approx(expected, abs=1e-5)
    pooled = head._pool(scores.flatten(2))
    pooled.amax(1).sum().backward()
    assert torch.allclose(scores.grad.sum(1), head.location_weights(x), atol=1e-6)


def test_log_sum_exp_goes_from_the_mean_to_the_maximum():
    x = features()
    for r, pool in ((1e-3, lambda s: s.mean((2, 3))), (1e4, lambda s: s.amax((2, 3)))):
        head = LogSumExpPooling(C, K, r)
        assert torch.allclose(head(x), pool(head.class_scores(x)), atol=2e-3)
    with pytest.raises(Problem, match="take r above 0"):
        LogSumExpPooling(C, K, r=0)


def test_generalised_mean_learns_its_exponent():
    head = heads()["gem"]
    head(features()).sum().backward()
    assert head.p.grad is not None
    assert head.p.grad.abs() > 0
    assert count_parameters(head) == count_parameters(PooledClassifier(C, K)) + 1


def test_attention_is_its_formula():
    head, x = heads()["attention"], features()
    first, _, last = head.gate
    raw = [
        (last.weight.flatten() @ torch.tanh(first.weight[:, :, 0, 0] @ x[0, :, i, j] + first.bias)).exp()
        for i in range(H)
        for j in range(W)
    ]
    weights = torch.stack(raw) / sum(raw)  # the bias of the last layer falls out
    assert torch.allclose(head.location_weights(x)[0].flatten(), weights, atol=1e-6)
    assert torch.allclose(head(x)[0], classify(head, (x[0].flatten(1) * weights).sum(1)), atol=1e-5)


def test_a_weighted_mean_is_a_loop():
    x, weights = features(), torch.rand(N, H, W)
    expected = sum(weights[:, i, j, None] * x[:, :, i, j] for i in range(H) for j in range(W))
    assert torch.allclose(weighted_mean(x, weights), expected, atol=1e-5)
