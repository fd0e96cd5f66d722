"""Wrong labels that others drew, so that results can be compared with theirs."""

import csv
from pathlib import Path

import torch

from etudes.core.errors import Problem
from etudes.data.images import Images
from etudes.data.sources import Source, cache_folder, find, mirror_folder, possible, read_hub, read_mirror, unreachable

FILE = "noisy_imagenette.csv"
SHARES = (0.0, 0.01, 0.05, 0.25, 0.5)


def noisy_imagenette(share: float, d: Images) -> torch.Tensor:
    """The labels int64 [n] of the training part of d = images("imagenette"), about `share` of them wrong.

    They are Noisy Imagenette's (https://github.com/fastai/imagenette), whose table names each picture's WordNet class,
    once for each of SHARES. It is looked for beside the pictures in the mirror, then in the cache, and joined with the
    pictures by file name. d must be whole, as images() gives it. Raises Problem for another share or set, without the
    table, and where its lines and the pictures do not agree.
    """
    source = find("imagenette")
    if share not in SHARES:
        raise Problem(f"Noisy Imagenette has shares of wrong labels of {', '.join(map(str, SHARES))}, but not {share}")
    if d.name != source.name:
        raise Problem(f"these wrong labels are imagenette's, but the pictures are {d.name}'s; take imagenette")
    path = _table(source)
    lines = _lines(path, f"noisy_labels_{round(100 * share)}")
    found = [lines.get(name) for name in _names(source)]
    if None in found:
        count = f"{found.count(None):,} of {len(found):,}"
        raise Problem(f"{count} pictures have no line in {path}; get the whole file again")
    classes = {wnid: i for i, wnid in enumerate(sorted({clean for clean, _ in lines.values()}))}
    clean, noisy = ([classes.get(line[i], -1) for line in found if line] for i in (0, 1))
    if clean != d.y.tolist() or -1 in noisy:
        raise Problem(f"the classes in {path} are not those of the {len(d.y):,} training pictures; give all, in order")
    return torch.tensor(noisy)


def _table(source: Source) -> Path:
    beside = mirror_folder(source)
    places = [folder / FILE for folder in (beside, cache_folder()) if folder]
    for path in places:
        if path.is_file():
            return path
    where = " or ".join(map(str, places))
    raise Problem(f"there is no {FILE}; get it from https://github.com/fastai/imagenette and put it at {where}")


def _lines(path: Path, column: str) -> dict[str, tuple[str, str]]:
    """{file name: (its WordNet class, the one of the column)} of the training pictures."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["is_valid"] == "False"]
        return {row["path"].rpartition("/")[2]: (row["noisy_labels_0"], row[column]) for row in rows}
    except (KeyError, ValueError, AttributeError, csv.Error):  # a column, a line's end or the text itself is wanting
        raise Problem(f"{path} is not the table it should be, or not whole; get it again") from None


def _names(source: Source) -> list[str]:
    """The file names of the training pictures, "" where they have none."""
    import datasets

    for kind, read in (("mirror", read_mirror), ("hub", read_hub)):
        if possible(kind, source):
            rows = read(source)["train"].cast_column("image", datasets.Image(decode=False)).with_format("arrow")
            return [Path(row["path"] or "").name for row in rows[:].column("image").to_pylist()]
    raise unreachable(source, {"cache": "a decoded copy has no file names"})
