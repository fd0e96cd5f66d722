"""The state of a run's parts in one safetensors file: tensors as tensors, all else as JSON in its header.

A file always has whole tensors, so that as many processes may go on from it as like, with shards or without.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from etudes.core.errors import Problem
from etudes.train.distribute import as_shard, is_shard, rank, shards

Parts = Mapping[str, Any]  # name -> anything with state_dict and load_state_dict, or a torch.Generator
GENERATORS = "generators of Python and NumPy"  # as no part is named


def save(path: Path, parts: Parts) -> None:
    """Write the state of all parts to `path`. Raises Problem on a state that is neither tensors nor plain values.

    Where there are shards, the other processes must call `collect` meanwhile.
    """
    tensors, plain = collect(parts)
    try:
        save_file(tensors, path, metadata={"state": json.dumps(plain)})
    except KeyError as kind:  # safetensors' word for a type of numbers that it does not know
        raise Problem(f"cannot save tensors of type {kind}; keep them in another") from None


def check_names(parts: Parts) -> None:
    """Raises Problem where a part has the name of a place within another: what is kept of the two would meet."""
    for name in parts:
        for other in parts:
            if name.startswith(f"{other}."):
                raise Problem(f"the parts '{other}' and '{name}' meet when they are saved; name one of them otherwise")


def collect(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by their paths, and all else as JSON. Of shards the first process alone is given the wholes, in the CPU's
    memory."""
    tensors: dict[str, Tensor] = {}
    plain = {name: _flatten(_state(part), name, tensors) for name, part in parts.items()}
    return tensors, plain | {GENERATORS: _flatten(_generators(), GENERATORS, tensors)}


def _generators() -> dict[str, Any]:
    """The state of Python's and NumPy's own generators, from which a step may draw."""
    kind, keys, *rest = numpy.random.get_state()
    return {"python": random.getstate(), "numpy": (kind, keys.tolist(), *rest)}


def _restore_generators(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    numpy.random.set_state((kind, numpy.array(keys, "uint32"), *rest))


def load(path: Path, parts: Parts, device: torch.device) -> None:
    """Give all parts the state saved at `path`, bit for bit."""
    with safe_open(path, framework="pt", device=str(device)) as file:
        plain = json.loads(file.metadata()["state"])
        if GENERATORS in plain:  # files of earlier versions have none
            _restore_generators(_unflatten(plain.pop(GENERATORS), file, {}))
        if plain.keys() != parts.keys():
            raise Problem(
                f"{path} holds {', '.join(plain)} and not {', '.join(parts)}; delete its folder to start again"
            )
        for name, part in parts.items():
            state = _unflatten(plain[name], file, _layout(part))
            if isinstance(part, torch.Generator):
                part.set_state(state.cpu())
            else:
                part.load_state_dict(state)


def _state(part: Any) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _layout(part: Any) -> Any:
    """The shards of a part at the places that their wholes have in its state; {} where there are none."""
    if not shards():
        return {}
    if isinstance(part, Optimizer):  # what it keeps of a parameter is laid out as the parameter is
        return {"state": dict(enumerate(p for group in part.param_groups for p in group["params"]))}
    return _state(part)


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, with its tensors moved into `tensors` under their paths."""
    if is_shard(value):
        gathered = value.full_tensor()
        if rank() == 0:
            tensors[path] = gathered.cpu()
        return {"tensor": path}
    if isinstance(value, Tensor) and value.layout == torch.strided:
        if path in tensors:
            raise Problem(f"cannot save two tensors as {path}; give the parts, or what is in them, other names")
        kept = value.detach().clone()  # with the strides of a fresh one
        tensors[path] = kept.contiguous()
        return {"tensor": path} if kept.is_contiguous() else {"tensor": path, "stride": kept.stride()}
    if isinstance(value, Mapping) and all(key is None or isinstance(key, bool | int | float | str) for key in value):
        return {"dict": [[key, _flatten(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_flatten(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise Problem(
        f"cannot save {path} of type {type(value).__name__}; states are dense tensors, numbers, texts, and lists, "
        "tuples or dicts of these"
    )


def _unflatten(value: Any, file: Any, layout: Any) -> Any:
    """`value` with its tensors from the file, cut where `layout` has shards; a shard stands for all that is below."""

    def below(key: Any) -> Any:
        return layout.get(key) if isinstance(layout, Mapping) else layout

    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        # Copied: a fresh tensor begins at another place in memory than one in a file, and ends in other digits.
        whole = file.get_tensor(content).clone()
        if "stride" in value:
            whole = torch.empty_strided(whole.shape, value["stride"], dtype=whole.dtype, device=whole.device).copy_(
                whole
            )
        return as_shard(whole, layout)
    if kind == "dict":
        return {key: _unflatten(item, file, below(key)) for key, item in content}
    items = [_unflatten(item, file, below(i)) for i, item in enumerate(content)]
    return tuple(items) if kind == "tuple" else items
