import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.rl.games import Lockstep, game, open_games, play
from etudes.rl.grid import chain, grid, solve


def test_the_chain_is_solved_by_hand():
    gamma = 0.9
    by_hand = np.zeros((5, 2))
    by_hand[3] = [0, 9.9]
    by_hand[2] = [0, -0.1 + gamma * 9.9]
    by_hand[1] = [0.9, -0.1 + gamma * by_hand[2, 1]]
    by_hand[2, 0] = -0.1 + gamma * by_hand[1].max()
    by_hand[3, 0] = -0.1 + gamma * by_hand[2].max()
    assert solve(chain(), gamma) == pytest.approx(by_hand, abs=1e-9)


def test_what_is_far_away_counts_less_for_the_short_sighted():
    assert solve(chain(), 0.2)[1].argmax() == 0
    assert solve(chain(), 0.9)[1].argmax() == 1


@pytest.mark.parametrize("make", [chain, grid])
def test_values_satisfy_bellmans_equation_and_chances_sum_to_one(make):
    table, gamma = make(), 0.95
    assert table.chances.sum(2) == pytest.approx(np.ones(table.chances.shape[:2]))
    values = solve(table, gamma)
    for s in range(len(table.ends)):
        for a in range(len(table.actions)):
            ahead = [
                chance * (table.rewards[s, a, to] + (0 if table.ends[to] else gamma * values[to].max()))
                for to, chance in enumerate(table.chances[s, a])
            ]
            assert values[s, a] == pytest.approx(0 if table.ends[s] else sum(ahead), abs=1e-9)


def test_playing_the_best_policy_gets_its_value():
    table, gamma = grid(), 0.95
    table.limit = 1000
    values = solve(table, gamma)
    states = {frame.tobytes(): s for s, frame in enumerate(table.frames)}
    assert len(states) == len(table.ends)
    episodes = play([table], list(range(3000)), lambda f: [values[states[one.tobytes()]].argmax() for one in f])
    got = np.mean([e.discounted_return(gamma) for e in episodes])
    assert got == pytest.approx(values.max(1)[table.starts].mean(), abs=0.15)
    assert all(e.over for e in episodes)


def test_time_is_up_after_the_limit():
    table = chain()
    table.limit = 4
    table.reset(seed=0)
    moves = [table.step(action)[2:4] for action in (1, 0, 1, 1)]
    assert moves == [(False, False)] * 3 + [(False, True)]
    table.reset(seed=0)
    assert table.step(0)[2:4] == (True, False)


def test_side_by_side_is_as_one_after_another():
    seeds = list(range(20))

    def policy(frames):
        return [int(frame.argmax()) % 4 for frame in frames]

    one = play([grid()], seeds, policy)
    three = play([grid() for _ in range(3)], seeds, policy)
    assert [e.rewards for e in one] == [e.rewards for e in three]
    assert [e.over for e in one] == [e.over for e in three]


def test_lockstep_counts_episodes_and_saves_them():
    lockstep = Lockstep([grid(), grid(), grid()], lambda e: 10 + e)
    rng, total, ends = np.random.default_rng(0), 0.0, 0
    for _ in range(50):
        _, rewards, over, cut = lockstep.begin(rng.integers(4, size=3)).result()
        total += sum(rewards)
        ends += sum(over) + sum(cut)
    assert lockstep.done == ends > 3
    assert lockstep.total + sum(lockstep.gained) == pytest.approx(total)
    assert sorted(lockstep.episodes)[-1] == ends + 2
    other = Lockstep([grid(), grid(), grid()], lambda e: 10 + e)
    other.load_state_dict(lockstep.state_dict())
    np.testing.assert_array_equal(other.frames, lockstep.frames)
    for _ in range(30):
        actions = rng.integers(4, size=3)
        for mine, theirs in zip(lockstep.step(actions), other.step(actions), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(other.frames, lockstep.frames)
    assert other.state_dict() == lockstep.state_dict()


def test_games_are_closed_and_unknown_ones_named():
    with open_games(2, "chain") as games:
        assert len(games) == 2
    with pytest.raises(Problem, match="did you mean 'basic'"):
        game("basics")
