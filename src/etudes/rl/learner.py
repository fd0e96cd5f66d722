"""What learns: a network of action values, its memory and its target network."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from etudes.rl import dqn
from etudes.rl.games import Lockstep
from etudes.rl.replay import Replay, Returns, Transitions

Found = TypeVar("Found")
Targets = Callable[[Transitions], Tensor]  # b transitions -> what the values of their actions should be [b]


class Learner:
    """Deep Q-learning from a memory (Mnih et al. 2015, algorithm 1), with all that changes in `state_dict`.

    renew: updates between two copies of the network to the target network; 0: there is none, and `target` is the
    network that learns.
    """

    def __init__(self, network: nn.Module, memory: Replay, lr: float, *, renew: int) -> None:
        self.network, self.memory, self.renew = network, memory, renew
        self.target = copy.deepcopy(network).requires_grad_(False) if renew else network
        fused = next(network.parameters()).device.type in ("cpu", "cuda")
        self.opt = torch.optim.Adam(network.parameters(), lr, fused=fused)
        self.updates = 0

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.no_grad()
    def values(self, frames: np.ndarray) -> Tensor:
        """Action values [n, actions] in frames uint8 [n, c, h, w], with the network in the mode that it is in."""
        return self.network(torch.from_numpy(frames).to(self.device))

    def update(self, batch: int, rng: np.random.Generator, targets: Targets, beta: float = 1.0) -> Tensor:
        """The loss of transitions drawn from the memory, before one step of Adam on it."""
        places, drawn, weights = self.memory.draw(batch, rng, beta)
        drawn, weights = drawn.to(self.device), weights.to(self.device)
        with torch.no_grad():
            wanted = targets(drawn)
        loss, errors = dqn.loss(self.network(drawn.frames), drawn.actions, wanted, weights)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        self.opt.step()
        self.memory.update(places, errors)
        self.updates += 1
        if self.renew and self.updates % self.renew == 0:
            self.target.load_state_dict(self.network.state_dict())
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        parts = {"network": self.network, "target": self.target, "opt": self.opt, "memory": self.memory}
        return {"updates": self.updates} | {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name in ("network", "target", "opt", "memory"):
            getattr(self, name).load_state_dict(state[name])


def turn(
    games: Lockstep, actions: Sequence[int], returns: Returns, memory: Replay, scale: float, learn: Callable[[], Found]
) -> Found:
    """What `learn()` finds, called while each game takes one action; what comes of them is then in the memory.

    scale: by which rewards are multiplied before they are kept.
    """
    frames = games.frames
    moving = games.begin(actions)
    found = learn()
    nexts, rewards, over, cut = moving.result()
    done = returns.add(frames, actions, [scale * reward for reward in rewards], nexts, over, cut)
    if done:
        memory.add(done)
    return found
