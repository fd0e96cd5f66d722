import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.efficientnet import EfficientNetLite, InvertedResidual, pad_same, scale_channels


@pytest.mark.parametrize(
    ("size", "blocks", "millions"), [("lite0", 16, 4.652), ("lite1", 21, 5.417), ("lite2", 21, 6.092)]
)
def test_sizes_are_the_published_ones(size, blocks, millions):
    with torch.device("meta"):
        model = EfficientNetLite(size)
    assert len(model.blocks) == blocks
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.001)


def test_channels_are_rounded_to_eight():
    assert [scale_channels(c, 1.1) for c in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]
    assert scale_channels(24, 0.5) == 16  # 12 would be rounded to 8, down by a third


@pytest.mark.parametrize("side", [5, 8, 9])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(side, size, stride):
    x = torch.randn(1, 2, side, side)
    out = functional.conv2d(pad_same(x, size, stride), torch.ones(2, 1, size, size), stride=stride, groups=2)
    rows = -(-side // stride)
    total = max(0, (rows - 1) * stride + size - side)
    assert out.shape[-2:] == (rows, rows)
    for r in range(rows):
        low = r * stride - total // 2
        inside = [i for i in range(low, low + size) if 0 <= i < side]
        expected = x[0, 0][inside][:, : max(0, size - total // 2)].sum()
        assert out[0, 0, r, 0].item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_block_by_its_formula():
    torch.manual_seed(0)
    block = InvertedResidual(8, 8, 3, 1, 6).eval()
    x = torch.randn(2, 8, 7, 7)
    inside = functional.relu6(block.expand_norm(block.expand(x)))
    inside = functional.relu6(
        block.depthwise_norm(functional.conv2d(inside, block.depthwise.weight, padding=1, groups=48))
    )
    assert torch.allclose(block(x), x + block.project_norm(block.project(inside)), atol=1e-6)
    assert not InvertedResidual(8, 8, 3, 2, 6).adds
    assert InvertedResidual(8, 16, 5, 2, 1).expand is None


def test_pictures_of_any_side_become_logits():
    model = EfficientNetLite("lite0", 5).eval()
    assert model(torch.rand(2, 3, 33, 33)).shape == (2, 5)
    assert model.features(torch.rand(1, 3, 32, 32)).shape == (1, 1280)


def test_an_unknown_size_is_told():
    with pytest.raises(Problem, match="lite2"):
        EfficientNetLite("lite3")
