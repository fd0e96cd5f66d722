import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.exhibits.plane import COLOURS, SCALE, plane, save_plane


def test_points_stand_where_they_are():
    picture = plane(torch.zeros(10, 20), [torch.tensor([[-0.99, 0.99]]), torch.tensor([[0.99, -0.99]])], 1.0)
    assert picture.shape == (10 * SCALE, 20 * SCALE, 3)
    assert tuple(picture[0, 0]) == COLOURS[0]
    assert tuple(picture[-1, -1]) == COLOURS[1]
    assert (picture == 255).all(2).mean() > 0.9


def test_higher_values_are_darker_and_level_lines_lie_between():
    picture = plane(torch.linspace(0, 1, 100).expand(50, 100), [], 1.0)
    assert picture[0, 0, 0] > picture[0, 150, 0] > picture[0, -2, 0]
    darker = (numpy.diff(picture[0, :, 0].astype(int)) < -20).sum()
    assert darker == 12  # as many as there are levels


def test_points_outside_are_left_out_and_bytes_repeat(tmp_path):
    far = torch.tensor([[5.0, 0.0]])
    assert numpy.array_equal(plane(torch.zeros(4, 4), [far], 1.0), plane(torch.zeros(4, 4), [], 1.0))
    for name in ("a.png", "b.png"):
        save_plane(tmp_path / name, torch.eye(4), [far / 10], 1.0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("values", "points"), [(torch.zeros(3), []), (torch.zeros(3, 3), [torch.zeros(2, 3)]),
                                            (torch.full((2, 2), numpy.nan), [])])  # fmt: skip
def test_what_is_no_plane_is_refused(values, points):
    with pytest.raises(Problem, match="a plane needs"):
        plane(values, points, 1.0)
