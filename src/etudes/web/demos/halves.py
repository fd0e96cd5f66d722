"""Networks in half precision, and files without white space: small enough to come along."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from etudes.core.errors import Problem
from etudes.core.files import write_text

LARGEST = 300_000  # bytes of one network


def shorten(path: Path) -> None:
    """Write a JSON file anew without the white space that is more than half of it."""
    values = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, json.dumps(values, separators=(",", ":"), ensure_ascii=False))


def halve(path: Path, copy: Path) -> None:
    """Copy a network's weights, matrices and filters in half precision; vectors, such as variances, stay as they are.

    Raises Problem where a value is too large for that, or the copy.
    """
    with safe_open(path, "pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no dict
    write_halved(tensors, about, copy)


def write_halved(tensors: Mapping[str, Tensor], about: dict[str, str] | None, copy: Path) -> None:
    small = {name: t.half() if t.is_floating_point() and t.ndim > 1 else t for name, t in tensors.items()}
    small = {name: tensor.contiguous() for name, tensor in small.items()}
    if not all(torch.isfinite(tensor).all() for tensor in small.values()):
        raise Problem(f"{copy.name} holds values that are no numbers in half precision; train that network otherwise")
    save_file(small, copy, metadata=about)
    copy.chmod(0o644)
    if (size := copy.stat().st_size) > LARGEST:
        raise Problem(
            f"{copy.name} takes {size:,} bytes in half precision, more than {LARGEST:,}; ship a smaller network"
        )
