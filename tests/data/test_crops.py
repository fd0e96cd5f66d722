import numpy
import pytest
import torch

from etudes.core import Problem
from etudes.data.crops import patches, resized_crop


def draws(seed=0):
    return numpy.random.default_rng(seed)


def pixels(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def places(side):
    """A picture [1, 2, side, side] whose channels tell where each pixel is, as a share of the picture."""
    along = (torch.arange(side) + 0.5) / side
    return torch.stack([along[:, None].expand(side, side), along.expand(side, side)])[None]


def test_a_crop_of_the_whole_picture_is_the_picture():
    x = pixels(5, 3, 12, 12).to(memory_format=torch.channels_last)
    y = resized_crop(x, draws(), (1, 1), (1, 1))
    assert torch.allclose(x, y, atol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_crops_have_the_areas_and_shapes_that_are_asked_for_and_lie_inside():
    n, side = 4000, 32
    y = resized_crop(places(side).expand(n, 2, side, side), draws(), (0.2, 0.6), (3 / 4, 4 / 3))
    # How much the place changes from one pixel of a crop to the next, as a share of the picture's, is its length.
    down = (y[:, 0, 20, 16] - y[:, 0, 12, 16]) * side / 8
    across = (y[:, 1, 16, 20] - y[:, 1, 16, 12]) * side / 8
    area, shape = (down * across).double(), (across / down).double()
    assert 0.199 < area.min() < 0.21
    assert 0.59 < area.max() < 0.601
    assert area.mean().item() == pytest.approx(0.4, abs=0.01)
    assert 0.749 < shape.min() < 0.76
    assert 1.32 < shape.max() < 1.334
    assert shape.log().mean().item() == pytest.approx(0, abs=0.01)
    centre = y[:, :, 15:17, 15:17].mean((2, 3))
    assert ((centre - torch.stack([down, across], 1) / 2) > -1e-4).all()
    assert ((centre + torch.stack([down, across], 1) / 2) < 1 + 1e-4).all()
    room = 1 - torch.stack([down, across], 1)
    assert ((centre - 0.5) / room).std(0).tolist() == pytest.approx([12**-0.5] * 2, rel=0.05)  # uniform


def test_a_crop_is_read_bilinearly_as_a_loop_does():
    x = pixels(1, 1, 6, 6)
    y = resized_crop(x, draws(3), (0.4, 0.4), (1, 1))[0, 0]
    rng = draws(3)
    rng.uniform(0.4, 0.4, 1), rng.uniform(0, 0, 1)
    across, down = 2 * rng.random(2) - 1
    length = 0.4**0.5
    for i in range(6):
        for j in range(6):
            at = []
            for k, middle in ((i, down), (j, across)):
                place = length * (2 * (k + 0.5) / 6 - 1) + middle * (1 - length)
                at.append(min(max((place + 1) / 2 * 6 - 0.5, 0), 5))
            (t, a), (s, b) = [(min(int(v), 4), v - min(int(v), 4)) for v in at]
            corner = x[0, 0, t : t + 2, s : s + 2]
            value = (corner * torch.tensor([[(1 - a) * (1 - b), (1 - a) * b], [a * (1 - b), a * b]])).sum()
            assert y[i, j].item() == pytest.approx(value.item(), abs=1e-5)


def test_patches_share_no_pixel_and_leave_the_gap():
    n, side, grid, size, gap = 300, 20, 2, 7, 2
    cut = patches(places(side).expand(n, 2, side, side), draws(), grid, size, gap)
    assert cut.shape == (n, 4, 2, 7, 7)
    where = (cut * side - 0.5).round().long()
    for p in range(4):
        row, column = divmod(p, 2)
        assert (where[:, p, 0].flatten(1) // 10 == row).all()
        assert (where[:, p, 1].flatten(1) // 10 == column).all()
        assert (where[:, p, :, -1, -1] - where[:, p, :, 0, 0] == size - 1).all()
        assert set(where[:, p, 0, 0, 0].tolist()) == {row * 10, row * 10 + 1}  # all that leaves the gap
    between = where[:, 1, 1, 0, 0] - where[:, 0, 1, 0, -1] - 1
    assert between.min() == gap
    assert between.max() == gap + 2


def test_patches_are_the_pictures_pixels_in_any_type():
    x = (pixels(3, 1, 9, 9) * 255).byte()
    cut = patches(x, draws(), 3, 3)
    for p in range(9):
        row, column = divmod(p, 3)
        assert torch.equal(cut[:, p], x[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3])


def test_what_does_not_fit_is_refused():
    with pytest.raises(Problem, match="do not fit into a grid of 2 x 2"):
        patches(pixels(1, 1, 8, 8), draws(), 2, 4, 1)
    with pytest.raises(Problem, match="areas up to 1"):
        resized_crop(pixels(1, 1, 8, 8), draws(), (0.5, 1.5))
