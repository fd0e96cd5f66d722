from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.images import Images, images
from etudes.data.noisy import SHARES, noisy_imagenette

WNIDS = ["n01440764", "n02102040", "n02979186", "n03000684"]
HEAD = "path,noisy_labels_0,noisy_labels_1,noisy_labels_5,noisy_labels_25,noisy_labels_50,is_valid"
CLASSES = [2, 0, 3, 1, 2, 0]
NAMES = ["n02979186_9036", "ILSVRC2012_val_00046953", "n03000684_1", "n02102040_7", "n02979186_5", "n01440764_11"]
NOISY = {0.0: CLASSES, 0.01: CLASSES, 0.05: [2, 0, 3, 1, 1, 0], 0.25: [2, 3, 3, 1, 2, 0], 0.5: [0, 0, 1, 1, 3, 0]}


def line(i: int, *, valid: bool = False) -> str:
    wnid = WNIDS[CLASSES[i]]
    labels = [WNIDS[NOISY[share][i]] for share in SHARES]
    return ",".join([f"{'val' if valid else 'train'}/{wnid}/{NAMES[i]}.JPEG", *labels, str(valid)])


def table(rows: list[int], *more: str) -> str:
    return "\n".join([HEAD, *(line(i) for i in rows), *more, ""])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_folder: Callable[..., None]) -> Path:
    """A mirror of Imagenette with six training pictures, under the file names that its archive gives them."""
    target = tmp_path / "mirror" / "frgfm" / "imagenette"
    rng = np.random.default_rng(0)
    pictures = {s: [*rng.integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)] for s, n in (("train", 6), ("test", 2))}
    hub_folder(target, pictures, {"train": CLASSES, "test": [0, 1]}, ["tench", "springer", "cassette", "saw"])
    name(target, [f"{name}.JPEG" for name in NAMES])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    return target


def name(target: Path, names: list[str | None]) -> None:
    """Write the names into the pictures' column, as a hub set has them."""
    import pyarrow.parquet

    old = pyarrow.parquet.read_table(target / "train.parquet")
    rows = old.to_pylist()
    for row, path in zip(rows, names, strict=True):
        row["image"]["path"] = path
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=old.schema), target / "train.parquet")


@pytest.fixture
def d(folder: Path) -> Images:
    return images("imagenette")


@pytest.mark.parametrize("share", SHARES)
def test_labels_are_joined_by_file_name(share: float, folder: Path, d: Images) -> None:
    decoy = f"val/{WNIDS[3]}/{NAMES[0]}.JPEG," + ",".join([WNIDS[3]] * 5) + ",True"
    (folder / "noisy_imagenette.csv").write_text(table([5, 3, 1, 0, 4, 2], decoy))
    labels = noisy_imagenette(share, d)
    assert labels.tolist() == NOISY[share]
    assert labels.dtype == torch.int64
    assert torch.equal(images("imagenette").x, d.x)  # the table beside them does not disturb the pictures


def test_the_cache_may_hold_the_table(folder: Path, d: Images, tmp_path: Path) -> None:
    (tmp_path / "cache" / "noisy_imagenette.csv").write_text(table([*range(6)]))
    assert noisy_imagenette(0.5, d).tolist() == NOISY[0.5]


def test_without_the_table_one_sentence_says_where_to_get_it_and_put_it(folder: Path, d: Images) -> None:
    with pytest.raises(Problem) as caught:
        noisy_imagenette(0.5, d)
    words = str(caught.value)
    assert "https://github.com/fastai/imagenette" in words
    assert str(folder / "noisy_imagenette.csv") in words
    assert "\n" not in words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (table([0, 1, 2, 4]), "2 of 6 pictures have no line in"),
        (
            table([*range(6)]).replace(f"9036.JPEG,{WNIDS[2]}", f"9036.JPEG,{WNIDS[1]}"),
            "classes in .* are not those of",
        ),
        (table([*range(6)]).replace(f"{WNIDS[3]},False", "n00000000,False"), "classes in .* are not those of"),
        (table([*range(6)]).replace("noisy_labels_50", "noise"), "is not the table it should be"),
        (table([*range(6)]).replace("path,", "file,"), "is not the table it should be"),
        ("\0\ufffd", "is not the table it should be|have no line"),
        ("", "have no line"),
    ],
    ids=["lines missing", "other class", "unknown noisy class", "no column", "no path", "no text", "empty"],
)
def test_a_table_that_does_not_fit_is_told(text: str, sentence: str, folder: Path, d: Images) -> None:
    (folder / "noisy_imagenette.csv").write_text(text)
    with pytest.raises(Problem, match=sentence):
        noisy_imagenette(0.5, d)


def test_pictures_without_file_names_are_told(folder: Path) -> None:
    (folder / "noisy_imagenette.csv").write_text(table([*range(6)]))
    name(folder, [None] * 6)
    with pytest.raises(Problem, match="6 of 6 pictures have no line"):
        noisy_imagenette(0.5, images("imagenette"))


def test_what_else_is_refused(folder: Path, d: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "noisy_imagenette.csv").write_text(table([*range(6)]))
    with pytest.raises(Problem, match=r"shares of wrong labels of 0\.0, 0\.01, 0\.05, 0\.25, 0\.5, but not 0\.4"):
        noisy_imagenette(0.4, d)
    with pytest.raises(Problem, match="but the pictures are digits's"):
        noisy_imagenette(0.5, images("digits"))
    with pytest.raises(Problem, match="2 training pictures; give all, in order"):
        noisy_imagenette(0.5, d.take(torch.tensor([1, 2])))
    (folder / "noisy_imagenette.csv").rename(folder.parents[2] / "cache" / "noisy_imagenette.csv")
    monkeypatch.delenv("ETUDES_MIRROR")
    with pytest.raises(Problem, match="a decoded copy has no file names"):
        noisy_imagenette(0.5, d)
