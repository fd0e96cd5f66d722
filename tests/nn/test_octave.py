"""Octave convolutions against loops over pixels, the plain convolution, and another library."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters, multiply_adds
from etudes.nn.bottleneck import resnet50
from etudes.nn.octave import (
    Kind,
    OctaveBlock,
    OctaveConv,
    OctaveNorm,
    low_channels,
    octave_resnet,
    octave_resnet50,
    pool,
    relative_cost,
    relative_memory,
    upsample,
)

SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)


def drawn(channels, alpha, side, n=2):
    """Octaves of so many channels in all."""
    low = low_channels(channels, alpha)
    torch.manual_seed(3)
    high = torch.randn(n, channels - low, side, side) if channels > low else None
    return high, torch.randn(n, low, side // 2, side // 2) if low else None


def looped(x, weight, stride=1):
    """A convolution with padding 1 of one picture [c, h, w], pixel by pixel."""
    out, channels, k, _ = weight.shape
    h, w = x.shape[1] // stride, x.shape[2] // stride
    y = torch.zeros(out, h, w)
    for o, p, q, c, i, j in itertools.product(*map(range, (out, h, w, channels, k, k))):
        row, column = stride * p + i - 1, stride * q + j - 1
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            y[o, p, q] += weight[o, c, i, j] * x[c, row, column]
    return y


def halved(x):
    y = torch.zeros(x.shape[0], x.shape[1] // 2, x.shape[2] // 2)
    for c, p, q in itertools.product(*map(range, y.shape)):
        y[c, p, q] = sum(x[c, 2 * p + i, 2 * q + j] for i in (0, 1) for j in (0, 1)) / 4
    return y


def doubled(x):
    y = torch.zeros(x.shape[0], 2 * x.shape[1], 2 * x.shape[2])
    for c, p, q in itertools.product(*map(range, y.shape)):
        y[c, p, q] = x[c, p // 2, q // 2]
    return y


@torch.no_grad()
@pytest.mark.parametrize("exchange", ["both", "down", "up", "none"])
def test_it_is_its_equation_pixel_by_pixel(exchange):
    conv = OctaveConv(4, 4, 3, 1, 1, alpha_in=0.25, alpha_out=0.5, bias=True, exchange=exchange)
    x = drawn(4, 0.25, 4, n=1)
    y_high, y_low = conv(x)
    high, low = x[0][0], x[1][0]
    expected_high, expected_low = looped(high, conv.high_to_high), looped(low, conv.low_to_low)
    if exchange in ("both", "up"):
        expected_high += doubled(looped(low, conv.low_to_high))
    if exchange in ("both", "down"):
        expected_low += looped(halved(high), conv.high_to_low)
    assert torch.allclose(y_high[0], expected_high + conv.bias[:2, None, None], atol=1e-5)
    assert torch.allclose(y_low[0], expected_low + conv.bias[2:, None, None], atol=1e-5)  # a bias, once


@torch.no_grad()
@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_stride_2_pools_each_octave_first_or_strides(downsample):
    conv = OctaveConv(4, 4, 3, 2, 1, alpha_in=0.5, alpha_out=0.25, downsample=downsample)
    x = drawn(4, 0.5, 8, n=1)
    high, low = x[0][0], x[1][0]

    def f(part, weight):
        return looped(halved(part), weight) if downsample == "pool" else looped(part, weight, 2)

    y_high, y_low = conv(x)
    assert torch.allclose(y_high[0], f(high, conv.high_to_high) + looped(low, conv.low_to_high), atol=1e-5)
    assert torch.allclose(y_low[0], f(low, conv.low_to_low) + f(halved(high), conv.high_to_low), atol=1e-5)


@torch.no_grad()
def test_alpha_0_is_the_plain_convolution_drawn_alike():
    for stride, downsample in ((1, "pool"), (2, "stride"), (2, "pool")):
        torch.manual_seed(0)
        plain = nn.Conv2d(6, 4, 3, stride, 1)
        torch.manual_seed(0)
        conv = OctaveConv(6, 4, 3, stride, 1, 0.0, 0.0, bias=True, downsample=downsample)
        x = torch.randn(2, 6, 8, 8)
        y, none = conv((x, None))
        assert none is None
        if (stride, downsample) == (2, "pool"):  # means, then the convolution: not the strided one
            assert not torch.allclose(y, plain(x), atol=0.1)
            pooled = functional.avg_pool2d(x, 2)
            assert torch.allclose(y, functional.conv2d(pooled, plain.weight, plain.bias, padding=1), atol=1e-6)
        else:
            assert torch.allclose(y, plain(x), atol=1e-6)


def test_under_one_seed_the_weights_are_those_of_the_plain_convolution():
    torch.manual_seed(0)
    whole = nn.Conv2d(8, 8, 3, bias=False).weight
    for alpha in SHARES:
        torch.manual_seed(0)
        conv = OctaveConv(8, 8, 3, 1, 1, alpha, alpha)
        k = 8 - low_channels(8, alpha)
        blocks = {
            "high_to_high": whole[:k, :k], "low_to_high": whole[:k, k:],
            "high_to_low": whole[k:, :k], "low_to_low": whole[k:, k:],
        }  # fmt: skip
        for name, block in blocks.items():
            own = getattr(conv, name)
            assert (own is None and block.numel() == 0) or torch.equal(own, block)
        assert count_parameters(conv) == whole.numel()


@torch.no_grad()
def test_counted_multiply_adds_and_numbers_follow_the_formulas():
    table = {0.0: 1.00, 0.125: 0.82, 0.25: 0.67, 0.5: 0.44, 0.75: 0.30, 1.0: 0.25}  # the paper's table 1
    for size, alpha in itertools.product((1, 3), SHARES):
        conv, x = OctaveConv(16, 16, size, 1, size // 2, alpha, alpha), drawn(16, alpha, 8, n=1)
        with FlopCounterMode(display=False) as counter:
            y = conv(x)
        whole = 16 * 16 * size**2 * 8 * 8
        assert counter.get_total_flops() // 2 == round(whole * relative_cost(alpha))
        assert relative_cost(alpha) == pytest.approx(table[alpha], abs=0.0051)
        assert sum(part.numel() for part in y if part is not None) == 16 * 8 * 8 * relative_memory(alpha)


def peer(conv, alpha_in, alpha_out, stride):
    """The same convolution of the package octconv, with the same weights."""
    module = pytest.importorskip("octconv").OctConv2d(8, 8, 3, stride, 1, alpha=(alpha_in, alpha_out))
    names = {"high_to_high": "h2h", "high_to_low": "h2l", "low_to_high": "l2h", "low_to_low": "l2l"}
    for ours, theirs in names.items():
        weight, part = getattr(conv, ours), getattr(module, f"conv_{theirs}")
        assert (weight is None) == (part is None)
        if weight is not None:
            part.weight.copy_(weight)
    return module


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.0, 0.5), (0.25, 0.5), (0.5, 0.5), (0.75, 0.25), (0.5, 0.0)])
def test_it_gives_what_octconv_gives(shares, stride):
    conv = OctaveConv(8, 8, 3, stride, 1, *shares)
    other = peer(conv, *shares, stride)
    x = drawn(8, shares[0], 8)
    ours, theirs = conv(x), other(x if shares[0] else x[0])
    theirs = theirs if isinstance(theirs, tuple) else (theirs, None)
    for one, two in zip(ours, theirs, strict=True):
        assert (one is None and two is None) or torch.allclose(one, two, atol=1e-5)


def test_gradients_reach_every_path():
    conv = OctaveConv(4, 4, 3, 1, 1, 0.5, 0.5, bias=True).double()
    high, low = (part.double().requires_grad_() for part in drawn(4, 0.5, 4, n=1))
    assert torch.autograd.gradcheck(lambda h, low: conv((h, low)), (high, low))
    sum(part.square().sum() for part in conv((high, low))).backward()
    assert all(p.grad.abs().min() > 0 for p in conv.parameters())


def test_each_octave_is_normalised_apart():
    norm = OctaveNorm(8, 0.25)
    assert count_parameters(norm) == count_parameters(nn.BatchNorm2d(8))
    high, low = norm(tuple(5 * part + 3 for part in drawn(8, 0.25, 8, n=16)))
    for part in (high, low):
        assert torch.allclose(part.mean((0, 2, 3)), torch.zeros(part.shape[1]), atol=1e-5)
        assert torch.allclose(part.var((0, 2, 3), correction=0), torch.ones(part.shape[1]), atol=1e-3)


@torch.no_grad()
def test_a_block_is_its_formula():
    for channels, stride, before, after in ((4, 1, 0.5, 0.5), (4, 2, 0.5, 0.5), (4, 1, 0.5, 0.0), (2, 1, 0.0, 0.5)):
        block = OctaveBlock(channels, ((3, 4), (3, 4)), stride, before, after, Kind()).eval()
        x = drawn(channels, before, 8)
        first, norm, relu, second, last = block.body
        y = last(second(relu(norm(first(x)))))
        changes = stride == 2 or channels == 2 or before != after
        assert len(block.shortcut) == 2 * changes
        straight = block.shortcut[1](block.shortcut[0](x)) if changes else x
        for found, one, two in zip(block(x), y, straight, strict=True):
            assert (found is None and one is None) or torch.equal(found, functional.relu(one + two))


def test_oct_resnet_50_has_the_parameters_of_resnet_50_and_the_published_multiply_adds():
    """2.367 billion at alpha 0.5, as another implementation (d-li14/octconv.pytorch) counts; 4.089 without octaves."""
    with torch.device("meta"):
        plain, octaves = octave_resnet50(3, 1000, 0.0), octave_resnet50(3, 1000, 0.5)
        known = resnet50(3, 1000)
        strided = octave_resnet50(3, 1000, 0.0, Kind(downsample="stride"))
    assert {count_parameters(model) for model in (plain, octaves, known, strided)} == {25_557_032}
    assert multiply_adds(known, (3, 224, 224)) == 4_089_184_256
    assert multiply_adds(octaves, (3, 224, 224)) == 2_367_143_936


@torch.no_grad()
def test_without_octaves_and_strided_it_is_the_librarys_resnet_50():
    known = resnet50(3, 10).eval()
    ours = octave_resnet50(3, 10, 0.0, Kind(downsample="stride")).eval()
    for theirs, mine in zip(known.state_dict().values(), ours.state_dict().values(), strict=True):  # in one order
        mine.copy_(theirs)
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(ours(x), known(x), rtol=1e-4, atol=1e-4)


def test_the_small_network_has_as_many_parameters_at_every_alpha_and_runs():
    counts = set()
    for alpha in (0.0, 0.125, 0.5, 0.75):
        model = octave_resnet(3, 10, 8, (1, 2, 1), alpha)
        counts.add(count_parameters(model))
        assert model(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert len(counts) == 1
    fewer = [count_parameters(octave_resnet(3, 10, 8, (1, 1), 0.5, Kind(e))) for e in ("both", "down", "up", "none")]
    assert fewer[0] > fewer[1] == fewer[2] > fewer[3]


@torch.no_grad()
def test_where_octaves_exchange_nothing_the_high_ones_do_not_depend_on_the_low():
    conv = OctaveConv(4, 4, 3, 1, 1, 0.5, 0.5, exchange="none")
    high, low = drawn(4, 0.5, 8)
    (y, z), (same, other) = conv((high, low)), conv((high, low + 1))
    assert torch.equal(y, same)
    assert not torch.allclose(z, other)
    assert OctaveConv(4, 4, 3, 1, 1, 0.0, 0.5, exchange="none").high_to_low is not None  # else low had nothing
    assert OctaveConv(4, 4, 3, 1, 1, 0.5, 0.0, exchange="none").low_to_high is not None  # else it were in vain


def test_means_and_their_doubles_are_those_of_loops():
    x = torch.randn(3, 4, 6)
    assert torch.allclose(pool(x[None])[0], halved(x), atol=1e-6)
    assert torch.equal(upsample(x[None])[0], doubled(x))


def test_what_does_not_fit_is_refused_in_one_sentence():
    with pytest.raises(Problem, match="5x5 cannot be halved; octaves need even sides"):
        OctaveConv(4, 4, 3, 1, 1, 0.0, 0.5)((torch.zeros(1, 4, 5, 5), None))
    with pytest.raises(Problem, match="not an octave apart"):
        OctaveConv(4, 4, 3, 1, 1)((torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 3, 3)))
    with pytest.raises(Problem, match=r"alpha is 1\.5"):
        OctaveConv(4, 4, 3, alpha_in=1.5)
    with pytest.raises(Problem, match="stride is 3"):
        OctaveConv(4, 4, 3, stride=3)
    with pytest.raises(Problem, match="exchange"):
        OctaveConv(4, 4, 3, exchange="sideways")
    with pytest.raises(Problem, match="downsample"):
        OctaveConv(4, 4, 3, downsample="max")
