"""ResNet-18 and -34 against their published sizes, and a block against its formula."""

import torch
from torch.nn import functional

from etudes.measure.size import count_parameters
from etudes.nn.basic import BasicBlock, basic_resnet


def test_they_have_the_published_parameters_and_halve_pictures_five_times():
    for size, parameters, blocks in (("resnet18", 11_689_512, 8), ("resnet34", 21_797_672, 16)):
        model = basic_resnet(size)
        assert count_parameters(model) == parameters
        assert sum(isinstance(layer, BasicBlock) for layer in model) == blocks
    with torch.no_grad():
        assert model[:-3].eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 512, 2, 2)


def test_a_block_is_its_formula_with_and_without_a_projection():
    torch.manual_seed(0)
    for channels, stride in ((4, 1), (3, 1), (4, 2)):
        block = BasicBlock(channels, 4, stride).eval()
        for norm in (layer for layer in block.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
            torch.nn.init.normal_(norm.running_mean)
        x = torch.randn(3, channels, 6, 6)

        def normal(y, norm):
            return (y - norm.running_mean.view(1, -1, 1, 1)) / (norm.running_var.view(1, -1, 1, 1) + norm.eps) ** 0.5

        y = functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)
        y = functional.conv2d(functional.relu(normal(y, block.norm1)), block.conv2.weight, padding=1)
        plain = stride == 1 and channels == 4
        way = x if plain else normal(functional.conv2d(x, block.shortcut[0].weight, stride=stride), block.shortcut[1])
        assert torch.allclose(block(x), functional.relu(way + normal(y, block.norm2)), atol=1e-5)
