"""Several games at once, and whole episodes of a policy."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from etudes.core.errors import Problem, unknown

Frame = np.ndarray  # uint8 [c, h, w]
Moves = tuple[np.ndarray, list[float], list[bool], list[bool]]  # frames, rewards, which are over, which are cut
SCENARIOS = ("basic", "defend_the_center", "health_gathering")


class Game(Protocol):
    """What is asked of a game: gymnasium's interface, with frames uint8 [c, h, w]."""

    shape: tuple[int, int, int]  # of a frame
    actions: Sequence[str]  # what each action does

    def reset(self, *, seed: int) -> tuple[Frame, dict[str, Any]]: ...
    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]: ...
    def close(self) -> None: ...


def game(name: str, buttons: int = 1, repeat: int = 12) -> Game:
    """The game of that name: "chain", "grid", or a scenario of Doom.

    Of Doom: an action presses up to `buttons` buttons at once and holds them for `repeat` tics of 1/35 s. Raises
    Problem on unknown names, and where Doom is not installed.
    """
    if name in ("chain", "grid"):
        from etudes.rl import grid

        return grid.chain() if name == "chain" else grid.grid()
    if name not in SCENARIOS:
        raise unknown("game", name, ("chain", "grid", *SCENARIOS))
    try:
        from etudes.rl.doom import Doom
    except ImportError as error:
        raise Problem(f"the game '{name}' needs {error.name}; pip install 'etudes[rl]'") from None
    return Doom(name, buttons, repeat)


@contextlib.contextmanager
def open_games(count: int, name: str, buttons: int = 1, repeat: int = 12) -> Iterator[list[Game]]:
    """So many games of that name, as from `game`, closed at the end however it comes."""
    games: list[Game] = []
    try:
        games.extend(game(name, buttons, repeat) for _ in range(count))
        yield games
    finally:
        for one in games:
            one.close()


class Lockstep:
    """Games played side by side, an action of each at a time, so that a network sees their frames as one batch.

    Episode e, counted over all games in the order that they begin, has the seed `seeds(e)`. A checkpoint cannot
    hold a game, but every game is the same whenever its seed and actions are. So the seeds and the actions since are
    saved, and `load_state_dict` plays the unfinished episodes again, up to the same frame.
    """

    def __init__(self, games: Sequence[Game], seeds: Callable[[int], int]) -> None:
        self.games, self.seeds = games, seeds
        self.done, self.total = 0, 0.0  # episodes that finished, and the sum of their rewards
        self.gained = [0.0] * len(games)
        self.episodes = list(range(len(games)))
        self.acted: list[list[int]] = [[] for _ in games]
        self.frames = np.stack([g.reset(seed=seeds(e))[0] for g, e in zip(games, self.episodes, strict=True)])
        self.aside = ThreadPoolExecutor(1)

    def begin(self, actions: Sequence[int]) -> "Future[Moves]":
        """`step` beside whatever its caller does in the meantime, such as learning: games are other processes."""
        return self.aside.submit(self.step, actions)

    def step(self, actions: Sequence[int]) -> Moves:
        """Frames [games, c, h, w] after the actions, rewards, and which episodes are over or cut.

        Those begin again, and `frames` then holds their first frames.
        """
        before, self.frames = self.frames, np.empty_like(self.frames)
        nexts, rewards, overs, cuts = np.empty_like(before), [], [], []
        for k, (one, action) in enumerate(zip(self.games, actions, strict=True)):
            nexts[k], reward, over, cut, _ = one.step(int(action))
            self.frames[k] = nexts[k]
            self.acted[k].append(int(action))
            self.gained[k] += reward
            if over or cut:
                self._renew(k)
            rewards.append(float(reward))
            overs.append(bool(over))
            cuts.append(bool(cut))
        return nexts, rewards, overs, cuts

    def _renew(self, k: int) -> None:
        self.done, self.total = self.done + 1, self.total + self.gained[k]
        self.episodes[k], self.acted[k], self.gained[k] = max(self.episodes) + 1, [], 0.0
        self.frames[k] = self.games[k].reset(seed=self.seeds(self.episodes[k]))[0]

    def state_dict(self) -> dict[str, Any]:
        kept = {"done": self.done, "total": self.total, "episodes": self.episodes, "gained": self.gained}
        return {**kept, "acted": [list(actions) for actions in self.acted]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self.total = state["done"], state["total"]
        self.episodes, self.gained = list(state["episodes"]), list(state["gained"])
        self.acted = [list(actions) for actions in state["acted"]]
        for k, one in enumerate(self.games):
            frame, _ = one.reset(seed=self.seeds(self.episodes[k]))
            for action in self.acted[k]:
                frame = one.step(action)[0]
            self.frames[k] = frame


@dataclass
class Episode:
    """One episode as it was played."""

    rewards: list[float] = field(default_factory=list)
    over: bool = False  # it ended; else its time was up
    first: Frame = field(default_factory=lambda: np.empty(0), repr=False)
    last: Frame = field(default_factory=lambda: np.empty(0), repr=False)  # after the last action

    def discounted_return(self, gamma: float) -> float:
        return float(sum(gamma**t * reward for t, reward in enumerate(self.rewards)))


def episode_metrics(split: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """The mean sum of rewards, undiscounted, the share of episodes that ended before their time was up, and actions."""
    return {
        f"{split}/return": float(np.mean([sum(e.rewards) for e in episodes])),
        f"{split}/ended": float(np.mean([e.over for e in episodes])),
        f"{split}/actions": float(np.mean([len(e.rewards) for e in episodes])),
    }


Policy = Callable[[np.ndarray], Sequence[int]]  # frames uint8 [n, c, h, w] -> n actions


def play(games: Sequence[Game], seeds: Sequence[int], policy: Policy) -> list[Episode]:
    """One whole episode of the policy for each seed, so many side by side as there are games."""
    found = [Episode() for _ in seeds]
    waiting = list(range(len(seeds)))[::-1]
    playing: dict[int, tuple[Episode, Frame]] = {}  # game -> its episode and present frame
    while waiting or playing:
        for k, one in enumerate(games):
            if k not in playing and waiting:
                at = waiting.pop()
                frame = one.reset(seed=seeds[at])[0]
                found[at].first = frame
                playing[k] = (found[at], frame)
        order = sorted(playing)
        actions = policy(np.stack([playing[k][1] for k in order]))
        for k, action in zip(order, actions, strict=True):
            episode = playing[k][0]
            frame, reward, over, cut, _ = games[k].step(int(action))
            episode.rewards.append(float(reward))
            playing[k] = (episode, frame)
            if over or cut:
                episode.over, episode.last = bool(over), frame
                del playing[k]
    return found
