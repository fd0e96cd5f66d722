"""Weights of residual networks: files with torchvision's names, written here."""

import pytest
import torch
from safetensors.torch import save_file

from etudes.core.errors import Problem
from etudes.tools import resnets

BLOCKS = {"resnet18": ("basic", (2, 2, 2, 2)), "resnet34": ("basic", (3, 4, 6, 3)), "resnet50": ("wide", (3, 4, 6, 3))}


def torchvision_names(name):
    """The names of torchvision's state, in its order, without the counts of batches."""

    def norm(prefix):
        return [f"{prefix}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]

    kind, depths = BLOCKS[name]
    names = ["conv1.weight", *norm("bn1")]
    for stage, blocks in enumerate(depths, 1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            for i in range(1, 3 if kind == "basic" else 4):
                names += [f"{prefix}.conv{i}.weight", *norm(f"{prefix}.bn{i}")]
            if block == 0 and (stage > 1 or kind == "wide"):
                names += [f"{prefix}.downsample.0.weight", *norm(f"{prefix}.downsample.1")]
    return [*names, "fc.weight", "fc.bias"]


@pytest.mark.parametrize("name", [*BLOCKS])
def test_torchvisions_names_are_ours_one_to_one(name):
    with torch.device("meta"):
        own = [key for key in resnets.plain_resnet(name).state_dict() if not key.endswith("num_batches_tracked")]
    assert [resnets.own_name(name, theirs) for theirs in torchvision_names(name)] == own


def test_a_file_is_read_and_another_networks_is_told(tmp_path):
    torch.manual_seed(0)
    model = resnets.plain_resnet("resnet18").eval()
    state = model.state_dict()
    path = tmp_path / "model.safetensors"
    save_file({theirs: state[resnets.own_name("resnet18", theirs)] for theirs in torchvision_names("resnet18")}, path)
    found = resnets.read_weights(path, "resnet18", resnets.plain_resnet("resnet18"))
    x = torch.randn(1, 3, 32, 32)
    assert not found.training
    assert torch.equal(found(x), model(x))
    with pytest.raises(Problem, match="does not hold the weights of resnet34"):
        resnets.read_weights(path, "resnet34", resnets.plain_resnet("resnet34"))


def test_a_name_that_is_none_is_told_with_those_there_are(monkeypatch):
    with pytest.raises(Problem, match="did you mean"):
        resnets.imagenet_resnet("resnet35")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    with pytest.raises(Problem, match="take lite0"):
        resnets.imagenet_resnet("resnet34")
