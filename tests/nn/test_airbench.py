import pytest
import torch
from torch import nn

from etudes.measure.size import count_parameters
from etudes.nn.airbench import Airbench, Block, whitening
from etudes.nn.norm import Standardise


def network(width=8, residual=False):
    return Airbench(Standardise([0.5] * 3, [0.25] * 3), 10, width, residual)


def test_the_paper_network_has_its_number_of_parameters():
    model = network(width=64)
    model.first.weight.requires_grad_(False)
    filters = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 * 3)
    assert count_parameters(model) == filters + 24 + 2 * (64 + 256 + 256) + 2560


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("side", [12, 24, 32])
def test_it_maps_pictures_of_any_side_to_logits(residual, side):
    assert network(residual=residual)(torch.rand(4, 3, side, side)).shape == (4, 10)


def test_whitened_patches_are_uncorrelated_with_variance_1():
    torch.manual_seed(0)
    x = nn.functional.avg_pool2d(torch.randn(200, 3, 20, 20), 3, 1)  # neighbours alike, as in pictures
    filters = whitening(x, tiny=0.0)
    assert filters.shape == (24, 3, 2, 2)
    out = nn.functional.conv2d(x, filters[:12]).permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.allclose(torch.cov(out.T), torch.eye(12), atol=1e-3)
    assert torch.equal(filters[12:], -filters[:12])


def test_filters_pass_their_input_on_at_first():
    block = Block(4, 6, residual=True)
    x = torch.randn(2, 4, 8, 8)
    assert torch.allclose(block.convolutions[0](x)[:, :4], x, atol=1e-6)
    y = torch.randn(2, 6, 8, 8)
    assert torch.allclose(block.convolutions[1](y), y, atol=1e-6)


def test_a_residual_block_adds_what_its_first_convolution_gave():
    block = Block(4, 4, residual=True).eval()
    nn.init.zeros_(block.convolutions[1].weight)
    nn.init.zeros_(block.convolutions[2].weight)
    x = torch.randn(2, 4, 8, 8)
    first = nn.functional.gelu(nn.functional.max_pool2d(x, 2))
    assert torch.allclose(block(x), nn.functional.gelu(first), atol=1e-5)
