import numpy as np
import pytest
import torch

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.generate.diffusion import sdedit
from etudes.web.demos import ddpm_sdedit as demo
from etudes.web.demos import networks, pictures


@pytest.fixture(scope="module", params=["ddpm", "blend"])
def pad(request, root):
    return demo.editor(
        networks.find_records(catalogue.find("ddpm-sdedit"), root)[f"ddpm-sdedit · {request.param} · smoke"]
    )


def test_the_redrawing_is_that_of_the_library(pad):
    guide = pad.test_picture(3)
    made, way = demo.redraw(pad, guide, 0.5, None, count=2, seed=4)
    if pad.process.steps > 16:
        signed = (2 * guide - 1).expand(2, -1, -1, -1)
        expected = sdedit(pad.model, pad.process, signed, 0.5, torch.Generator().manual_seed(4))
        assert torch.equal(made, (expected + 1) / 2)
    assert torch.allclose(way[-1][1], made[0])
    assert way[0][0] == f"level {round(0.5 * pad.process.steps)} of {pad.process.steps}"
    assert len(way) <= demo.SHOWN + 1


def test_t0_of_zero_gives_the_picture_back(pad):
    guide = pad.test_picture(0)
    made, _ = demo.redraw(pad, guide, 0.0, None, count=1, seed=0)
    assert torch.allclose(made, guide, atol=1e-6)


def test_what_is_not_painted_over_stays(pad):
    guide, mask = pad.test_picture(1), torch.zeros(1, 1, pad.side, pad.side, dtype=torch.bool)
    mask[..., 2:5, 2:5] = True
    made, _ = demo.redraw(pad, guide, 1.0, mask, count=2, seed=0)
    kept = ~mask.expand_as(made)
    assert torch.allclose(made[kept], guide.expand_as(made)[kept], atol=1e-6)
    assert not torch.allclose(made[~kept], guide.expand_as(made)[~kept], atol=1e-3)


def test_a_picture_that_was_only_shown_comes_back(pad):
    shown = np.array(demo.canvas(pad, 5).convert("RGBA"))
    x, mask = demo.read_pad({"composite": shown, "layers": [np.zeros_like(shown)]}, pad)
    assert torch.allclose(x, pad.test_picture(5), atol=1 / 254)
    assert not mask.any()


def test_what_was_painted_is_the_mask(pad):
    shown = np.array(demo.canvas(pad).convert("RGBA"))
    layer, half = np.zeros_like(shown), shown.shape[0] // 2
    layer[:half] = 255
    _, mask = demo.read_pad({"composite": shown, "layers": [layer]}, pad)
    assert mask[0, 0, : pad.side // 2].all()
    assert not mask[0, 0, pad.side // 2 :].any()


def test_problems_are_told(pad):
    with pytest.raises(Problem, match="the pad is empty"):
        demo.read_pad(None, pad)
    with pytest.raises(Problem, match="1 to 6 pictures"):
        demo.redraw(pad, pad.test_picture(0), 0.5, None, count=99, seed=0)
    with pytest.raises(Problem, match="share of the steps"):
        demo.redraw(pad, pad.test_picture(0), 7.0, None, count=1, seed=0)
    shown = np.array(demo.canvas(pad).convert("RGBA"))
    how = {"count": 1, "seed": 0}
    with pytest.raises(Problem, match="nothing is painted over"):
        demo.answer(pad, {"composite": shown, "layers": []}, demo.PAINTED, 0.5, how, lambda done: None)


def test_pictures_have_the_pixels_of_their_tensor():
    x = torch.rand(3, 4, 4)
    again = pictures.square(pictures.image(x, 1), 4)
    assert torch.allclose(again[0], x, atol=1 / 254)


def test_a_white_brush_is_seen_on_every_blank(pad):
    assert np.asarray(demo.canvas(pad).convert("L")).max() < 140
