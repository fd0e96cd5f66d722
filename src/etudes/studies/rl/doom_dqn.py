"""doom-dqn: learn to play Doom from its screen by deep Q-learning, and take its parts away one by one.

A network values each action in a frame, Q(s, a), and is trained towards r + gamma max_a' Q(s', a') (Bellman). The
paper's two means against divergence are a replay memory, from which past transitions are drawn at random, and a target
network, an older copy that the targets come from (Mnih et al. 2015, algorithm 1). The variants leave one of them out,
or add one later idea: double (arXiv:1509.06461), dueling (1511.06581), prioritised replay (1511.05952), n-step returns
(Sutton 1988; 1710.02298), noisy networks in place of epsilon-greedy (1706.10295).

    etudes run doom-dqn                   scenario `basic`, 8 variants, 8 seeds: 9 minutes on two cores
    etudes run doom-dqn --scale center    scenario `defend_the_center`, 3 variants, 3 seeds: 20 minutes on two cores
    etudes run doom-dqn --scale paper     scenario `health_gathering`, 250,000 steps, 5 seeds: 25 hours on a GPU

In the tables stand, beside what was learnt, a random policy and the best single action pressed throughout. A learner
finds the monster in time or does not, which is why there are 8 seeds. `--variants noisy` runs the ninth variant.

Departures from the paper: Doom for Atari, by ViZDoom; one small frame as the state, not four; rewards are scaled, not
clipped; Adam for RMSprop; games of eight side by side; time that is up is no end, and the value of what would follow
counts. Rewards of `basic`: 101 for the monster, -5 a shot, -1 a tic of 1/35 s; an episode lasts at most 300 tics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, higher, lower, positive, within
from etudes.exhibits.film import save_gif
from etudes.measure.size import count_parameters
from etudes.reports.charts import bars, curves, pictures
from etudes.rl.dqn import Network
from etudes.rl.explore import epsilon_greedy, linear_schedule
from etudes.rl.film import PACE, record
from etudes.rl.games import Episode, Game, Lockstep, Policy, episode_metrics, open_games, play
from etudes.rl.learner import Learner, turn
from etudes.rl.replay import Replay, Returns, Transitions
from etudes.train import Steps, fitted, seeded, weights

CONVOLUTIONS = {
    "small": ((8, 6, 3), (8, 3, 2)),  # of ViZDoom's own examples (learning_theano.py), for frames of 30x45
    "wide": ((32, 6, 3), (64, 3, 2)),
}


@dataclass(frozen=True)
class Config(Steps):
    game: Literal["chain", "grid", "basic", "defend_the_center", "health_gathering"] = "basic"  # what is played
    policy: Literal["learnt", "random"] = "learnt"  # random: any action, all alike; nothing is learnt
    games: Annotated[int, at_least(1)] = 8  # played side by side
    buttons: Annotated[int, at_least(1)] = 1  # that an action of Doom may press at once
    steps: Annotated[int, at_least(1)] = 800  # in each of which every game is given one action
    updates: Annotated[int, at_least(1)] = 4  # of the network, a step
    warmup: Annotated[int, at_least(1)] = 25  # steps before the first update
    batch: Annotated[int, at_least(1)] = 64  # transitions an update
    network: Literal["small", "wide"] = "small"  # convolutions
    hidden: Annotated[int, at_least(2)] = 128  # units of the layer after them
    lr: Annotated[float, positive] = 5e-4  # of Adam
    gamma: Annotated[float, within(0, 1)] = 0.99  # discount of a reward that comes one action later
    reward_scale: Annotated[float, positive] = 0.01  # of rewards, as the network learns them
    memory: Annotated[int, at_least(1)] = 10_000  # transitions that the replay memory holds
    recent: bool = False  # learn from the last `batch` transitions alone, without a memory
    renew: Annotated[int, at_least(1)] = 100  # updates between two copies of the network to the target network
    target: bool = True  # have a target network; else targets come from the network itself
    double: bool = False  # let the network choose the action that the target network values
    dueling: bool = False  # values of states and advantages of actions apart
    priority: Annotated[float, within(0, 1)] = 0.0  # exponent of priorities in the memory; 0: uniform
    n: Annotated[int, at_least(1)] = 1  # actions whose rewards a return adds before it bootstraps
    noisy: bool = False  # noise in the weights of the linear layers, for epsilon-greedy
    start: Annotated[float, within(0, 1)] = 1.0  # epsilon at first
    end: Annotated[float, within(0, 1)] = 0.05  # epsilon from `decay` on
    decay: Annotated[float, within(0, 1)] = 0.6  # share of the steps over which epsilon falls
    eval_every: Annotated[int, at_least(0)] = 100  # steps between validations; 0: at the end alone
    eval_episodes: Annotated[int, at_least(1)] = 16  # of a validation
    test_episodes: Annotated[int, at_least(1)] = 100  # of the last evaluation
    log_every: Annotated[int, at_least(1)] = 20  # steps that one line of the log averages


def bellman(returns: Tensor, discounts: Tensor, target: Tensor, online: Tensor | None = None) -> Tensor:
    """What the values of the actions taken should be [b]: r + gamma max_a' Q(s', a'), by Bellman's equation.

    returns [b]: r; discounts [b]: gamma, 0 after an end; target [b, actions]: Q(s', .) of the target network. With the
    online network's too, that one chooses the action and this one rates it: where the same errors do both, the value is
    too large (van Hasselt et al. 2016, eq. 4).
    """
    choice = (target if online is None else online).argmax(1, keepdim=True)
    return returns + discounts * target.gather(1, choice).squeeze(1)


def network(cfg: Config, one: Game) -> Network:
    """The network for a game's frames and actions, as `network.safetensors` of a run holds it."""
    convolutions = CONVOLUTIONS[cfg.network]
    return Network(one.shape, len(one.actions), convolutions, cfg.hidden, dueling=cfg.dueling, noisy=cfg.noisy)


def value_metrics(cfg: Config, learner: Learner, episodes: Sequence[Episode]) -> dict[str, float]:
    """The value that the network gives the first frames, and by how much it is above the discounted return that
    followed, both in the game's own rewards; and the share of episodes in which it is above. Of an episode cut short,
    the value of the last frame is what is to come.
    """
    first, last = (
        learner.values(np.stack(frames)).amax(1).double().cpu().numpy() / cfg.reward_scale
        for frames in ([e.first for e in episodes], [e.last for e in episodes])
    )
    ahead = [0.0 if e.over else cfg.gamma ** len(e.rewards) * value for e, value in zip(episodes, last, strict=True)]
    returns = np.array([e.discounted_return(cfg.gamma) for e in episodes]) + ahead
    return {
        "test/value": float(first.mean()),
        "test/overestimation": float((first - returns).mean()),
        "test/overestimates": float((first > returns).mean()),
    }


def baselines(cfg: Config, run: Run, games: Sequence[Game], seeds: dict[str, list[int]]) -> None:
    """Results of the random policy, and of the best fixed action, which is chosen on the validation episodes."""
    rng, actions = run.rng("random policy"), games[0].actions

    def always(action: int) -> Policy:
        return lambda frames: [action] * len(frames)

    def score(split: str, action: int) -> float:
        return episode_metrics(split, play(games, seeds[split], always(action)))[f"{split}/return"]

    episodes = play(games, seeds["test"], lambda frames: rng.integers(len(actions), size=len(frames)))
    best = int(np.argmax([score("validation", action) for action in range(len(actions))]))
    run.note(fixed_action=actions[best])
    run.result(**episode_metrics("test", episodes), **{"test/return-fixed": score("test", best)})


def train(cfg: Config, run: Run) -> None:
    counts = {"validation": cfg.eval_episodes, "test": cfg.test_episodes}
    seeds = {split: [run.seed(split, e) for e in range(count)] for split, count in counts.items()}
    with open_games(cfg.games, cfg.game, cfg.buttons) as games:
        actions = ", ".join(games[0].actions)
        run.note(data={"dataset": cfg.game, "kind": "a game", "says": f"actions: {actions}", "fingerprint": ""})
        if cfg.policy == "random":
            baselines(cfg, run, games, seeds)
        else:
            teach(cfg, run, games, seeds)


def teach(cfg: Config, run: Run, games: Sequence[Game], seeds: dict[str, list[int]]) -> None:
    model = seeded(run, "init", lambda: network(cfg, games[0]))
    memory = Replay(cfg.batch if cfg.recent else cfg.memory, games[0].shape, cfg.priority)
    learner = Learner(model, memory, cfg.lr, renew=cfg.renew if cfg.target else 0)
    returns = Returns(cfg.games, cfg.n, cfg.gamma)
    lockstep = Lockstep(games, lambda e: run.seed("episode", e))

    def targets(batch: Transitions) -> Tensor:
        target = learner.target(batch.nexts)
        online = learner.network(batch.nexts) if cfg.double else None
        return bellman(batch.returns, batch.discounts, target, online)

    def step(i: int) -> dict[str, Tensor | float]:
        epsilon = 0.0 if cfg.noisy else linear_schedule(i, cfg.start, cfg.end, round(cfg.decay * cfg.steps))
        values = learner.values(lockstep.frames)
        actions = epsilon_greedy(values, epsilon, run.rng("explore", i))
        rng, beta = run.rng("draw", i), linear_schedule(i, 0.4, 1.0, cfg.steps)
        count = cfg.updates if i >= cfg.warmup and len(memory) else 0

        def learn() -> Tensor | float:
            return sum(learner.update(cfg.batch, rng, targets, beta) for _ in range(count)) / max(1, count)

        loss = turn(lockstep, actions, returns, memory, cfg.reward_scale, learn)
        return {"train/loss": loss, "train/value": values.amax(1).mean() / cfg.reward_scale}

    def best(frames: np.ndarray) -> np.ndarray:
        return learner.values(frames).argmax(1).cpu().numpy()

    def evaluate() -> dict[str, float]:
        state = lockstep.state_dict()  # the games are needed here, and go on as they were
        model.eval()
        metrics = episode_metrics("validation", play(games, seeds["validation"], best))
        model.train()
        lockstep.load_state_dict(state)
        return metrics

    fitted(run, cfg, {"learner": learner, "returns": returns, "games": lockstep}, step, evaluate)
    model.eval()
    episodes = play(games, seeds["test"], best)
    run.result(**episode_metrics("test", episodes), **value_metrics(cfg, learner, episodes))
    run.result(parameters=count_parameters(model), **{"train/return": lockstep.total / max(1, lockstep.done)})
    weights.save(run.path("network.safetensors"), model)
    if run.leader:
        save_gif(run.path("episode.gif"), record(games[0], seeds["test"], best), PACE)


GRID = {"game": "grid", "games": 4, "eval_episodes": 4, "test_episodes": 4, "hidden": 16}
SMOKE = GRID | {"steps": 60, "warmup": 10, "updates": 1, "batch": 16, "eval_every": 30}
CENTER = {"game": "defend_the_center", "steps": 8_000, "reward_scale": 1.0, "eval_every": 1_000, "log_every": 100}
HEALTH = {"game": "health_gathering", "buttons": 2, "network": "wide", "hidden": 512, "memory": 200_000}
COMPARED = ("random", "dqn", "no-target", "no-replay", "double", "dueling", "prioritised", "n-step")
LONG = {"steps": 250_000, "updates": 2, "lr": 2.5e-4, "renew": 2_000, "eval_every": 12_500, "log_every": 250}

STUDY = Study(
    name="doom-dqn",
    question="Does a network learn Doom from its screen, and what do replay, target network and later ideas add?",
    paper=Paper(
        "Human-level control through deep reinforcement learning",
        "Mnih, Kavukcuoglu, Silver and 16 others",
        2015,
        "https://doi.org/10.1038/nature14236",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("random", {"policy": "random"}, "any action, all alike"),
        Variant("dqn", says="a replay memory and a target network"),
        Variant("no-target", {"target": False}, "targets from the network that learns"),
        Variant("no-replay", {"recent": True}, "learns from the last 64 transitions alone"),
        Variant("double", {"double": True}, "the network chooses the action that the target network values"),
        Variant("dueling", {"dueling": True}, "values and advantages apart"),
        Variant("prioritised", {"priority": 0.6}, "transitions with large errors are drawn more often"),
        Variant("n-step", {"n": 3}, "three rewards before the network is asked"),
        Variant("noisy", {"noisy": True}, "noise in the weights, for epsilon-greedy"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.2, judges=False),
        "laptop": Scale({"test_episodes": 300}, seeds=(8, 12, 20), minutes=9, variants=COMPARED),
        "center": Scale(CENTER, seeds=3, minutes=20, judges=False, variants=("random", "dqn", "double")),
        "paper": Scale(HEALTH | LONG, seeds=5, minutes=1_500),
    },
    words={
        "test/return": "reward of a test episode",
        "train/return": "reward of a training episode",
        "test/overestimates": "share of test episodes whose first frame is over-estimated",
        "test/overestimation": "value of the first frame above the return that followed",
        "test/ended": "share of test episodes that ended before time was up",
        "test/actions": "actions of a test episode",
        "test/return-fixed": "reward of the best single action",
    },
    idea=bellman,
    claims={
        "deep Q-learning gets more reward in test episodes with a replay memory than without one": replace(
            higher("dqn", "no-replay", "table 3 of the extended data", of="test/return"), worst=0.0
        ),
        "deep Q-learning gets more reward in test episodes with a target network than without one": replace(
            higher("dqn", "no-target", "table 3 of the extended data", of="test/return"), worst=0.0
        ),
        "double Q-learning over-estimates the first frame in a smaller share of test episodes than plain deep "
        "Q-learning": lower("double", "dqn", "van Hasselt et al. 2016, fig. 3", of="test/overestimates"),
        "a dueling network gets more reward in test episodes than a plain one": higher(
            "dueling", "dqn", "Wang et al. 2016, table 1", of="test/return", matters=5.0
        ),
        "replay by priority gets more reward in the episodes of training than uniform replay": higher(
            "prioritised", "dqn", "Schaul et al. 2016, fig. 4", of="train/return"
        ),
        "returns over three actions get more reward in the episodes of training than returns over one": higher(
            "n-step", "dqn", "Hessel et al. 2018, fig. 3", of="train/return"
        ),
    },
    revisions=(
        "Random actions and the best single action are rows of the tables, no claims; double Q-learning is judged by "
        "the share of over-estimated episodes; noisy networks are left out of the laptop scale with their claim; 300 "
        "test episodes for 100; a margin of 5 for the dueling network; 8 seeds at first and up to 20.",
    ),
    charts=(
        bars("test/return", "test/ended", title="Reward of a test episode, and the share of episodes won in time"),
        curves("validation/return", title="Reward of a validation episode during training"),
        bars(
            "test/overestimation",
            "test/overestimates",
            "train/return",
            title="How much and how often values are too high, and the reward of a training episode",
        ),
        curves("train/value", title="The value that the network gives what it sees, during training"),
        pictures("episode.gif", title="How it plays", says="Its screen in test episodes.", variants=("dqn",)),
    ),
    origin="A6",
)
