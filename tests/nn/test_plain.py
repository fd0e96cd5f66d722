import pytest
import torch

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.nn.plain import plain_cnn


def test_the_papers_network_for_mnist_has_its_parameters():
    convolutions = (9 * 32 + 32) + (9 * 32 * 64 + 64)
    dense = (64 * 7 * 7 * 128 + 128) + (128 * 10 + 10)
    assert count_parameters(plain_cnn(1, 28, 10, (32, 64), 1, 128)) == convolutions + dense + 2 * (32 + 64 + 128)


def test_it_is_its_layers_one_after_the_other():
    model = plain_cnn(2, 9, 3, (4,), 2, 5).eval()
    x = torch.randn(6, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    convolutions = [m for m in model if isinstance(m, torch.nn.Conv2d)]
    dense = [m for m in model if isinstance(m, torch.nn.Linear)]
    still = (1 + 1e-5) ** -0.5  # what batch normalisation multiplies by before it has seen anything
    a = x
    for layer in convolutions:
        a = torch.relu(torch.nn.functional.conv2d(a, layer.weight, padding=1) * still)
    a = a[:, :, :8, :8].reshape(6, 4, 4, 2, 4, 2).amax((3, 5)).flatten(1)
    a = torch.relu(a @ dense[0].weight.T * still) @ dense[1].weight.T
    assert torch.allclose(model(x), a, atol=1e-5)


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(Problem, match="fewer blocks"):
        plain_cnn(1, 8, 10, (2, 2, 2, 2), 1, 4)
