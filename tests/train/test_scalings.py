import pytest

from etudes.core.errors import Problem
from etudes.train.scalings import best_scaling, largest_scaling


def test_coefficients_are_chosen_by_their_scores() -> None:
    assert best_scaling((0.2, 0.4, 0.8), lambda c: -((c - 0.5) ** 2)) == 0.4
    assert best_scaling((0.8, 0.4), lambda c: 1.0) == 0.4  # of equal ones the smallest
    assert largest_scaling((0.8, 0.2, 0.4), lambda c: 1 - 0.1 * c, 0.95) == 0.4
    assert largest_scaling((0.2, 0.4), lambda c: 1.0 if c == 0 else 0.5, 0.95) == 0.2  # none leaves enough


@pytest.mark.parametrize("choose", [lambda: best_scaling((), float), lambda: largest_scaling((), float, 0.9)])
def test_there_must_be_something_to_choose_from(choose) -> None:
    with pytest.raises(Problem, match="no coefficient to choose from"):
        choose()
