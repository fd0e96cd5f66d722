"""Experience: n-step transitions, and the memory that they are drawn from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem

LEAST = 1e-3  # priority that even a transition without error keeps (Schaul et al., sec. 3.3)


class Transitions(NamedTuple):
    """b transitions over one or more actions: value = returns + discounts * value(nexts)."""

    frames: Tensor  # uint8 [b, c, h, w]
    actions: Tensor  # int64 [b]
    returns: Tensor  # float32 [b], discounted rewards up to nexts
    nexts: Tensor  # uint8 [b, c, h, w]
    discounts: Tensor  # float32 [b]: gamma ** (actions in between), 0 where the episode ended

    def to(self, device: torch.device) -> "Transitions":
        return Transitions(*(part.to(device) for part in self))


class Returns:
    """What turns single actions of several games into n-step transitions.

    A transition spans n actions, or fewer before the end of its episode: the rewards of two episodes never mix. After
    an end its discount is 0, so nothing is bootstrapped. Where time is merely up the discount stays, and the value of
    the last frame counts: the game would have gone on (Pardo et al. 2018, arXiv:1712.00378).
    """

    def __init__(self, games: int, n: int, gamma: float) -> None:
        self.n, self.gamma = n, gamma
        self.pending: list[list[dict[str, Any]]] = [[] for _ in range(games)]

    def add(
        self,
        frames: np.ndarray,
        actions: Sequence[int],
        rewards: Sequence[float],
        nexts: np.ndarray,
        over: Sequence[bool],
        cut: Sequence[bool],
    ) -> Transitions | None:
        """The transitions that one more action of each game completes; None if there are none.

        frames, nexts: uint8 [games, c, h, w], before and after the actions.
        """
        rows: list[tuple[np.ndarray, int, float, np.ndarray, float]] = []
        for game, queue in enumerate(self.pending):
            queue.append({"frame": torch.from_numpy(frames[game].copy()), "action": int(actions[game]), "return": 0.0})
            for age, item in enumerate(reversed(queue)):
                item["return"] += self.gamma**age * float(rewards[game])
            while queue and (over[game] or cut[game] or len(queue) == self.n):
                discount = 0.0 if over[game] else self.gamma ** len(queue)
                item = queue.pop(0)
                rows.append((item["frame"].numpy(), item["action"], item["return"], nexts[game], discount))
        if not rows:
            return None
        before, did, gained, after, discounts = zip(*rows, strict=True)
        return Transitions(
            torch.from_numpy(np.stack(before)),
            torch.tensor(did),
            torch.tensor(gained, dtype=torch.float32),
            torch.from_numpy(np.stack(after)),
            torch.tensor(discounts, dtype=torch.float32),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"pending": self.pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pending = [[{**item, "frame": item["frame"].cpu()} for item in queue] for queue in state["pending"]]


class Replay:
    """A ring of `size` transitions in preallocated arrays: the newest takes the place of the oldest.

    `alpha` = 0 draws uniformly. Above it, a transition is drawn with a probability in proportion to the power `alpha`
    of its priority, the size of its last error; a new one has the largest priority so far (Schaul et al. 2016,
    arXiv:1511.05952, sec. 3.3). Sums over all priorities are made anew at each draw: for some hundred thousand of them
    that costs less than a tree of sums does in Python.
    """

    def __init__(self, size: int, shape: Sequence[int], alpha: float = 0.0) -> None:
        if size < 1:
            raise Problem(f"a replay memory holds at least one transition, not {size}")
        self.size, self.alpha, self.added = size, alpha, 0
        self.held = Transitions(
            torch.zeros(size, *shape, dtype=torch.uint8),
            torch.zeros(size, dtype=torch.int64),
            torch.zeros(size),
            torch.zeros(size, *shape, dtype=torch.uint8),
            torch.zeros(size),
        )
        self.priorities = torch.zeros(size, dtype=torch.float64)
        self.largest = 1.0

    def __len__(self) -> int:
        return min(self.added, self.size)

    def add(self, new: Transitions) -> None:
        """Keep the transitions, the last `size` of them where there are more."""
        new = Transitions(*(part[-self.size :] for part in new))
        places = (self.added + torch.arange(len(new.actions))) % self.size
        for held, part in zip(self.held, new, strict=True):
            held[places] = part
        self.priorities[places] = self.largest
        self.added += len(places)

    def draw(self, batch: int, rng: np.random.Generator, beta: float = 1.0) -> tuple[Tensor, Transitions, Tensor]:
        """Places [batch], the transitions there, and their importance weights [batch] in (0, 1].

        The weights (n p) ** -beta, over the largest of the batch, undo the bias of drawing with probabilities p (sec.
        3.4); they are 1 where p is uniform. With priorities, one is drawn from each of `batch` equal shares of their
        sum (appendix B.2.1).
        """
        if not len(self):
            raise Problem("a replay memory without transitions has none to draw; add some first")
        if self.alpha == 0:
            places = torch.from_numpy(rng.integers(len(self), size=batch))
            weights = torch.ones(batch)
        else:
            powers = self.priorities[: len(self)] ** self.alpha
            sums = powers.cumsum(0)
            points = (torch.arange(batch) + torch.from_numpy(rng.random(batch))) / batch * sums[-1]
            places = torch.searchsorted(sums, points, right=True).clamp_(max=len(self) - 1)
            weights = (powers[places] / sums[-1] * len(self)) ** -beta
            weights = (weights / weights.max()).float()
        return places, Transitions(*(part[places] for part in self.held)), weights

    def update(self, places: Tensor, errors: Tensor) -> None:
        """Give the transitions that were drawn the priorities |error| + a little."""
        if self.alpha > 0:
            self.priorities[places] = errors.detach().abs().double().cpu() + LEAST
            self.largest = max(self.largest, self.priorities[places].max().item())

    def state_dict(self) -> dict[str, Any]:
        kept = len(self)
        return {
            "added": self.added,
            "largest": self.largest,
            "held": [part[:kept] for part in self.held],
            "priorities": self.priorities[:kept],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.added, self.largest = state["added"], state["largest"]
        for held, part in zip([*self.held, self.priorities], [*state["held"], state["priorities"]], strict=True):
            held[: len(part)] = part.cpu()
