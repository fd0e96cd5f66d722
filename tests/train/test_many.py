import copy

import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.train.many import OneByOne, Together, losses, train_one_by_one, train_together


def tiny(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3))


def examples(networks: int = 4, n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(networks, n, 3, 4, generator=generator)
    return x, torch.randint(3, (networks, n), generator=generator)


def test_together_they_end_as_each_would_alone():
    networks, (x, y) = [tiny(i) for i in range(4)], examples()
    together = train_together(networks, x, y, 60, 0.01)
    alone = train_one_by_one(networks, x, y, 60, 0.01)
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.std() > 1e-3  # they are four, and not one
    assert (together < losses(Together(networks)(x), y) - 0.1).all()


def test_neither_way_changes_the_networks_that_it_was_given():
    networks, (x, y) = [tiny(i) for i in range(4)], examples()
    before = copy.deepcopy(networks[0].state_dict())
    train_together(networks, x, y, 3, 0.1)
    train_one_by_one(networks, x, y, 3, 0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in networks[0].state_dict().items())


def test_a_step_of_plain_pytorch_is_the_same_for_each_of_them():
    """Weights after ten steps, against a loop that knows nothing of stacks."""
    networks, (x, y) = [tiny(i) for i in range(4)], examples()
    stack = Together(networks)
    opt = torch.optim.Adam(stack.parameters(), 0.02, weight_decay=0.1)
    for _ in range(10):
        opt.zero_grad()
        losses(stack(x), y).sum().backward()
        opt.step()
    for i, network in enumerate(networks):
        own = torch.optim.Adam(network.parameters(), 0.02, weight_decay=0.1)
        for _ in range(10):
            own.zero_grad()
            nn.functional.cross_entropy(network(x[i]), y[i]).backward()
            own.step()
        for weight, parameter in zip(stack.weights, network.parameters(), strict=True):
            assert torch.allclose(weight[i], parameter, atol=1e-5)


def test_both_ways_give_the_same_outputs_and_keep_their_mode():
    networks, (x, _) = [tiny(i) for i in range(4)], examples()
    assert torch.allclose(Together(networks)(x), OneByOne(networks)(x), atol=1e-6)
    dropping = [nn.Sequential(network, nn.Dropout(0.5)) for network in networks]
    stack = Together(dropping)
    assert (stack(x) == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.allclose(stack.eval()(x), OneByOne(networks)(x), atol=1e-6)
    assert not torch.equal(stack.train()(x[:1].expand(4, -1, -1, -1))[0] == 0, stack(x)[1] == 0)


def test_its_state_is_the_stacked_weights_alone():
    stack = Together([tiny(i) for i in range(4)])
    assert [tuple(tensor.shape) for tensor in stack.state_dict().values()] == [(4, 5, 12), (4, 5), (4, 3, 5), (4, 3)]
    other = Together([tiny(9 + i) for i in range(4)])
    other.load_state_dict(stack.state_dict())
    x, _ = examples()
    assert torch.equal(other(x), stack(x))


@pytest.mark.parametrize(
    ("networks", "sentence"),
    [
        ([], "networks are stacked where there are any"),
        ([nn.Linear(2, 3), nn.Linear(3, 2)], "their weights have the same shapes"),
        ([nn.BatchNorm1d(3), nn.BatchNorm1d(3)], "networks with buffers, such as batch norm's, cannot be stacked"),
    ],
)
def test_what_cannot_be_stacked_is_refused(networks, sentence):
    with pytest.raises(Problem, match=sentence):
        Together(networks)
