import copy

import numpy as np
import pytest
import torch
from torch import nn

from etudes.rl.dqn import Dueling, Network, loss
from etudes.rl.explore import NoisyLinear, epsilon_greedy, linear_schedule
from etudes.rl.games import Lockstep, game, play
from etudes.rl.grid import solve
from etudes.rl.learner import Learner
from etudes.rl.replay import Replay, Returns, Transitions
from etudes.studies.rl.doom_dqn import bellman
from etudes.train import checkpoint

CONVOLUTIONS = ((8, 6, 3), (8, 3, 2))


def draws(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape)).normal(size=shape)).float()


def test_the_loss_is_hubers_with_weights():
    values = torch.tensor([[0.0, 3.0], [0.2, 9.0], [5.0, 0.0]])
    actions, targets = torch.tensor([1, 0, 0]), torch.tensor([0.0, 0.0, 5.5])
    weights = torch.tensor([1.0, 0.5, 0.25])
    found, errors = loss(values, actions, targets, weights)
    by_hand = [1.0 * (3.0 - 0.5), 0.5 * 0.2**2 / 2, 0.25 * 0.5**2 / 2]
    assert found.item() == pytest.approx(np.mean(by_hand))
    assert errors.tolist() == pytest.approx([3.0, 0.2, -0.5])


def test_a_dueling_head_tells_the_value_and_the_advantages():
    value, advantage, x = nn.Linear(3, 1), nn.Linear(3, 4), draws(5, 3)
    q = Dueling(value, advantage)(x)
    assert torch.allclose(q.mean(1, keepdim=True), value(x), atol=1e-6)
    centred = advantage(x) - advantage(x).mean(1, keepdim=True)
    assert torch.allclose(q - q.mean(1, keepdim=True), centred, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"dueling": True}, {"noisy": True}, {"dueling": True, "noisy": True}])
@pytest.mark.parametrize("shape", [(1, 30, 45), (1, 5, 5)])
def test_a_network_values_each_action(shape, options):
    frames = torch.randint(256, (3, *shape), dtype=torch.uint8)
    model = Network(shape, 4, CONVOLUTIONS, 32, **options).eval()
    assert model(frames).shape == (3, 4)
    assert torch.allclose(model(frames)[1], model(frames[1:2])[0], atol=1e-6)


def test_noise_has_the_moments_that_are_asked_for_and_none_in_evaluation():
    layer, x = NoisyLinear(4, 2, sigma=0.5), draws(1, 4)
    torch.manual_seed(0)
    seen = torch.cat([layer(x) for _ in range(20_000)]).detach()
    assert torch.allclose(seen.mean(0), layer.eval()(x)[0], atol=0.02)
    # e_ij = f(a_i) f(b_j): each factor has mean 0 and mean square E|a| = sqrt(2/pi); the bias has f(a_i) alone
    spread = 0.5 / 2  # sigma / sqrt(inputs)
    expected = spread**2 * ((2 / np.pi) * (x**2).sum() + (2 / np.pi) ** 0.5)
    assert torch.allclose(seen.var(0), expected.expand(2), rtol=0.05)
    assert torch.equal(layer(x), layer(x))


def test_epsilon_falls_in_a_straight_line_and_stays():
    assert [linear_schedule(i, 1.0, 0.1, 4) for i in (0, 1, 2, 4, 9)] == pytest.approx([1.0, 0.775, 0.55, 0.1, 0.1])
    assert linear_schedule(0, 1.0, 0.1, 0) == 0.1


def test_greedy_but_for_epsilon():
    values = torch.tensor([[0.0, 2.0, 1.0]]).expand(30_000, 3)
    assert set(epsilon_greedy(values, 0.0, np.random.default_rng(0))) == {1}
    shares = np.bincount(epsilon_greedy(values, 0.3, np.random.default_rng(0)), minlength=3) / 30_000
    assert shares == pytest.approx([0.1, 0.8, 0.1], abs=0.01)


def one_step(learner, double=False):
    """The targets of the study, for a learner."""

    def targets(drawn):
        online = learner.network(drawn.nexts) if double else None
        return bellman(drawn.returns, drawn.discounts, learner.target(drawn.nexts), online)

    return targets


