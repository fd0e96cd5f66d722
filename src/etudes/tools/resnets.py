"""Residual networks as they were trained on ImageNet, with torchvision's weights from the hub: `imagenet_resnet`."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from etudes.core.errors import Problem, unknown
from etudes.data.sources.reach import hub_answers, offline
from etudes.nn.basic import DEPTHS, basic_resnet
from etudes.nn.bottleneck import STAGES, resnet50

PINNED = {  # name -> (repository, revision): torchvision's first weights in safetensors, BSD-3-Clause
    "resnet18": ("timm/resnet18.tv_in1k", "590dfdd48494d2316a8385e1ca7fbec3b9359b35"),
    "resnet34": ("timm/resnet34.tv_in1k", "c983eba7f5e69bc3548a626d1b0b0b914e5de3a6"),
    "resnet50": ("timm/resnet50.tv_in1k", "99108565f2fd2a9d8a1b640156f564d7f4ad7188"),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures in [0, 1], as torchvision has them


def plain_resnet(name: str) -> nn.Sequential:
    """The network of that name with first weights: pictures of mean 0 [n, 3, h, w] to logits [n, 1000]."""
    if name not in PINNED:
        raise unknown("residual network", name, PINNED)
    return basic_resnet(name) if name in DEPTHS else resnet50(3, 1000)


def imagenet_resnet(name: str) -> nn.Sequential:
    """The network of that name with its weights of ImageNet's 1,000 classes, in evaluation mode.

    Pictures [n, 3, h, w] standardised by MEAN and STD, by best of 224 pixels, to logits [n, 1000]. Raises Problem on
    an unknown name, and where the hub's file cannot be had or is not this network's.
    """
    model = plain_resnet(name)
    repository, revision = PINNED[name]
    try:
        from huggingface_hub import hf_hub_download

        local = offline() or not hub_answers()
        path = hf_hub_download(repository, "model.safetensors", revision=revision, local_files_only=local)
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(
            f"{repository} cannot be had ({words[0].rstrip('.:')}); connect to the hub, fill its cache beforehand, or "
            "take lite0, whose weights a package carries"
        ) from None
    return read_weights(Path(path), name, model)


def read_weights(path: Path, name: str, model: nn.Sequential) -> nn.Sequential:
    """The network with the weights of a file that has torchvision's names, in evaluation mode. Raises Problem where
    the file does not fit."""
    try:
        state = {own_name(name, theirs): tensor for theirs, tensor in load_file(path).items()}
        counts = {key: t for key, t in model.state_dict().items() if key.endswith("num_batches_tracked")}
        model.load_state_dict(counts | state)  # which some files lack
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        words = str(error).strip().splitlines()[0]
        raise Problem(f"{path} does not hold the weights of {name} ({words}); fetch it again") from None
    return model.eval()


def own_name(name: str, theirs: str) -> str:
    """layer2.0.bn1.weight of ResNet-34: 7.norm1.weight, as three blocks of the first stage stand before it."""
    first, *rest = theirs.split(".")
    depths = DEPTHS.get(name) or tuple(blocks for _, blocks in STAGES)
    if first.startswith("layer"):
        stage, block = int(first[5:]) - 1, int(rest[0])
        layer = rest[1].replace("bn", "norm").replace("downsample", "shortcut")
        return ".".join([str(4 + sum(depths[:stage]) + block), layer, *rest[2:]])
    return ".".join([{"conv1": "0", "bn1": "1", "fc": str(6 + sum(depths))}[first], *rest])
