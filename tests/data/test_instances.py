import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data.cells import draw
from etudes.data.instances import border_distances, components, ridge


def cells(seed: int) -> np.ndarray:
    return draw(np.random.default_rng(seed), 24)[2]


def test_components_meet_at_edges_and_not_at_corners():
    mask = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]])
    assert components(mask).tolist() == [[1, 1, 0], [0, 0, 2], [0, 3, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_the_ridge_is_the_naive_loop(seed):
    instances = cells(seed)
    found = ridge(instances)
    h, w = instances.shape
    for r in range(h):
        for c in range(w):
            around = instances[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2]
            others = set(around.ravel().tolist()) - {0, int(instances[r, c])}
            assert found[r, c] == (instances[r, c] > 0 and bool(others))


def test_the_ridge_parts_cells_that_touch():
    instances = np.zeros((9, 12), np.int32)
    instances[2:7, 2:6], instances[2:7, 6:10] = 5, 2
    assert components(instances > 0).max() == 1
    left = np.where(ridge(instances), 0, instances)
    assert components(left > 0).max() == 2
    assert (instances > 0).sum() - (left > 0).sum() == 10
    with pytest.raises(Problem, match="an array"):
        ridge(instances[None])


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_the_naive_loop(seed):
    instances = cells(seed)
    numbers = [k for k in np.unique(instances) if k]
    first, second = border_distances(instances, 9.0)
    rows, columns = np.mgrid[:24, :24]
    for r in range(24):
        for c in range(24):
            far = sorted(np.sqrt(((rows - r) ** 2 + (columns - c) ** 2)[instances == k].min()) for k in numbers)
            far = [d if d <= 9 else np.inf for d in [*far, np.inf, np.inf]]
            assert first[r, c] == pytest.approx(far[0], rel=1e-6)
            assert second[r, c] == pytest.approx(far[1], rel=1e-6)


def test_one_object_has_no_second():
    instances = np.zeros((6, 6), np.int32)
    assert np.isinf(border_distances(instances, 5)[0]).all()
    instances[2, 2] = 7
    first, second = border_distances(instances, 5)
    assert first[2, 2] == 0
    assert first[2, 4] == 2
    assert np.isinf(second).all()
