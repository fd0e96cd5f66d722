"""Learning Doom against the way that people take, in one run: etudes bench rl

Frames learnt a second on the scenario `basic`: actions of which each was played, kept in the memory and paid for with
its share of updates: one for four actions, as in the paper and by default in stable-baselines3, or for two, as in the
study `doom-dqn`. Network (two convolutions), frames, memory, batch and optimiser are the study's on all sides. The
study keeps eight games side by side and lets them move while the network learns; stable-baselines3's DQN plays one
game, its usual way, or eight in its DummyVecEnv. Ours has one thread, as in the study; theirs one too, or all cores, as
by default. Goal: twice either.

Contenders take turns of some seconds, each round beginning with another one; the table has medians over the rounds, and
of ours over theirs in the same round. A library that cannot be imported is named and left out: pip install
stable-baselines3. sample-factory, the fastest of all with Doom, has no DQN, so there is nothing to compare.
"""

import gc
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from etudes.core.environment import environment
from etudes.rl.dqn import Network
from etudes.rl.explore import epsilon_greedy
from etudes.rl.games import Lockstep, game
from etudes.rl.learner import Learner, turn
from etudes.rl.replay import Replay, Returns, Transitions
from etudes.studies.rl.doom_dqn import CONVOLUTIONS, STUDY, Config, bellman

CFG = Config()
EPSILON, GOAL = 0.5, 2.0  # epsilon stays, so that all play episodes of the same lengths
ACTIONS = 800  # of a turn
EVERY = (4, CFG.games // CFG.updates)  # actions an update


@dataclass
class Contender:
    name: str
    work: Callable[[int], None]  # play and learn from so many actions
    updates: Callable[[], int]  # so far
    parameters: int
    close: Callable[[], None]
    threads: int  # of PyTorch


def ours(every: int) -> Contender:
    lockstep = Lockstep([game("basic") for _ in range(CFG.games)], lambda e: e)
    shape, count = lockstep.games[0].shape, len(lockstep.games[0].actions)
    model = Network(shape, count, CONVOLUTIONS[CFG.network], CFG.hidden)
    memory, returns = Replay(CFG.memory, shape), Returns(CFG.games, 1, CFG.gamma)
    learner = Learner(model, memory, CFG.lr, renew=CFG.renew)

    def targets(drawn: Transitions) -> torch.Tensor:
        return bellman(drawn.returns, drawn.discounts, learner.target(drawn.nexts))

    rng = np.random.default_rng(0)

    def work(actions: int) -> None:
        for _ in range(actions // CFG.games):
            chosen = epsilon_greedy(learner.values(lockstep.frames), EPSILON, rng)

            def learn() -> None:
                for _ in range(CFG.games // every if len(memory) >= CFG.batch else 0):
                    learner.update(CFG.batch, rng, targets)

            turn(lockstep, chosen, returns, memory, CFG.reward_scale, learn)

    def close() -> None:
        for one in lockstep.games:
            one.close()

    size = sum(map(torch.numel, model.parameters()))
    return Contender(
        f"études, {CFG.games} games, {STUDY.threads} thread", work, lambda: learner.updates, size, close, STUDY.threads
    )


def theirs(games: int, every: int, threads: int) -> Contender:
    import gymnasium
    from stable_baselines3 import DQN
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import DummyVecEnv

    class Body(BaseFeaturesExtractor):
        def __init__(self, space: gymnasium.Space) -> None:
            made = Network(space.shape, 1, CONVOLUTIONS[CFG.network], CFG.hidden)
            super().__init__(space, made.head[0].in_features)
            self.body = made.body

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return self.body(frames)  # already divided by 255

    def made() -> gymnasium.Env:
        return gymnasium.wrappers.TransformReward(game("basic"), lambda reward: CFG.reward_scale * reward)

    model = DQN(
        "CnnPolicy",
        DummyVecEnv([made] * games),
        learning_rate=CFG.lr,
        buffer_size=CFG.memory,
        learning_starts=CFG.batch,
        batch_size=CFG.batch,
        gamma=CFG.gamma,
        train_freq=(max(1, every // games), "step"),
        gradient_steps=max(1, games // every),
        target_update_interval=CFG.renew * every,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        policy_kwargs={"features_extractor_class": Body, "net_arch": [CFG.hidden]},
        device="cpu",
        seed=0,
    )

    def work(actions: int) -> None:
        model.learn(actions, reset_num_timesteps=False)

    name = f"stable-baselines3, {games} game{'s' if games > 1 else ''}, {threads} thread{'s' if threads > 1 else ''}"
    size = sum(map(torch.numel, model.q_net.parameters()))
    return Contender(name, work, lambda: model._n_updates, size, model.get_env().close, threads)


def compare(found: list[Contender], rounds: int, every: int) -> list[list[float]]:
    """Actions learnt a second of each contender, round by round."""
    for contender in found:
        contender.work(ACTIONS // 2)
    speeds: list[list[float]] = [[] for _ in found]
    for turned in range(rounds):
        for place in range(len(found)):
            at = (turned + place) % len(found)
            gc.collect()
            torch.set_num_threads(found[at].threads)
            before, begun = found[at].updates(), time.perf_counter()
            found[at].work(ACTIONS)
            speeds[at].append(ACTIONS / (time.perf_counter() - begun))
            assert found[at].updates() - before == ACTIONS // every, found[at].name
    return speeds


def told(found: list[Contender], speeds: list[list[float]], every: int) -> Table:
    title = f"Learning Doom's `basic`, {every} actions an update of {CFG.batch}"
    table = Table("by", "parameters", "frames learnt/s", "ours/theirs", "goal", title=title, title_justify="left")
    for contender, own in zip(found, speeds, strict=True):
        ratios = [mine / other for mine, other in zip(speeds[0], own, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        others = (ratio, f"{GOAL:.1f}") if contender is not found[0] else ("", "")
        table.add_row(contender.name, f"{contender.parameters:,}", f"{statistics.median(own):,.0f}", *others)
    return table


def importable() -> bool:
    """Whether stable-baselines3 is there; its version, or why not, is printed."""
    try:
        import stable_baselines3  # noqa: F401
    except Exception as error:  # whatever its import may raise
        print(f"stable-baselines3 is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        return False
    print(f"stable-baselines3 {importlib.metadata.version('stable_baselines3')}")
    return True


def main(rounds: int = 5) -> None:
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    torch.manual_seed(0)
    peer, cores = importable(), torch.get_num_threads()
    for every in EVERY:
        peers = (
            [theirs(games, every, threads) for games in (1, CFG.games) for threads in sorted({1, cores})]
            if peer
            else []
        )
        found = [ours(every), *peers]
        Console(width=124).print(told(found, compare(found, rounds, every), every))
        for contender in found:
            contender.close()
    print(f"{rounds} rounds of {ACTIONS} actions")


if __name__ == "__main__":
    main()
