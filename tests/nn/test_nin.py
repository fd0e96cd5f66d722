import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.measure.size import count_parameters
from etudes.nn.nin import mean_of_places, nin_blocks


def weights(inside, outputs, kernel):
    """Of one block, by hand: three convolutions without bias, and a scale and a shift a channel."""
    a, b, c = outputs
    return inside * kernel**2 * a + a * b + b * c + 2 * (a + b + c)


def test_the_four_blocks_of_the_paper_have_its_weights():
    model = nn.Sequential(*nin_blocks(3), mean_of_places(192, 4))
    by_hand = weights(3, (192, 160, 96), 5) + weights(96, (192,) * 3, 5) + 2 * weights(192, (192,) * 3, 3)
    assert count_parameters(model) == by_hand + 192 * 4 + 4 == 1_411_140


def test_maps_are_halved_twice_and_logits_do_not_depend_on_the_side():
    torch.manual_seed(0)
    blocks, head = nin_blocks(1, 12), mean_of_places(12, 5)
    for side, halves in ((32, (16, 8, 8, 8)), (14, (7, 4, 4, 4))):
        x, sides = torch.rand(2, 1, side, side), []
        for block in blocks:
            x = block(x)
            sides.append(x.shape[-1])
        assert tuple(sides) == halves
        assert x.shape[1] == 12
        assert head(x).shape == (2, 5)
    assert [block[0].kernel_size[0] for block in blocks] == [5, 5, 3, 3]
    assert all(isinstance(block[-1], nn.ReLU) for block in blocks[2:])


def test_first_weights_keep_the_spread():
    torch.manual_seed(0)
    convolution = nin_blocks(3, 192, 2)[1][0]
    assert convolution.weight.std().item() == pytest.approx((2 / (25 * 192)) ** 0.5, rel=0.02)
    assert convolution.bias is None


def test_no_blocks_are_refused():
    with pytest.raises(Problem, match="a block and 2 channels"):
        nin_blocks(3, 192, 0)
