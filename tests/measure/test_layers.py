import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.measure.layers import pooled_features, probe_errors, wrong
from etudes.measure.probe import linear_classes


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_features_are_means_over_places_in_evaluation_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.Dropout(0.9))
    x = torch.rand(7, 1, 8, 8)
    first, last = pooled_features(model, x, ["1", "3"], 2)
    maps = model.eval()[:2](x)
    assert first.shape == (7, 12)
    assert torch.allclose(first.view(7, 3, 2, 2)[..., 0, 1], maps[:, :, :3, 3:].mean((2, 3)), atol=1e-6)
    assert torch.allclose(last.view(7, 2, 2, 2)[..., 1, 1], model[:3](x)[:, :, 2:, 2:].mean((2, 3)), atol=1e-6)
    assert torch.allclose(pooled_features(model, x, ["1"])[0], maps.mean((2, 3)), atol=1e-6)
    with pytest.raises(Problem, match="layer"):
        pooled_features(model, x, ["7"])


def test_errors_are_means_over_the_sets_of_labelled_rows():
    y = torch.arange(60) % 3
    x = numbers(60, 4) + y[:, None]
    asked = [(numbers(30, 4, seed=1) + y[:30, None], y[:30]), (numbers(12, 4, seed=2), y[:12])]
    sets = [torch.arange(30), torch.arange(20, 60)]
    found = probe_errors(x, y, sets, asked, 0.1)
    for i, (features, classes) in enumerate(asked):
        alone = [(linear_classes(x[rows], y[rows], features, 0.1) != classes).double().mean() for rows in sets]
        assert found[i] == pytest.approx(sum(alone).item() / 2)
    assert found[0] < 0.6
    assert wrong(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 1])) == 0.5
