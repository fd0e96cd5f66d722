"""Many games: what is counted of them, where a guesser should skip, and how sure a mean score is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from etudes.games.just_one import CARDS, Turn, score

COUNTS = ("score", "right", "wrong", "skipped", "empty", "clues", "cancelled")


class Tally:
    """Rows of numbers as a part of `fit`."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]


def game_counts(turns: Sequence[Turn], cards: int = CARDS) -> list[float]:
    """The numbers named by COUNTS of a game: cards won, turns of each outcome, clues given, clues that vanished."""
    outcomes = [turn.outcome for turn in turns]
    clues = [len(turn.clues) for turn in turns]
    left = [len(turn.left) for turn in turns]
    each = [outcomes.count(outcome) for outcome in ("right", "wrong", "skipped", "empty")]
    return [score(turns, cards), *each, sum(clues), sum(clues) - sum(left)]


def summary(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    """The mean score, and shares: of turns that ended right, wrong, skipped and without a clue, of clues cancelled."""
    games = dict(zip(COUNTS, np.array(rows, float).T, strict=True))
    turns = sum(games[outcome].sum() for outcome in ("right", "wrong", "skipped", "empty"))
    shares = {outcome: games[outcome].sum() / turns for outcome in ("right", "wrong", "skipped", "empty")}
    cancelled = games["cancelled"].sum() / games["clues"].sum()
    return {name: float(v) for name, v in {"score": games["score"].mean(), **shares, "cancelled": cancelled}.items()}


def threshold(guesses: Sequence[Sequence[float]]) -> float:
    """How sure a guesser should be, from guesses (sure, 1 if right else 0): the least number that wins the most cards a
    card spent.

    A right guess wins one card and spends it, a wrong one spends two, a skip one. -inf where guessing always is best.
    """
    if not guesses:
        return -np.inf
    sure, right = np.array(guesses, float).reshape(-1, 2).T
    levels = [-np.inf, *np.unique(sure)]
    rates = [right[sure >= level].sum() / (len(sure) + (1 - right[sure >= level]).sum()) for level in levels]
    return float(levels[int(np.argmax(rates))])


def bootstrap(scores: Sequence[float], rng: np.random.Generator, draws: int = 2_000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean score over games drawn with replacement (Efron 1979)."""
    values = np.array(scores, float)
    means = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
