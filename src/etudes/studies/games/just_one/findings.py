"""What is read off the games: the measures of two claims."""

from collections.abc import Callable

import numpy as np

from etudes.core import Trial
from etudes.studies.games.just_one.players import SOURCES

SCORE = "test/score"
GIVER_COUNTS = range(1, 8)  # of givers, in the variants givers-1 to givers-7
PAIRS = {(a, b): "seats" if (a, b) == ("glove", "minilm") else f"{a}-{b}" for a in SOURCES for b in SOURCES}


def best_count_over(count: int) -> Callable[[Trial], float]:
    """A measure: the score with as many givers as are best on validation words, minus that with `count`."""

    def measure(trial: Trial) -> float:
        best = max(GIVER_COUNTS, key=lambda n: trial[f"givers-{n}"]["validation/score"])
        return trial[f"givers-{best}"][SCORE] - trial[f"givers-{count}"][SCORE]

    return measure


def telepathy(trial: Trial) -> float:
    """The mean score where both roles have the same associations, minus that where they have different ones."""
    same = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a == b]
    different = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a != b]
    return float(np.mean(same) - np.mean(different))
