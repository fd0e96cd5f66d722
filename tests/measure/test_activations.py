import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.measure.activations import activations, channel_rows


class Twice(nn.Module):
    """Calls one layer twice, another never, and has one that gives a pair."""

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.pair = nn.Linear(3, 3), nn.Linear(3, 3), Pair()

    def forward(self, x):
        return self.pair(self.used(self.used(x)))[0]


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 2)
    )


def test_layers_give_what_the_first_layers_alone_give():
    model, x = network().train(), torch.rand(7, 1, 5, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = activations(model, x, ["0", "0.0", "1", ""], batch=3)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        assert torch.allclose(found["0.0"], model[0][0](x), atol=1e-6)
        assert torch.allclose(found["0"], model[0](x), atol=1e-6)  # not what the ReLU left of it in its place
        assert torch.allclose(found["1"], model[0](x).relu(), atol=1e-6)
        assert torch.allclose(found[""], model(x), atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_uint8_pictures_are_brought_to_0_to_1():
    x = torch.randint(0, 256, (4, 1, 5, 5), dtype=torch.uint8)
    one, other = (activations(network(), y, ["1"])["1"] for y in (x, x / 255))
    assert torch.allclose(one, other, atol=1e-6)


def test_rows_of_channels_are_a_loop_over_pictures_and_places():
    y = torch.rand(2, 3, 2, 4)
    expected = torch.stack([y[i, :, a, b] for i in range(2) for a in range(2) for b in range(4)])
    assert torch.equal(channel_rows(y), expected)
    assert channel_rows(y[:, :, 0, 0]).shape == (2, 3)


@pytest.mark.parametrize(
    ("layer", "says"), [("usd", "used"), ("idle", "reached 0 times"), ("used", "reached 2"), ("pair", "gives tuple")]
)
def test_a_layer_that_cannot_be_read_is_named_and_no_hook_stays(layer, says):
    model = Twice()
    with pytest.raises(Problem, match=says):
        activations(model, torch.rand(2, 3), [layer])
    assert not any(module._forward_hooks for module in model.modules())
