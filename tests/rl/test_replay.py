import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.rl.replay import LEAST, Replay, Returns, Transitions

GAMMA = 0.9
SHAPE = (1, 2, 2)


def frame(number):
    return np.full(SHAPE, number, np.uint8)


def episode(rewards, kind, base=0):
    """Actions of one game: its frames are numbered from `base`, and it ends in the way `kind` after the last."""
    last = len(rewards) - 1
    return [
        (base + t, t % 3, reward, base + t + 1, kind == "over" and t == last, kind == "cut" and t == last)
        for t, reward in enumerate(rewards)
    ]


def naive(actions, n):
    """(frame, action, return, next frame, discount) for each action, by looking ahead in the list."""
    found = []
    for t, (before, action, *_) in enumerate(actions):
        total, steps = 0.0, 0
        for _, _, reward, _, over, cut in actions[t : t + n]:
            total += GAMMA**steps * reward
            steps += 1
            if over or cut:
                break
        after = actions[t + steps - 1][3]
        found.append((before, action, total, after, 0.0 if over else GAMMA**steps))
    return found


def rows(transitions):
    before, actions, returns, after, discounts = transitions
    numbers = before[:, 0, 0, 0], actions, returns, after[:, 0, 0, 0], discounts
    return [tuple(row) for row in zip(*(part.tolist() for part in numbers), strict=True)]


def gathered(returns, games):
    found = []
    for moment in zip(*games, strict=True):
        before, actions, rewards, after, over, cut = zip(*moment, strict=True)
        done = returns.add(np.stack([*map(frame, before)]), actions, rewards, np.stack([*map(frame, after)]), over, cut)
        found += rows(done) if done else []
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_returns_over_n_actions_are_the_naive_loop(n):
    rng = np.random.default_rng(n)
    first = episode(rng.normal(size=4), "over") + episode(rng.normal(size=6), "cut", base=10)
    second = episode(rng.normal(size=2), "cut", base=50) + episode(rng.normal(size=8), "over", base=60)
    found = gathered(Returns(2, n, GAMMA), [first, second])
    expected = naive(first, n) + naive(second, n)
    assert len(found) == len(expected)
    for mine, theirs in zip(sorted(found), sorted(expected), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_an_end_is_worth_nothing_more_but_time_that_is_up_is():
    for kind, discount in (("over", 0.0), ("cut", GAMMA)):
        (*_, last) = gathered(Returns(1, 3, GAMMA), [episode([1.0, 1.0, 1.0, 1.0], kind)])
        assert last[2:] == pytest.approx((1.0, 4, discount))


def test_unfinished_returns_are_saved():
    actions = episode([1.0, 2.0, 3.0, 4.0], "over")
    straight, killed = Returns(1, 3, GAMMA), Returns(1, 3, GAMMA)
    gathered(straight, [actions[:2]])
    killed.load_state_dict(straight.state_dict())
    assert gathered(straight, [actions[2:]]) == gathered(killed, [actions[2:]])
    assert killed.pending == [[]]


def transitions(numbers):
    numbers = torch.as_tensor(numbers)
    frames = numbers.to(torch.uint8)[:, None, None, None].expand(-1, *SHAPE)
    return Transitions(frames, numbers, numbers.float(), frames + 1, torch.full((len(numbers),), GAMMA))


def test_the_newest_takes_the_place_of_the_oldest():
    memory = Replay(5, SHAPE)
    for start in (0, 3, 6):
        memory.add(transitions(range(start, start + 3)))
    assert len(memory) == 5
    assert sorted(memory.held.actions.tolist()) == [4, 5, 6, 7, 8]
    places, drawn, weights = memory.draw(500, np.random.default_rng(0))
    assert set(drawn.actions.tolist()) == {4, 5, 6, 7, 8}
    assert torch.equal(drawn.nexts[:, 0, 0, 0].long(), drawn.actions + 1)
    assert torch.equal(memory.held.actions[places], drawn.actions)
    assert torch.equal(weights, torch.ones(500))


def test_of_more_than_it_holds_the_last_are_kept():
    memory = Replay(5, SHAPE)
    memory.add(transitions(range(8)))
    assert len(memory) == 5
    assert sorted(memory.held.actions.tolist()) == [3, 4, 5, 6, 7]


def test_what_was_never_added_is_never_drawn():
    memory = Replay(100, SHAPE, alpha=0.6)
    with pytest.raises(Problem, match="none to draw"):
        memory.draw(1, np.random.default_rng(0))
    memory.add(transitions([1, 2, 3]))
    assert set(memory.draw(200, np.random.default_rng(0))[1].actions.tolist()) == {1, 2, 3}


def test_priorities_decide_how_often_and_weights_undo_it():
    errors, alpha, beta = np.array([0.1, 0.5, 1.0, 4.0]), 0.6, 0.7
    memory = Replay(8, SHAPE, alpha)
    memory.add(transitions(range(4)))
    memory.update(torch.arange(4), torch.from_numpy(-errors))
    expected = (errors + LEAST) ** alpha / ((errors + LEAST) ** alpha).sum()
    places, _, weights = memory.draw(100_000, np.random.default_rng(0), beta)
    shares = np.bincount(places, minlength=4) / len(places)
    assert shares == pytest.approx(expected, abs=2e-3)
    by_hand = (4 * expected) ** -beta
    assert weights.double().numpy() == pytest.approx((by_hand / by_hand.max())[places], rel=1e-5)
    *_, whole = memory.draw(100_000, np.random.default_rng(0), 1.0)
    mean = (whole * memory.held.returns[places]).sum() / whole.sum()
    assert mean.item() == pytest.approx(np.mean([0, 1, 2, 3]), abs=0.01)


def test_a_new_transition_has_the_largest_priority_so_far():
    memory = Replay(8, SHAPE, alpha=1.0)
    memory.add(transitions([0]))
    memory.update(torch.tensor([0]), torch.tensor([7.0]))
    memory.add(transitions([1]))
    assert memory.priorities[:2].tolist() == pytest.approx([7 + LEAST, 7 + LEAST])


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_restored_memory_draws_the_same(alpha):
    memory, other = Replay(5, SHAPE, alpha), Replay(5, SHAPE, alpha)
    memory.add(transitions([0, 1, 2, 3]))
    memory.update(torch.tensor([1]), torch.tensor([3.0]))
    memory.add(transitions([4, 5]))
    other.load_state_dict(memory.state_dict())
    for mine, theirs in zip(
        memory.draw(50, np.random.default_rng(1)), other.draw(50, np.random.default_rng(1)), strict=True
    ):
        assert all(map(torch.equal, mine, theirs)) if isinstance(mine, tuple) else torch.equal(mine, theirs)
    memory.add(transitions([6]))
    other.add(transitions([6]))
    assert torch.equal(memory.held.actions, other.held.actions)
