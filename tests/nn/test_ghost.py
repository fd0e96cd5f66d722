import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.nn.ghost import BatchRenorm, GhostNorm
from etudes.nn.norm import recalibrate


def batch(n=12, c=3, side=4, seed=0):
    x = torch.randn(n, c, side, side, generator=torch.Generator().manual_seed(seed))
    return 1.5 * x + torch.arange(n)[:, None, None, None] / 4 + 1


def with_affine(norm):
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([-1.0, 0.0, 3.0]))
    return norm


@pytest.mark.parametrize("group", [1, 2, 4, 12])
def test_each_group_is_normalised_as_a_batch_of_its_own(group):
    x = batch().requires_grad_()
    norm = with_affine(GhostNorm(3, group))
    y = norm(x)
    (y**3).sum().backward()
    again = batch().requires_grad_()
    groups = len(x) // group
    means, variances = [], []
    for k in range(groups):  # picture i is in group i mod the number of groups
        peer = with_affine(nn.BatchNorm2d(3, momentum=1.0))
        part = peer(again[k::groups])
        assert torch.allclose(y[k::groups], part, atol=1e-5)
        (part**3).sum().backward()
        means.append(peer.running_mean)
        variances.append(peer.running_var)
    assert torch.allclose(x.grad, again.grad, rtol=1e-3, atol=1e-4)
    assert torch.allclose(norm.running_mean, 0.1 * torch.stack(means).mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * torch.stack(variances).mean(0), atol=1e-5)


def test_the_whole_batch_and_evaluation_are_batch_normalisation():
    ghost, whole, peer = GhostNorm(3, 12), GhostNorm(3), nn.BatchNorm2d(3)
    for i in range(3):
        outputs = [norm(batch(seed=i)) for norm in (ghost, whole, peer)]
        assert torch.allclose(outputs[0], outputs[2], atol=1e-5)
        assert torch.equal(outputs[1], outputs[2])
    outputs = [norm.eval()(batch(seed=9)) for norm in (ghost, whole, peer)]
    assert torch.allclose(outputs[0], outputs[2], atol=1e-5)
    assert torch.equal(outputs[1], outputs[2])


def test_memory_format_does_not_matter_and_the_number_of_groups_must_be_whole():
    norm = GhostNorm(3, 4)
    x = batch()
    assert torch.allclose(norm(x.to(memory_format=torch.channels_last)), norm(x), atol=1e-6)
    with pytest.raises(Problem, match="groups of 5"):
        GhostNorm(3, 5)(x)


def test_recalibration_averages_over_its_batches():
    norm = GhostNorm(3, 4)
    recalibrate(norm, [batch(seed=1), batch(seed=2)])
    expected = torch.stack([batch(seed=i).mean((0, 2, 3)) for i in (1, 2)]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)


def renorm_by_hand(x, norm, most_r, most_d, group):
    """Algorithm 1 of Ioffe 2017, group by group."""
    y = torch.empty_like(x)
    deviation = (norm.running_var + norm.eps).sqrt()[:, None, None]
    mean = norm.running_mean[:, None, None]
    groups = len(x) // group
    for k in range(groups):
        part = x[k::groups]
        own_mean = part.mean((0, 2, 3))[:, None, None]
        own_deviation = (part.var((0, 2, 3), correction=0) + norm.eps).sqrt()[:, None, None]
        r = (own_deviation / deviation).clamp(1 / most_r, most_r).detach()
        d = ((own_mean - mean) / deviation).clamp(-most_d, most_d).detach()
        y[k::groups] = (part - own_mean) / own_deviation * r + d
    return y * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize(("done", "limits"), [(5, (1, 0)), (30, (2, 2.5)), (90, (3, 5))])
def test_renormalisation_is_the_papers_algorithm(done, limits):
    norm = with_affine(BatchRenorm(3, 2, steps=100))
    norm.num_batches_tracked.fill_(done)
    norm.running_mean.copy_(torch.tensor([0.5, 1.0, 9.0]))
    norm.running_var.copy_(torch.tensor([0.5, 20.0, 2.0]))
    assert norm.limits() == pytest.approx(limits)
    x = batch().requires_grad_()
    expected = renorm_by_hand(x, norm, *limits, group=2)
    y = norm(x)
    assert torch.allclose(y, expected, atol=1e-4)
    slopes = [torch.autograd.grad((out**2).sum(), x)[0] for out in (y, expected)]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-3)
    if done == 5:
        assert torch.allclose(y, with_affine(GhostNorm(3, 2))(x), atol=1e-5)


def test_within_its_limits_renormalisation_trains_with_what_it_is_evaluated_with():
    norm = BatchRenorm(3, 4, steps=1)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    norm.num_batches_tracked.fill_(1)
    with torch.no_grad():
        evaluated = norm.eval()(batch())
        assert torch.allclose(norm.train()(batch()), evaluated, atol=1e-4)
