"""The datasets, each with the studies that read it."""

import sys
from typing import Any

from etudes.core import catalogue
from etudes.core.spec import Study
from etudes.data import commands
from etudes.data.sources import SOURCES
from etudes.data.sources.source import Source

SHELVES = {
    "pypi": "https://pypi.org/project/",
    "debian": "https://packages.debian.org/",
    "npm": "https://www.npmjs.com/package/",
}  # where the registries show a package


def table() -> list[dict[str, Any]]:
    """The rows of `etudes data`, each with `studies`, {study: the scales at which it reads the set}, and `address`,
    where its makers or a registry show it ("" for sets of mirrors alone)."""
    read: dict[str, dict[str, list[str]]] = {}
    for study in map(catalogue.find, catalogue.names()):
        for scale in study.scales:
            for name in _names(study, scale):
                read.setdefault(name, {}).setdefault(study.name, []).append(scale)
    return [
        {**row, "studies": read.get(row["name"], {}), "address": _address(source), "upstream": source.upstream}
        for row, source in zip(commands.table(), SOURCES.values(), strict=True)
    ]


def _names(study: Study, scale: str) -> set[str]:
    """The sets that a study's settings name at a scale, and those from which the tools learn that it uses."""
    values = [value for config in study.configs[scale].values() for value in config.values()]
    named = {part for value in values for part in (value if isinstance(value, tuple) else (value,))}
    parts = vars(sys.modules[study.program.__module__]).values()
    tools = {str(getattr(part, "__module__", "")) for part in parts}
    learnt = {getattr(sys.modules[name], "SET", "") for name in tools if name.startswith("etudes.tools.")}
    return {part for part in named | learnt if isinstance(part, str) and part in SOURCES}


def _address(source: Source) -> str:
    if source.revision:
        return f"https://huggingface.co/datasets/{source.hub}"
    return f"{SHELVES[source.carrier.registry]}{source.carrier.package}" if source.carrier else ""