def taught(name, gamma, updates, n=1, **options):
    """A learner that saw random play of a game with known values, and the game."""
    table, double = game(name), options.pop("double", False)
    torch.manual_seed(0)
    memory = Replay(4000, table.shape, options.pop("alpha", 0.0))
    model = Network(table.shape, len(table.actions), (), 64, dueling=options.pop("dueling", False))
    learner = Learner(model, memory, 2e-3, renew=50, **options)
    rng, returns = np.random.default_rng(0), Returns(1, n, gamma)
    lockstep = Lockstep([table], lambda e: e)
    for _ in range(4000):
        frames, actions = lockstep.frames, rng.integers(len(table.actions), size=1)
        done = returns.add(frames, actions, *_swapped(lockstep.step(actions)))
        if done:
            memory.add(done)
    for _ in range(updates):
        learner.update(64, rng, one_step(learner, double))
    return learner, table


def _swapped(moved):
    nexts, rewards, over, cut = moved
    return rewards, nexts, over, cut


@pytest.mark.parametrize("options", [{}, {"double": True}, {"dueling": True}, {"alpha": 0.6}])
def test_it_finds_the_exact_values_of_the_chain(options):
    learner, table = taught("chain", 0.9, 1500, **options)
    found, exact = learner.values(table.frames).numpy(), solve(table, 0.9)
    inner = ~table.ends
    assert found[inner] == pytest.approx(exact[inner], abs=0.35)


def test_it_finds_a_good_policy_of_the_gridworld():
    learner, table = taught("grid", 0.95, 2000, double=True)
    exact = solve(table, 0.95)
    chosen = learner.values(table.frames).argmax(1).numpy()
    lost = exact.max(1) - exact[np.arange(len(exact)), chosen]
    assert lost[table.starts].mean() < 0.2

    def best_of(frames):
        return [int(exact[[np.array_equal(f, g) for g in table.frames].index(True)].argmax()) for f in frames]

    seeds = list(range(200))
    mine = np.mean([sum(e.rewards) for e in play([table], seeds, lambda f: learner.values(f).argmax(1).tolist())])
    ideal = np.mean([sum(e.rewards) for e in play([table], seeds, best_of)])
    assert mine > ideal - 1.5


def test_the_target_network_is_renewed_now_and_then():
    memory = Replay(10, (1, 5, 5))
    frames = torch.randint(256, (10, 1, 5, 5), dtype=torch.uint8)
    memory.add(Transitions(frames, torch.zeros(10, dtype=torch.int64), torch.ones(10), frames, torch.zeros(10)))
    learner = Learner(Network((1, 5, 5), 2, (), 8), memory, 1e-2, renew=3)
    first = copy.deepcopy(learner.target.state_dict())
    rng = np.random.default_rng(0)
    for updates in (1, 2, 3):
        learner.update(4, rng, one_step(learner))
        same = all(torch.equal(value, first[name]) for name, value in learner.target.state_dict().items())
        assert same == (updates < 3)
    assert all(map(torch.equal, learner.target.state_dict().values(), learner.network.state_dict().values()))
    assert Learner(Network((1, 5, 5), 2, (), 8), memory, 1e-2, renew=0).target is not None


def test_without_a_target_network_targets_come_from_the_network_itself():
    learner = Learner(Network((1, 5, 5), 2, (), 8), Replay(10, (1, 5, 5)), 1e-2, renew=0)
    assert learner.target is learner.network


def test_a_restored_learner_goes_on_the_same(tmp_path):
    """In channels_last memory too, through which fused Adam walks in its order."""

    def make():
        torch.manual_seed(0)
        model = Network((1, 30, 45), 3, CONVOLUTIONS, 16).to(memory_format=torch.channels_last)
        return Learner(model, Replay(40, (1, 30, 45), 0.6), 1e-2, renew=4)

    learner, other = make(), make()
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(256, (2, 40, 1, 30, 45), dtype=torch.uint8, generator=generator)
    actions = torch.randint(3, (40,), generator=generator)
    learner.memory.add(Transitions(frames[0], actions, torch.ones(40), frames[1], torch.ones(40)))
    for i in range(6):
        learner.update(8, np.random.default_rng(i), one_step(learner, double=True))
    checkpoint.save(tmp_path / "learner", {"learner": learner})
    checkpoint.load(tmp_path / "learner", {"learner": other}, torch.device("cpu"))
    for i in range(6, 12):
        losses = [one.update(8, np.random.default_rng(i), one_step(one, double=True)) for one in (learner, other)]
        assert torch.equal(*losses)
    for mine, theirs in zip(learner.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
