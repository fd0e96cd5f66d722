import statistics

import pytest
import torch

from etudes.core.errors import Problem
from etudes.generate.guides import hole, strokes


def reflected(i, n):
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


@pytest.mark.parametrize(("brush", "tones"), [(1, 5), (3, 2), (5, 3)])
def test_strokes_are_the_naive_loop(brush, tones):
    x = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    painted = strokes(x, brush, tones)
    palette = [-1 + 2 * k / (tones - 1) for k in range(tones)]
    reach = brush // 2
    for n in range(2):
        for c in range(3):
            for i in range(6):
                for j in range(7):
                    square = [
                        float(x[n, c, reflected(i + di, 6), reflected(j + dj, 7)])
                        for di in range(-reach, reach + 1)
                        for dj in range(-reach, reach + 1)
                    ]
                    middle = statistics.median(square)
                    assert float(painted[n, c, i, j]) == pytest.approx(min(palette, key=lambda p: abs(p - middle)))


def test_a_fine_line_vanishes_and_a_broad_one_stays():
    x = torch.full((1, 1, 9, 9), -1.0)
    x[..., 1] = 1
    x[..., 4:8] = 1
    painted = strokes(x, 3, 2)
    assert (painted[..., 1] == -1).all()
    assert (painted[..., 4:8] == 1).all()


@pytest.mark.parametrize(("brush", "tones"), [(2, 3), (0, 3), (17, 3), (3, 1)])
def test_an_impossible_brush_is_told(brush, tones):
    with pytest.raises(Problem, match=r"odd brush of 1 to 15 pixels"):
        strokes(torch.zeros(1, 1, 8, 8), brush, tones)


def test_the_widest_brush_is_possible():
    assert strokes(torch.zeros(1, 1, 8, 8), 15, 3).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (16, 16), (9, 14)])
def test_a_hole_is_the_middle_half(h, w):
    mask = hole(h, w)
    assert mask.shape == (1, 1, h, w)
    for i in range(h):
        for j in range(w):
            assert mask[0, 0, i, j] == (h // 4 <= i < h - h // 4 and w // 4 <= j < w - w // 4)
    assert torch.equal(mask, mask.flip(2).flip(3))
