import pytest
import torch

from etudes.data.colour import lab, rgb


def every_colour(steps=18):
    ticks = torch.linspace(0, 1, steps, dtype=torch.float64)
    return torch.cartesian_prod(ticks, ticks, ticks).T[None, :, :, None]


def test_there_and_back():
    x = every_colour()
    assert torch.allclose(rgb(lab(x)), x, atol=1e-9)


def test_grey_has_no_colour_and_white_is_100():
    grey = lab(torch.linspace(0, 1, 50, dtype=torch.float64).repeat(3, 1)[None, :, :, None])
    assert grey[:, 1:].abs().max() < 0.02
    assert grey[0, 0, [0, -1], 0].tolist() == pytest.approx([0, 100], abs=1e-4)


def test_known_colours():
    red = lab(torch.tensor([1.0, 0, 0], dtype=torch.float64)[None, :, None, None]).flatten().tolist()
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.02)  # CIE Lab of sRGB's red under D65


def test_as_scikit_image_has_it():
    colour = pytest.importorskip("skimage.color")
    x = every_colour(9)
    known = torch.from_numpy(colour.rgb2lab(x.movedim(1, -1).numpy())).movedim(-1, 1)
    assert torch.allclose(lab(x), known, atol=1e-4)


def test_what_srgb_lacks_is_cut_off():
    wild = torch.tensor([50.0, 110.0, -110.0], dtype=torch.float64)[None, :, None, None]
    assert ((rgb(wild) >= 0) & (rgb(wild) <= 1)).all()
    assert rgb(wild)[0, 1] == 0
