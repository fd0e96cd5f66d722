"""What the trials of a run say in numbers: how soon the best rate arrives, how far it gets, how many rates do."""

import math

import numpy as np

from etudes.core import Claim, Trial
from etudes.core.claims import Interval, below

STEPS, PASSES = "train/steps-to-target", "train/passes-to-target"
BELOW = below(1)


def first_passage(losses: np.ndarray, target: float, start: float, costs: np.ndarray) -> np.ndarray:
    """The cost [trials] at which each trial's loss [trials, looks] is at the target for the first time.

    `costs` [trials, looks] is what had been spent at each look, 0 before the first, when the loss was `start`. Between
    two looks the logarithm of the loss is taken for straight. Infinite where a trial never arrives.
    """
    found = np.full(len(losses), math.inf)
    for trial, (loss, cost) in enumerate(zip(losses, costs, strict=True)):
        below = np.flatnonzero(loss <= target)
        if not len(below):
            continue
        at = below[0]
        before, spent = (loss[at - 1], cost[at - 1]) if at else (start, 0.0)
        high, low, goal = (math.log(max(value, 1e-300)) for value in (before, loss[at], target))
        found[trial] = spent + (cost[at] - spent) * ((high - goal) / (high - low) if high > low else 1.0)
    return found


def summary(
    losses: np.ndarray, costs: np.ndarray, every: int, start: float, target: float, name: str = "loss"
) -> dict[str, float]:
    """The numbers of a run's trials with training losses [trials, looks], a look every `every` steps.

    A rule that no rate brings to the target counts all steps, or all passes, of its trials: as the least that it needs.
    Each number is that of the rate which is best at it: all rules have as many rates to choose from.
    """
    trials, looks = losses.shape
    steps = np.tile(every * np.arange(1.0, looks + 1), (trials, 1))
    arrival = first_passage(losses, target, start, steps)
    soonest = min(arrival.min(), steps[0, -1])
    passes = min(first_passage(losses, target, start, costs).min(), costs.max())
    early = losses[:, max(0, looks // 10 - 1)]
    return {
        STEPS: soonest,
        PASSES: passes,
        "train/reached": float(np.isfinite(arrival).mean()),
        "train/rates-near-best": float((arrival <= 2 * soonest).sum()),
        "train/best-rate": float(losses[:, -1].argmin() + 1),
        f"train/{name}": max(losses[:, -1].min(), 1e-16),
        f"train/{name}-early": early.min(),
    }


def share(trial: Trial, a: str, b: str, of: str = STEPS) -> float:
    """A number of variant `a` as a share of that of `b`."""
    return trial[a][of] / trial[b][of]


def lead(trial: Trial, a: str, b: str, other_a: str, other_b: str) -> float:
    """How many times as many steps as `a` variant `b` needs, over the same number of another pair."""
    return share(trial, b, a) / share(trial, other_b, other_a)


def fewer(a: str, b: str, where: str, of: str = STEPS, expect: Interval = BELOW) -> Claim:
    """The claim that `a` needs fewer steps than `b`, or that its share of them is as expected."""
    return Claim(lambda trial: share(trial, a, b, of), expect, where, number=f"{of}: {a} over {b}", kind="ratio")
