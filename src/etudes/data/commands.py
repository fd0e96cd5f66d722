"""What `etudes data` does: list the datasets, fetch one, write a mirror."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem
from etudes.data.sources import SOURCES, find, possible, read_hub, read_mirror, unreachable
from etudes.data.sources.mirror import mirror as write_mirror


def table() -> list[dict[str, Any]]:
    """A row a dataset: name, task, megabytes, licence, hub, splits, kind, says.

    `kind` is what would serve it: "originals", "mirror", "cache" or "embedded" are on this machine; "hub" or "carrier"
    are where it would have to be fetched from, which is not asked; "" is nowhere without a mirror.
    """
    rows = []
    for source in SOURCES.values():
        here = [kind for kind in ("originals", "mirror", "cache", "embedded") if possible(kind, source)]
        away = ["hub"] * bool(source.revision) + ["carrier"] * (source.carrier is not None)
        splits = ", ".join(f"{split} {count:,}" for split, count in source.splits.items())
        rows.append(
            {
                "name": source.name,
                "task": source.task,
                "megabytes": source.megabytes,
                "licence": source.licence,
                "hub": source.hub,
                "splits": splits,
                "kind": next(iter(here + away), ""),
                "says": source.says,
            }
        )
    return rows


def get(name: str) -> str:
    """One sentence on the dataset, which is in reach without a network from now on. Shows a progress bar meanwhile."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    source = find(name)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(SpinnerColumn(), *columns, transient=True) as progress:
        task = progress.add_task(f"fetching {source.name} ({source.megabytes:g} MB)", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, description=f"decoding {source.name}", completed=done, total=total)

        from etudes.data.audio import sounds
        from etudes.data.captioned import captioned_pictures
        from etudes.data.dialects import describe
        from etudes.data.domains import domains
        from etudes.data.extreme import documents
        from etudes.data.graphs import graph
        from etudes.data.images import TASKS, images
        from etudes.data.label_text import documents_with_texts
        from etudes.data.listed import picture_lists
        from etudes.data.masks import masks
        from etudes.data.names import names as read_names
        from etudes.data.packages import packages
        from etudes.data.questions import questions
        from etudes.data.sentences import sentences
        from etudes.data.tables import table
        from etudes.data.text import texts

        readers = {
            "text": texts, "labels": documents, "questions": questions, "segmentation": masks, "sound": sounds,
            "domains": domains, "graph": graph, "packages": packages, "sentences": sentences, "names": read_names,
            "dialects": describe, "table": table, "lists": picture_lists, "captions": captioned_pictures,
            "label-texts": lambda name: documents_with_texts(name)[0],
        }  # fmt: skip
        if source.task not in (*TASKS, *readers):
            return f"{source.name}: {_other(name)}"
        found = images(name, report) if source.task in TASKS else readers[source.task](name)
        return f"{source.name}: {found.source['says']} (from {found.source['kind']})"


def _other(name: str) -> str:
    # Sets of other tasks are kept by whoever serves them: the mirror's folder, or the hub library's own cache.
    source = find(name)
    for kind, read in (("mirror", read_mirror), ("hub", read_hub)):
        if possible(kind, source):
            rows = " + ".join(f"{len(split):,}" for split in read(source).values())
            return f"{source.hub}, {rows} rows (from {kind})"
    raise unreachable(source, {})


def mirror(folder: Path, names: list[str]) -> list[Path]:
    """The dataset folders written under `folder`, in the layout that ETUDES_MIRROR names."""
    if not names:
        raise Problem(f"name the datasets to mirror; there are {', '.join(SOURCES)}")
    return write_mirror(folder, names)


def main(action: str, names: Sequence[str]) -> int:
    """0, after listing the datasets (action ""), fetching `names` ("get"), or writing a mirror of them ("mirror")."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if action == "get":
        if not names:
            raise Problem(f"name the datasets to get; there are {', '.join(SOURCES)}")
        for name in [find(name).name for name in names]:  # all of them before the first is fetched
            console.print(get(name), highlight=False, soft_wrap=True)
    elif action == "mirror":
        if not names:
            raise Problem("name the folder of the mirror, then the datasets")
        for folder in mirror(Path(names[0]), list(names[1:])):
            console.print(str(folder), highlight=False, soft_wrap=True)
    else:
        heads = {
            "name": "name",
            "task": "task",
            "megabytes": "MB",
            "licence": "licence",
            "splits": "rows",
            "kind": "from",
        }
        shown = Table(box=None)
        for key, head in heads.items():
            shown.add_column(head, no_wrap=key == "name")  # it is what the other commands are asked for
        for row in table():
            cells = row | {"megabytes": f"{row['megabytes']:g}", "kind": row["kind"] or "a mirror"}
            shown.add_row(*(cells[key] for key in heads))
        console.print(shown)
    return 0
