import pytest
import torch

from etudes.core import Problem
from etudes.measure.size import count_parameters
from etudes.nn.wide_resnet import wide_resnet


def by_formula(channels: int, classes: int, depth: int, widen: int) -> int:
    """Parameters by the paper's table 1, counted layer by layer."""
    blocks, before, found = (depth - 4) // 6, 16, channels * 16 * 9
    for out in (16 * widen, 32 * widen, 64 * widen):
        for _ in range(blocks):
            found += 2 * before + 9 * before * out + 2 * out + 9 * out * out
            found += before * out if before != out else 0  # the 1x1 convolution of the shortcut
            before = out
    return found + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "widen"), [(10, 1), (16, 4), (28, 2)])
def test_parameters_by_formula(depth, widen):
    assert count_parameters(wide_resnet(3, 10, depth, widen)) == by_formula(3, 10, depth, widen)


def test_the_usual_network_of_few_labels_has_1_47_million_parameters():
    assert count_parameters(wide_resnet(3, 10, 28, 2)) == 1_467_610


def test_three_stages_of_which_two_halve_the_picture():
    model = wide_resnet(1, 7, 10, 2, stem=4)
    sizes = []
    for layer in model:
        layer.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
    assert model(torch.rand(2, 1, 12, 12)).shape == (2, 7)
    assert sizes[:4] == [(4, 12, 12), (8, 12, 12), (16, 6, 6), (32, 3, 3)]


@pytest.mark.parametrize("depth", [4, 12, 27])
def test_a_depth_that_is_not_whole_is_refused(depth):
    with pytest.raises(Problem, match="6 n \\+ 4 layers"):
        wide_resnet(3, 10, depth, 2)
