"""Games small enough to be solved exactly: a chain of five states and a gridworld, in pure NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Frame = np.ndarray
SIDE = 5  # of the gridworld
GOAL, PIT, WALLS = (4, 4), (2, 3), ((1, 1), (3, 1), (1, 3))
SLIP = 0.1  # chance that the gridworld moves in a direction of its own choice


class Table:
    """A game of which every probability is known.

    chances: [s, a, s'], of coming from state s to s' by action a; rewards: [s, a, s']; ends: bool [s], the states after
    which there is nothing; starts: the states among which a seed chooses; frames: uint8 [s, c, h, w], what is seen of a
    state; limit: actions after which time is up.
    """

    def __init__(
        self,
        chances: np.ndarray,
        rewards: np.ndarray,
        ends: np.ndarray,
        starts: Sequence[int],
        frames: np.ndarray,
        actions: Sequence[str],
        limit: int,
    ) -> None:
        self.chances, self.rewards, self.ends, self.starts = chances, rewards, ends, starts
        self.frames, self.actions, self.limit = frames, actions, limit
        self.shape: tuple[int, int, int] = frames.shape[1:]
        self.state, self.time = starts[0], 0
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int) -> tuple[Frame, dict[str, Any]]:
        self.rng = np.random.default_rng(seed)
        self.state, self.time = int(self.rng.choice(self.starts)), 0
        return self.frames[self.state], {}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        before = self.state
        self.state = int(self.rng.choice(len(self.ends), p=self.chances[before, action]))
        self.time += 1
        over = bool(self.ends[self.state])
        cut = not over and self.time >= self.limit
        return self.frames[self.state], float(self.rewards[before, action, self.state]), over, cut, {}

    def close(self) -> None:
        pass


def solve(table: Table, gamma: float, tolerance: float = 1e-12) -> np.ndarray:
    """The exact action values Q* float64 [s, a], 0 in ends, by value iteration (Sutton and Barto 2018, eq. 4.10).

    Each round brings the error down by gamma, below 1.
    """
    expected = (table.chances * table.rewards).sum(2)
    values = np.zeros(table.chances.shape[:2])
    while True:
        onward = np.where(table.ends, 0.0, values.max(1))
        better = np.where(table.ends[:, None], 0.0, expected + gamma * table.chances @ onward)
        if np.abs(better - values).max() < tolerance:
            return better
        values = better


def chain(length: int = 5) -> Table:
    """States in a row, of which the left one pays 1 and ends, the right one pays 10 and ends; each move costs 0.1.

    The start is beside the left end, so the better end is far away: what greed misses.
    """
    chances = np.zeros((length, 2, length))
    rewards = np.full((length, 2, length), -0.1)
    for s in range(length):
        for action, to in enumerate((max(s - 1, 0), min(s + 1, length - 1))):
            chances[s, action, to] = 1
    rewards[:, :, 0] += 1
    rewards[:, :, -1] += 10
    ends = np.zeros(length, bool)
    ends[[0, -1]] = True
    return Table(chances, rewards, ends, [1], _spots(1, length), ("left", "right"), limit=30)


def grid() -> Table:
    """Five by five squares with walls, a goal that pays 10, a pit that costs 10, and a floor that slips.

    Each move costs 0.1, and with a chance of 1 in 10 goes in any direction. Any free square is a start.
    """
    moves = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
    squares = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    chances = np.zeros((len(squares), len(moves), len(squares)))
    rewards = np.full(chances.shape, -0.1)
    for s, (row, column) in enumerate(squares):
        landed = []
        for down, right in moves.values():
            to = (row + down, column + right)
            landed.append(squares.index(to) if to in squares and to not in WALLS else s)
        for action, to in enumerate(landed):
            chances[s, action, to] += 1 - SLIP
            for other in landed:
                chances[s, action, other] += SLIP / len(moves)
    goal, pit = squares.index(GOAL), squares.index(PIT)
    rewards[:, :, goal] += 10
    rewards[:, :, pit] -= 10
    ends = np.zeros(len(squares), bool)
    ends[[goal, pit]] = True
    floor = np.zeros((SIDE, SIDE), np.uint8)
    for square, grey in {**dict.fromkeys(WALLS, 60), GOAL: 120, PIT: 30}.items():
        floor[square] = grey
    frames = np.maximum(_spots(SIDE, SIDE), floor)
    starts = [s for s, square in enumerate(squares) if not ends[s] and square not in WALLS]
    return Table(chances, rewards, ends, starts, frames, tuple(moves), limit=40)


def _spots(rows: int, columns: int) -> np.ndarray:
    """uint8 [rows * columns, 1, rows, columns]: each state as one white square."""
    return (np.eye(rows * columns) * 255).astype(np.uint8).reshape(-1, 1, rows, columns)
