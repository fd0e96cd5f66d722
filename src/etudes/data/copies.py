"""Decoded copies in the cache: tensors and what is known of them, checked by a fingerprint when they are read."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from etudes.core.files import appearing

About = dict[str, str]
Kind = TypeVar("Kind")


def save(path: Path, name: str, tensors: Mapping[str, Tensor], about: About) -> None:
    """Keep the tensors of a set of that name with what is known of them; only a warning where that cannot be done."""
    from safetensors.torch import save_file

    try:
        with appearing(path) as draft:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, draft, metadata=about)
            draft.chmod(0o644)  # the cache may be shared
    except OSError as error:
        warnings.warn(f"the decoded {name} could not be kept in {path.parent} ({error})", stacklevel=3)


def load(path: Path, names: Sequence[str], make: Callable[[list[Tensor], About], Kind | None]) -> Kind | None:
    """What `make` makes of the tensors of these names and of what is known of them, which has their "fingerprint".

    None where the copy is absent or damaged, or where `make` finds it so: then the set is decoded again.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors, about = [file.get_tensor(name) for name in names], file.metadata()
        return make(tensors, about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
