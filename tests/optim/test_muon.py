import pytest
import torch

from etudes.optim.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (24, 24)])
def test_orthogonal_keeps_the_singular_vectors_and_moves_the_values_near_1(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.1, 1, min(shape))
    found = orthogonalise(u * values @ v, 5)
    assert torch.allclose(u.T @ found @ v.T, torch.diag(torch.diagonal(u.T @ found @ v.T)), atol=0.05)
    assert 0.6 < torch.linalg.svdvals(found).min() <= torch.linalg.svdvals(found).max() < 1.3


def test_a_group_without_iterations_is_torchs_sgd():
    ours, theirs = (torch.ones(3, 2, requires_grad=True) for _ in range(2))
    mine = Muon([{"params": [ours], "iterations": 0}], lr=0.1, momentum=0.8)
    sgd = torch.optim.SGD([theirs], lr=0.1, momentum=0.8, nesterov=True)
    for _ in range(5):
        for p, opt in ((ours, mine), (theirs, sgd)):
            opt.zero_grad()
            (p**4).sum().backward()
            opt.step()
    assert torch.allclose(ours, theirs)


def test_matrices_are_updated_as_by_torchs_muon():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    torch.manual_seed(0)
    ours = torch.randn(8, 12, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    mine = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.1)
    # torch's momentum is an average, 1 - 0.9 times ours: the same direction.
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True, ns_steps=5)
    target = torch.randn(8, 12)
    for _ in range(4):
        for p, opt in ((ours, mine), (theirs, reference)):
            opt.zero_grad()
            (p - target).square().sum().backward()
            opt.step()
    assert torch.allclose(ours, theirs, atol=0.02)


def test_decay_is_decoupled_and_filters_are_matrices():
    p = torch.randn(4, 2, 3, 3, requires_grad=True)
    before = p.detach().clone()
    opt = Muon([p], lr=0.5, momentum=0.0, weight_decay=0.2)
    p.grad = torch.randn_like(p)
    update = orthogonalise(p.grad.flatten(1), 5).view_as(p)
    opt.step()
    assert torch.allclose(p, 0.9 * before - 0.5 * update)
