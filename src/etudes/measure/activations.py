"""What the layers of a network give for inputs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem, unknown
from etudes.data.images import unit
from etudes.measure.error import evaluation_mode


def activations(model: nn.Module, x: Tensor, layers: Sequence[str], batch: int = 500) -> dict[str, Tensor]:
    """{layer: what it gives, [n, ...]} for inputs x: [n, ...], uint8 pictures or floats, in evaluation mode.

    Layers are named as in `model.named_modules()`, such as "3.0"; "" is the whole network. Raises Problem on other
    names, where a layer is not reached or reached more than once for an input, and where it gives no tensor.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    with evaluation_mode(model), _hooks(model, layers, lambda name, y: parts[name].append(y)):
        pieces = x.split(batch)
        for piece in pieces:
            model(unit(piece))
    for name, found in parts.items():
        if len(found) != len(pieces):
            raise Problem(
                f"layer '{name}' was reached {len(found)} times in {len(pieces)} batches; it must be once each"
            )
    return {name: torch.cat(found) for name, found in parts.items()}


def channel_rows(y: Tensor) -> Tensor:
    """Activations [n, c, h, w] as rows [n h w, c], a row for each place of each picture; [n, c] as they are."""
    return y if y.ndim == 2 else y.flatten(2).transpose(1, 2).flatten(0, 1)


@contextlib.contextmanager
def _hooks(model: nn.Module, layers: Sequence[str], keep: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Calls keep(layer, output) whenever a layer gives something; all hooks are gone at the end."""
    modules = dict(model.named_modules())
    with contextlib.ExitStack() as stack:
        for name in layers:
            if name not in modules:
                raise unknown("layer", name, modules)

            def hook(module: nn.Module, inputs: object, y: object, name: str = name) -> None:
                if not isinstance(y, Tensor):
                    raise Problem(f"layer '{name}' gives {type(y).__name__}, no tensor; name a layer inside it")
                keep(name, y.detach().clone())  # a later layer may change it in place

            stack.callback(modules[name].register_forward_hook(hook).remove)
        yield
