"""The weights of a finished network, as a file that stays with its run."""

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_model, save_file, save_model
from torch import nn

from etudes.core.errors import Problem
from etudes.core.files import appearing
from etudes.train.distribute import rank, shards, whole

Model = TypeVar("Model", bound=nn.Module)


def save(path: Path, model: nn.Module) -> None:
    """Write the network's weights to `path`, whole or not at all. Weights that layers share are written once.

    The first of several processes writes; where the network is in shards, all must call this together.
    """
    if shards():
        state = {name: whole(tensor).contiguous() for name, tensor in model.state_dict().items()}
    if rank() > 0:
        return
    with appearing(path) as draft:
        if shards():
            save_file(state, draft, metadata={"format": "pt"})
        else:
            save_model(model, str(draft))


def load(path: Path, model: Model) -> Model:
    """The network with the weights of `path`, in evaluation mode. Raises Problem where they do not fit it."""
    try:
        load_model(model, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        words = str(error).strip().splitlines()[0]
        raise Problem(f"{path} does not hold this network's weights ({words}); run the study again") from None
    return model.eval()
