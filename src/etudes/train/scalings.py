"""How far to go along a task vector: coefficients of a grid, chosen by what validation data say of each."""

from collections.abc import Callable, Sequence

from etudes.core.errors import Problem


def best_scaling(grid: Sequence[float], score: Callable[[float], float]) -> float:
    """The coefficient of the grid with the highest score; of equal ones the smallest (Ilharco et al. 2023,
    arXiv:2212.04089, sec. 4)."""
    return max(_ascending(grid), key=lambda coefficient: (score(coefficient), -coefficient))


def largest_scaling(grid: Sequence[float], control: Callable[[float], float], share: float) -> float:
    """The largest coefficient of the grid that leaves this share of the control's score at 0 (sec. 3: 95 %); the
    smallest where none does."""
    least = share * control(0.0)
    return max((c for c in _ascending(grid) if control(c) >= least), default=min(grid))


def _ascending(grid: Sequence[float]) -> list[float]:
    if not grid:
        raise Problem("there is no coefficient to choose from; give a grid of one or more")
    return sorted(grid)
