"""The fields of a study's Config: which types they may have, and whether a value is one of theirs."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from etudes.core.claims import Interval
from etudes.core.errors import Problem, unknown

PLAIN = (int, float, bool, str)
# What the command line and `Study.plan` call their own: a field of that name could not be set.
OPTIONS = frozenset((
    "name", "scale", "variants", "seeds", "threads", "tune", "dry", "root", "engine", "address", "gpus_per_run",
    "track", "precision", "help", "study", "offline", "cluster", "tracker", "code",
    "replicate", "until", "budget", "vary",
))  # fmt: skip


def check_fields(study: str, config: type) -> None:
    """Raises Problem where the Config is no dataclass, or has a field that cannot be a flag of the command line."""
    if not dataclasses.is_dataclass(config):
        raise Problem(f"study '{study}': its Config is no dataclass; write @dataclass(frozen=True) above it")
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        if field.name in OPTIONS:
            raise Problem(f"study '{study}': the field '{field.name}' has the name of an option; choose another name")
        if not _possible(hints[field.name]):
            raise Problem(
                f"study '{study}': the field '{field.name}' is of type {_name(hints[field.name])}; "
                "use int, float, bool, str, Literal, a tuple of these, or one of them | None"
            )
        if field.default is dataclasses.MISSING:
            raise Problem(f"study '{study}': the field '{field.name}' has no default; give it one")


def configure(study: str, config: type, changes: Mapping[str, Any]) -> Any:
    """A `config` with the changed fields, each checked against its type and range. Raises Problem."""
    hints = get_type_hints(config, include_extras=True)
    for name in changes:
        if name not in hints:
            raise unknown(f"config field of {study},", name, hints)
    values = {f.name: f.default for f in dataclasses.fields(config)} | dict(changes)
    return config(**{name: _checked(study, name, value, hints[name]) for name, value in values.items()})


def as_tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as a Config holds them, of those that JSON gave back: its lists are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def _possible(hint: Any) -> bool:
    kind, content = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _possible(content[0])
    if kind in (Union, types.UnionType):
        return len(content) == 2 and type(None) in content and all(_possible(c) for c in content if c is not type(None))
    if kind is Literal:
        return all(type(value) in PLAIN for value in content)
    if kind is tuple:
        return all(c is Ellipsis or (get_origin(c) is not tuple and _possible(c)) for c in content)
    return hint in PLAIN


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _checked(study: str, name: str, value: Any, hint: Any) -> Any:
    kind, content = get_origin(hint), get_args(hint)
    if kind is Annotated:
        value = _checked(study, name, value, content[0])
        for interval in content[1:]:
            if isinstance(interval, Interval) and value is not None and value not in interval:
                raise Problem(f"{study}: {name} is {value:g}; it must be {interval}")
        return value
    if kind in (Union, types.UnionType):
        return None if value is None else _checked(study, name, value, next(c for c in content if c is not type(None)))
    if kind is Literal:
        if value not in content:
            raise unknown(f"{name} of {study},", str(value), map(str, content))
        return value
    if kind is tuple:
        return _checked_tuple(study, name, value, content)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise Problem(f"{study}: {name} is {value!r}; it must be of type {hint.__name__}")
    if hint is float and not math.isfinite(value):
        raise Problem(f"{study}: {name} is {value}; it must be finite")
    return value


def _checked_tuple(study: str, name: str, value: Any, content: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise Problem(f"{study}: {name} is {value!r}; it must be a tuple")
    each = content[:1] * len(value) if content[1:] == (Ellipsis,) else content
    if len(value) != len(each):
        raise Problem(f"{study}: {name} has {len(value)} values; it must have {len(each)}")
    return tuple(_checked(study, name, item, hint) for item, hint in zip(value, each, strict=True))
