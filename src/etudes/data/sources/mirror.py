"""A mirror written: the folder of hub-style parquet that ETUDES_MIRROR names, for classrooms and clusters."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from etudes.core.errors import Problem
from etudes.core.files import appearing, write_text
from etudes.data.images import images
from etudes.data.sources.reach import (
    find,
    mirror_folder,
    originals_folder,
    possible,
    quiet,
    read_hub,
    read_mirror,
    unreachable,
)
from etudes.data.sources.source import Source
from etudes.data.text import texts

if TYPE_CHECKING:
    from datasets import DatasetDict


def mirror(folder: Path, names: Iterable[str]) -> list[Path]:
    """The folders written: hub-style parquet of each dataset, which ETUDES_MIRROR=folder then serves.

    Encoded pictures are copied as they are; where only decoded ones can be had, they are written as PNG. Texts are
    written a row a work, unless another mirror has them. Graphs stand there as their authors publish them, and are
    copied from such a folder; so are dialects, a folder a language. Raises Problem where there is nothing to copy.
    """
    written = []
    for source in [find(name) for name in names]:  # all of them before the first is fetched
        if source.task in ("graph", "dialects"):
            written.append(_copy(source, Path(folder)))
            continue
        name = source.name
        target = Path(folder) / source.folder
        here = mirror_folder(source)
        if here is None or here.resolve() != target.resolve():
            notes = source.says
            if here:
                data, notes = read_mirror(source), _notes(here)
            elif source.task == "text":
                found = texts(name)
                data, notes = found.tables(), found.source["says"]
            elif possible("hub", source):
                data, notes = read_hub(source), f"{source.hub} at revision {source.revision}. {source.says}"
            else:
                pictures = images(name)
                data, notes = pictures.tables(), pictures.source["says"]
            _write(data, target, source, notes)
        written.append(target)
    return written


def _copy(source: Source, folder: Path) -> Path:
    if source.embedded:
        raise Problem(f"{source.name} is drawn where it is used, and needs no mirror; leave it out")
    here = originals_folder(source) if source.originals else mirror_folder(source)
    target = folder / (source.originals or source.folder)
    if here is None:
        raise unreachable(source, {})
    if here.resolve() != target.resolve():
        shutil.copytree(here, target, dirs_exist_ok=True)
    return target


def _notes(folder: Path) -> str:
    card = folder / "README.md"
    return card.read_text(encoding="utf-8").split("\n---\n", 1)[-1].strip() if card.exists() else ""


def _write(data: "DatasetDict", target: Path, source: Source, notes: str) -> None:
    import yaml

    config = source.config or "default"
    for split, rows in data.items():
        with appearing(target / f"{split}.parquet") as draft, quiet():
            rows.to_parquet(draft)
    features = next(iter(data.values())).features
    card = {
        "license": source.licence,
        "configs": [
            {"config_name": config, "data_files": [{"split": s, "path": f"{s}.parquet"} for s in data], "default": True}
        ],
        "dataset_info": [
            {
                "config_name": config,
                "features": features._to_yaml_list(),
                "splits": [
                    {"name": s, "num_bytes": (target / f"{s}.parquet").stat().st_size, "num_examples": len(rows)}
                    for s, rows in data.items()
                ],
            }
        ],
    }
    write_text(target / "README.md", f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n\n{notes}\n")
