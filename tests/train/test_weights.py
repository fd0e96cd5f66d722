import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.train.weights import load, save


def tied(seed: int = 0, width: int = 4) -> nn.ModuleList:
    torch.manual_seed(seed)
    parts = nn.ModuleList([nn.Embedding(9, width), nn.Linear(width, 9, bias=False), nn.BatchNorm1d(width)])
    parts[1].weight = parts[0].weight
    return parts


def test_a_network_is_given_back_with_shared_weights_and_buffers(tmp_path):
    model, other = tied(), tied(1)
    model[2](torch.randn(5, 4))
    save(tmp_path / "m.safetensors", model)
    assert load(tmp_path / "m.safetensors", other) is other
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert other[1].weight is other[0].weight
    assert not other.training


@pytest.mark.parametrize("harm", ["missing", "cut", "other"])
def test_weights_that_do_not_fit_are_told_in_a_sentence(tmp_path, harm):
    path = tmp_path / "m.safetensors"
    if harm != "missing":
        save(path, tied(width=8 if harm == "other" else 4))
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(Problem, match="does not hold this network's weights"):
        load(path, tied())
