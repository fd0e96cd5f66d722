import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.norm import Standardise
from etudes.nn.segmentation import SegmentationUNet, mirror, predict


def small(padding="valid", depth=2, skips=True, **how):
    torch.manual_seed(0)
    return SegmentationUNet(1, 3, 4, depth, padding, skips, **how).eval()


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_the_papers_network_has_the_papers_layers():
    def two(a, b):
        return 9 * a * b + b + 9 * b * b + b

    widths = [64, 128, 256, 512, 1024]
    down = two(1, 64) + sum(two(a, 2 * a) for a in widths[:-1])
    up = sum(4 * 2 * a * a + a + two(2 * a, a) for a in widths[:-1])
    with torch.device("meta"):
        model = SegmentationUNet(1, 2)
    assert parameters(model) == down + up + 2 * 64 + 2 == 31_030_658
    # "In total the network has 23 convolutional layers" (sec. 2).
    assert sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in model.modules()) == 23
    assert model.margin == 572 - 388


def test_572_pixels_become_388():
    model = SegmentationUNet(1, 2, width=1)
    assert model(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert model.fits(388) == 388
    assert model.fits(389) == 404


def plain(model, x, skips=True):
    """The same network written out, for padded or valid convolutions."""
    kept = []
    for i, layers in enumerate(model.down):
        for layer in layers:
            x = layer(x)
        if i < model.depth:
            kept.append(x)
            x = functional.max_pool2d(x, 2)
    for rise, layers in zip(model.rise, model.up, strict=True):
        x = rise(x)
        side = kept.pop()
        cut = (side.shape[-1] - x.shape[-1]) // 2
        side = side[..., cut : side.shape[-2] - cut, cut : side.shape[-1] - cut]
        x = layers(torch.cat([side, x], 1) if skips else x)
    return model.head(x)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("skips", [True, False])
def test_it_is_the_network_written_out(padding, skips):
    model = small(padding, skips=skips)
    x = torch.randn(2, 1, 64 + model.margin, 64 + model.margin)
    assert model(x).shape == (2, 3, 64, 64)
    assert torch.allclose(model(x), plain(model, x, skips), atol=1e-6)


def test_without_skips_it_has_fewer_parameters_and_sees_no_fine_features():
    with_skips, without = small(), small(skips=False)
    missing = sum(9 * a * a for a in (4, 8))  # of the first convolution of each level on the way up
    assert parameters(with_skips) - parameters(without) == missing
    down = [p for name, p in without.named_parameters() if name.startswith("down.0")]
    loss = without(torch.randn(1, 1, 84, 84)).sum()
    assert all(gradient is not None for gradient in torch.autograd.grad(loss, down))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_sides_that_fit_are_those_whose_pools_are_even(padding, depth):
    model = SegmentationUNet(1, 2, 1, depth, padding)

    def goes(side):
        for level in range(depth + 1):
            side -= 4 if padding == "valid" else 0
            if side < 1 or (level < depth and side % 2):
                return False
            side //= 2 if level < depth else 1
        return True

    for side in range(1, 140):
        out = side - model.margin
        fits = out > 0 and model.fits(out) == out
        assert fits == (goes(side) and out > 0)
        if fits:
            assert model(torch.zeros(1, 1, side, side)).shape[-1] == out
        elif out > 0:
            with pytest.raises(Problem, match=f"the next side that fits is {model.fits(out) + model.margin}"):
                model(torch.zeros(1, 1, side, side))


def test_mirroring_is_numpys_also_further_than_the_picture():
    numpy = pytest.importorskip("numpy")
    x = torch.arange(2 * 1 * 5 * 4.0).reshape(2, 1, 5, 4)
    for ends in ((0, 0, 0, 0), (2, 3, 1, 2), (9, 7, 11, 8)):
        theirs = numpy.pad(x.numpy(), ((0, 0), (0, 0), ends[:2], ends[2:]), mode="reflect")
        assert numpy.array_equal(mirror(x, *ends).numpy(), theirs)
    assert mirror(torch.ones(1, 1, 1, 1), 2, 2, 2, 2).shape == (1, 1, 5, 5)


@pytest.mark.parametrize("size", [(64, 64), (53, 90)])
@pytest.mark.parametrize("depth", [1, 2])
def test_tiles_that_overlap_are_seamless(size, depth):
    model = small(depth=depth, kind="batch")
    model.train()(torch.rand(4, 1, 84, 84))  # running means and variances of its own
    model.eval()
    x = torch.rand(3, 1, *size)
    with torch.no_grad():
        model.head.bias -= model(mirror(x, 50, 50 - size[0] % 4, 50, 50 - size[1] % 4)).mean((0, 2, 3))
    whole = predict(model, x)
    assert whole.shape == (3, *size)
    assert len(whole.unique()) == 3
    before = model.margin // 2
    high, wide = (model.fits(side) for side in size)
    padded = mirror(x, before, high + before - size[0], before, wide + before - size[1])
    assert torch.equal(whole, model(padded).argmax(1)[:, : size[0], : size[1]].to(torch.uint8))
    for tile in (1, 16, 20, 33, 200):
        assert torch.equal(predict(model, x, tile, batch=2), whole)


def test_padded_convolutions_refuse_tiles_and_take_any_picture():
    model = small("same")
    assert predict(model, torch.zeros(1, 1, 30, 41)).shape == (1, 30, 41)
    with pytest.raises(Problem, match="seamless with valid convolutions alone"):
        predict(model, torch.zeros(1, 1, 32, 32), 16)


def test_what_comes_first_comes_first():
    model = small(first=Standardise([0.5], [0.1]))
    x = torch.rand(1, 1, 84, 84)
    model.first, standardised = nn.Identity(), model(x)
    assert torch.allclose(model((x - 0.5) / 0.1), standardised, atol=1e-5)
