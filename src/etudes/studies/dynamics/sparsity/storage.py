"""Bytes that a network takes on disk, by how its zeros and its numbers are written."""

from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from etudes.studies.dynamics.sparsity.quantise import quantise


def csr(weight: Tensor) -> dict[str, Tensor]:
    """A weight [out, in, ...] as the three arrays of compressed sparse rows: "values" [k] other than 0, their "columns"
    [k] and the "rows" [out + 1] at which each row begins. Columns are int16 where they fit, else int32."""
    matrix = weight.detach().flatten(1)
    kept = matrix != 0
    columns = kept.nonzero()[:, 1]
    narrow = torch.int16 if matrix.shape[1] <= 2**15 else torch.int32
    rows = torch.cat([torch.zeros(1, dtype=torch.int64, device=kept.device), kept.sum(1).cumsum(0)])
    return {"values": matrix[kept], "columns": columns.to(narrow), "rows": rows.to(torch.int32)}


def from_csr(parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """The weight of `shape` that `csr` wrote."""
    matrix = parts["values"].new_zeros(shape).flatten(1)
    counts = parts["rows"].diff().long()
    rows = torch.arange(shape[0], device=counts.device).repeat_interleave(counts)
    matrix[rows, parts["columns"].long()] = parts["values"]
    return matrix.view(shape)


def file_bytes(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, int]:
    """{format: bytes of a safetensors file, its header included} of a network's `state`, of which `weights` are pruned.

    "dense" writes zeros as numbers, "masked" also a mask of a byte a weight, as PyTorch's pruning keeps it until
    `remove`, "csr" only what is not 0; "int8" and "csr-int8" are the same with integers and a scale a channel. What is
    not among the weights, such as biases, is written as it is.
    """
    rest = {name: tensor for name, tensor in state.items() if name not in weights}
    integers = {name: quantise(weight, 8) for name, weight in weights.items()}
    scales = {f"{name}.scale": scale for name, (_, scale) in integers.items()}
    whole = {name: integer for name, (integer, _) in integers.items()}
    formats = {
        "dense": rest | dict(weights),
        "masked": rest | dict(weights) | {f"{name}.mask": weight != 0 for name, weight in weights.items()},
        "csr": rest | _all_csr(weights),
        "int8": rest | whole | scales,
        "csr-int8": rest | _all_csr(whole) | scales,
    }
    return {kind: len(save({n: t.detach().contiguous() for n, t in parts.items()})) for kind, parts in formats.items()}


def _all_csr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{part}": tensor for name, weight in weights.items() for part, tensor in csr(weight).items()}
