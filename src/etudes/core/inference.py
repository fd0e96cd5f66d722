"""The statistics of the rule of judgement: one-sided tests of a mean, Holm's correction, looks, and what they can see.

docs/verdicts.md derives them in a page. Numbers are those of seeds, taken to be independent and normal; what comes of
other numbers is shown there.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

POWER = 0.8
GAP = (
    0.8  # of the range: so wide a gap between neighbours has 1 in 50 draws of five normal numbers, and 1 in 3,000 of 8
)


class PValues(NamedTuple):
    """The probabilities, at most, of numbers so far from what they speak against."""

    supported: float
    refuted: float
    negligible: float


def shares(looks: Sequence[int]) -> list[float]:
    """The part of the error that each look spends: one part each, and two at the last, which sees most."""
    parts = [1] * (len(looks) - 1) + [2]
    return [part / sum(parts) for part in parts]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the standard deviation with n - 1."""
    n = len(values)
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan


def p_values(values: Sequence[float], low: float, high: float, margin: float = math.nan) -> PValues:
    """One-sided t tests that the mean lies inside (low, high), outside of it, or within `margin` of its end.

    An end may be infinite. "Inside" needs all ends to be passed, so it takes the larger probability; "outside" is
    either end's, so it takes the smaller one times the number of ends (Bonferroni). The third is two one-sided tests
    (Schuirmann 1987), and 1 without a margin. At least two values, not all equal.
    """
    from scipy.special import stdtr

    n = len(values)
    mean, deviation = mean_and_deviation(values)
    error = deviation / math.sqrt(n)

    def above(end: float) -> float:  # how probable a mean so far above the end is, were the true one there
        return float(stdtr(n - 1, -(mean - end) / error))

    def below(end: float) -> float:
        return float(stdtr(n - 1, (mean - end) / error))

    lows, highs = ([end] if math.isfinite(end) else [] for end in (low, high))
    inside = max([*map(above, lows), *map(below, highs)])
    outside = min([*map(below, lows), *map(above, highs)]) * (len(lows) + len(highs))
    near = 1.0
    if not math.isnan(margin):
        end = [*lows, *highs][0]
        near = max(above(end - margin), below(end + margin))
    return PValues(inside, min(1.0, outside), near)


def holm(p: Sequence[float], alpha: float) -> tuple[list[float], list[float]]:
    """The probabilities as Holm's step-down corrects them, and the level at which it tests each (Holm 1979).

    Rejecting what is at most alpha rejects a true hypothesis in at most a share alpha of studies, however the tests
    depend on each other.
    """
    m = len(p)
    adjusted, levels = [1.0] * m, [alpha] * m
    largest, level = 0.0, alpha
    for rank, i in enumerate(sorted(range(m), key=lambda i: p[i])):
        if largest <= alpha:  # none was kept so far; those behind the first that is are tested at its level
            level = alpha / (m - rank)
        largest = max(largest, min(1.0, (m - rank) * p[i]))
        adjusted[i], levels[i] = largest, level
    return adjusted, levels


def interval(values: Sequence[float], level: float) -> tuple[float, float]:
    """The mean's Student t interval that one-sided tests at `level` leave at each end; unbounded below two values."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    mean, deviation = mean_and_deviation(values)
    reach = critical(n, level) * deviation / math.sqrt(n) if deviation else 0.0
    return mean - reach, mean + reach


@functools.cache
def critical(n: int, level: float) -> float:
    """The t of n numbers that a one-sided test at `level` asks for."""
    from scipy.special import stdtrit

    return -float(stdtrit(n - 1, level))


@functools.cache
def detectable(n: int, level: float, power: float = POWER) -> float:
    """The difference from the end, in standard deviations, that n seeds see at `level` with that power."""
    from scipy.special import nctdtrinc

    return float(nctdtrinc(n - 1, 1 - power, critical(n, level))) / math.sqrt(n)


def power(difference: float, n: int, level: float) -> float:
    """The probability that n seeds see at `level` a difference of so many standard deviations."""
    from scipy.special import nctdtr

    if not math.isfinite(difference):
        return 1.0 if difference > 0 else 0.0
    return 1 - float(nctdtr(n - 1, difference * math.sqrt(n), critical(n, level)))


def is_constant(values: Sequence[float]) -> bool:
    """Whether the numbers are all the same, up to what rounding does to differences, or too small to be told apart."""
    alike = max(values) - min(values) <= 1e-9 * max(map(abs, values))
    return alike or mean_and_deviation(values)[1] == 0


def two_clusters(values: Sequence[float], distance: float = 0.0) -> bool:
    """Whether the numbers fall into two clusters, as of learners that succeed or fail altogether.

    `distance` is that from the numbers to the nearest end: a gap that is smaller than it bears on no verdict.
    """
    ordered = sorted(values)
    gap = max((b - a for a, b in itertools.pairwise(ordered)), default=0.0)
    return len(values) >= 4 and gap > GAP * (ordered[-1] - ordered[0]) and gap > distance


def is_skewed(values: Sequence[float]) -> bool:
    """Whether the sample's skewness (G1, adjusted) is more than 2.58 of its standard errors, as of about one normal
    sample in a hundred; from eight values on."""
    n = len(values)
    if n < 8:
        return False
    mean, deviation = mean_and_deviation(values)
    skewness = n / (n - 1) / (n - 2) * math.fsum(((value - mean) / deviation) ** 3 for value in values)
    return abs(skewness) > 2.58 * math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
