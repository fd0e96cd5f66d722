"""Whether a similarity of two networks tells how well they can be stitched."""

from collections.abc import Mapping, Sequence

import numpy as np

PAIRS = ("halves", "other-set", "random-labels", "untrained")  # stages that are read by the same second network


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, from -1 to 1: of the ranks of both; equal numbers share the mean of their ranks. 0 where either never
    changes, as it then ranks nothing."""
    a, b = (_ranks(np.asarray(numbers, float)) for numbers in (x, y))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def foresight(trial: Mapping[str, Mapping[str, float]], name: str) -> float:
    """The rank correlation, over pairs of networks and depths, of a similarity with the share of test pictures that
    the stitched network gets right."""
    depths = range(1, 1 + sum(key.startswith(f"test/{name}-") and key[-1].isdigit() for key in trial[PAIRS[0]]))
    places = [(trial[pair], depth) for pair in PAIRS for depth in depths]
    similar = [numbers[f"test/{name}-{depth}"] for numbers, depth in places]
    right = [1 - numbers[f"test/stitched-error-{depth}"] for numbers, depth in places]
    return rank_correlation(similar, right)


def _ranks(x: np.ndarray) -> np.ndarray:
    return np.array([(x < value).sum() + (x == value).sum() / 2 for value in x])
