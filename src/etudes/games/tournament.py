"""Many games: what is counted of them, where a guesser should skip, and how sure a mean score is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from etudes.games.just_one import CARDS, Turn, score

OUTCOMES = ("right", "wrong", "skipped", "empty")
COUNTS = ("score", *OUTCOMES, "clues", "cancelled")


class Counts(Protocol):
    """A column of numbers [games] for each of COUNTS."""

    def __getitem__(self, name: str, /) -> np.ndarray: ...


def game_counts(turns: Sequence[Turn], cards: int = CARDS) -> dict[str, int]:
    """The numbers named by COUNTS of a game: cards won, turns of each outcome, clues given, clues that vanished."""
    outcomes = [turn.outcome for turn in turns]
    clues = sum(len(turn.clues) for turn in turns)
    left = sum(len(turn.left) for turn in turns)
    each = {outcome: outcomes.count(outcome) for outcome in OUTCOMES}
    return {"score": score(turns, cards), **each, "clues": clues, "cancelled": clues - left}


def summary(games: Counts) -> dict[str, float]:
    """The mean score, and shares: of turns that ended right, wrong, skipped and without a clue, of clues cancelled."""
    turns = sum(games[outcome].sum() for outcome in OUTCOMES)
    shares = {outcome: games[outcome].sum() / turns for outcome in OUTCOMES}
    cancelled = games["cancelled"].sum() / games["clues"].sum()
    return {name: float(v) for name, v in {"score": games["score"].mean(), **shares, "cancelled": cancelled}.items()}


def threshold(sure: np.ndarray, right: np.ndarray) -> float:
    """How sure a guesser should be, from how sure it was [n] and whether it was right [n], as 1 or 0: the least number
    that wins the most cards a card spent.

    A right guess wins one card and spends it, a wrong one spends two, a skip one. -inf where guessing always is best.
    """
    if not len(sure):
        return -np.inf
    levels = [-np.inf, *np.unique(sure)]
    rates = [right[sure >= level].sum() / (len(sure) + (1 - right[sure >= level]).sum()) for level in levels]
    return float(levels[int(np.argmax(rates))])


def bootstrap(scores: Sequence[float], rng: np.random.Generator, draws: int = 2_000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean score over games drawn with replacement (Efron 1979)."""
    values = np.array(scores, float)
    means = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
