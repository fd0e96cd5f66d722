"""ResNet-50 against its published size, and a block against its formula."""

import torch
from torch.nn import functional

from etudes.measure.size import count_parameters
from etudes.nn.bottleneck import Bottleneck, resnet50


def test_resnet50_has_the_papers_parameters_and_halves_pictures_five_times():
    model = resnet50(3, 1000)
    assert count_parameters(model) == 25_557_032
    body = model[:-3].eval()
    with torch.no_grad():
        assert body(torch.zeros(1, 3, 64, 64)).shape == (1, 2048, 2, 2)
    assert sum(isinstance(layer, Bottleneck) for layer in model) == 16


def test_a_block_is_its_formula_with_and_without_a_projection():
    torch.manual_seed(0)
    for channels, stride in ((8, 1), (6, 1), (8, 2)):
        block = Bottleneck(channels, 2, stride).eval()
        x = torch.randn(3, channels, 6, 6)

        def normal(y, norm):
            return (y - norm.running_mean.view(1, -1, 1, 1)) / (norm.running_var.view(1, -1, 1, 1) + norm.eps) ** 0.5

        y = functional.relu(normal(functional.conv2d(x, block.conv1.weight), block.norm1))
        y = functional.relu(normal(functional.conv2d(y, block.conv2.weight, stride=stride, padding=1), block.norm2))
        y = normal(functional.conv2d(y, block.conv3.weight), block.norm3)
        plain = stride == 1 and channels == 8
        way = x if plain else normal(functional.conv2d(x, block.shortcut[0].weight, stride=stride), block.shortcut[1])
        assert torch.allclose(block(x), functional.relu(way + y), atol=1e-5)
