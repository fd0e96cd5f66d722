import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.images import every_fifth, images, resize_picture, unit
from etudes.data.sources import decoded_copies, find

Folder = Callable[..., None]


def test_digits_are_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    whole = sklearn.load_digits()
    found = images("digits")
    held_out = every_fifth(whole.target)
    pixels = np.rint(whole.images * 255 / 16).astype(np.uint8)
    assert np.array_equal(found.test_x[:, 0].numpy(), pixels[held_out])
    assert np.array_equal(found.x[:, 0].numpy(), pixels[~held_out])
    assert np.array_equal(found.y.numpy(), whole.target[~held_out])
    assert np.array_equal(found.test_y.numpy(), whole.target[held_out])
    assert found.shape == (1, 8, 8)
    assert (found.classes, found.labels) == (10, tuple("0123456789"))
    assert found.source["kind"] == "embedded"
    assert "held out" in found.source["says"]


def test_every_fifth_of_each_class() -> None:
    y = np.array([0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 2])
    assert np.flatnonzero(every_fifth(y)).tolist() == [6, 10, 14]


def test_a_mirror_in_the_hubs_layout(tiny_mirror: Path) -> None:
    found = images("cifar10")
    wanted = np.load(tiny_mirror.parent / "pictures.npz")
    assert np.array_equal(found.x.permute(0, 2, 3, 1).numpy(), wanted["train"])
    assert np.array_equal(found.test_x.permute(0, 2, 3, 1).numpy(), wanted["test"])
    assert found.x.dtype == torch.uint8
    assert found.x.is_contiguous(memory_format=torch.channels_last)
    assert found.y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert found.test_y.tolist() == [2, 1, 0]
    assert found.labels == ("air", "car", "bird")
    assert found.source["kind"] == "mirror"
    assert found.source["says"] == "uoft-cs/cifar10, 8 + 3 pictures, PNG copies"
    assert torch.equal(images("uoft-cs/cifar10").x, found.x)


def test_a_decoded_copy_serves_again_and_a_damaged_one_is_decoded_again(
    tiny_mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = images("cifar10")
    (copy,) = decoded_copies(find("cifar10"))
    kept = copy.stat().st_mtime_ns
    assert images("cifar10").source == first.source
    assert copy.stat().st_mtime_ns == kept
    data = bytearray(copy.read_bytes())
    for damage in (bytes(data[:-7]), bytes(data[:-1]) + bytes([data[-1] ^ 1]), b""):
        copy.write_bytes(damage)
        again = images("cifar10")
        assert again.source == first.source
        for name in ("x", "y", "test_x", "test_y"):
            assert torch.equal(getattr(again, name), getattr(first, name))
        assert copy.stat().st_size == len(data)
    monkeypatch.delenv("ETUDES_MIRROR")
    for stale in ("hub-0123456789-1", copy.stem.removesuffix("-1") + "-0"):  # another revision, an older rule
        copy.with_name(f"{stale}.safetensors").write_bytes(bytes(data))
    assert decoded_copies(find("cifar10")) == [copy]
    alone = images("cifar10")
    assert alone.source == first.source | {"kind": "cache"}
    copy.write_bytes(b"")
    with pytest.raises(Problem, match="cache: the decoded copies there are damaged"):
        images("cifar10")


def test_damaged_parquet_is_named_though_an_older_copy_is_cached(tiny_mirror: Path) -> None:
    images("cifar10")
    file = tiny_mirror / "uoft-cs" / "cifar10" / "test.parquet"
    whole = file.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"PAR1" + bytes(len(whole) - 8) + b"PAR1"):
        file.write_bytes(damage)
        with pytest.raises(Problem, match=r"test\.parquet is damaged; copy it into the mirror again"):
            images("cifar10")


def test_a_damaged_picture_is_named(tiny_mirror: Path) -> None:
    import pyarrow.parquet

    file = tiny_mirror / "uoft-cs" / "cifar10" / "train.parquet"
    table = pyarrow.parquet.read_table(file)
    rows = table.to_pylist()
    rows[5]["img"]["bytes"] = rows[5]["img"]["bytes"][:40]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(Problem, match="picture 5 of uoft-cs/cifar10 is damaged"):
        images("cifar10")


def test_the_part_that_a_set_calls_valid_is_its_test_part(
    hub_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = [np.full((4, 4), 9 * i, np.uint8) for i in range(6)]
    hub_folder(tmp_path / "zh-plus" / "tiny-imagenet", {"train": grey[:4], "valid": grey[4:]},
                     {"train": [0, 1, 0, 1], "valid": [1, 0]}, ["n01", "n02"])  # fmt: skip
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = images("tiny-imagenet")
    assert (len(found.x), found.test_y.tolist()) == (4, [1, 0])
    assert "held out" not in found.source["says"]


def test_formats_are_read_off_the_bytes(hub_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = [np.full((4, 4), 50 * i, np.uint8) for i in range(3)]
    hub_folder(tmp_path / "a" / "jpeg", {"train": grey, "test": grey[:1]}, {"train": [0, 1, 0], "test": [1]},
                     ["x", "y"], kind="jpeg")  # fmt: skip
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = images("a/jpeg")
    assert "JPEG copies" in found.source["says"]
    assert found.shape == (1, 4, 4)


def test_any_folder_with_pictures_of_many_sizes(
    hub_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    sizes = [(12, 20, 3), (9, 8, 3), (8, 8), (30, 10, 3), (8, 11, 3), (16, 16, 3)]
    pictures = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    hub_folder(tmp_path / "own" / "set", {"train": pictures}, {"train": [0] * 5 + [1]}, ["x", "y"])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = images("own/set")
    assert found.shape == (3, 8, 8)
    assert (len(found.x), len(found.test_x)) == (5, 1)
    assert "shortest side of 8 px" in found.source["says"]
    assert "held out" in found.source["says"]
    assert np.array_equal(found.x[1].permute(1, 2, 0), pictures[1][:8])
    assert np.array_equal(found.x[2].permute(1, 2, 0), np.stack([pictures[2]] * 3, -1))
    assert np.array_equal(found.test_x[0].permute(1, 2, 0), pictures[4][:, 1:9])


def test_fitted_keeps_the_middle() -> None:
    rows, columns = np.mgrid[:40, :100]
    picture = Image.fromarray((columns + rows).astype(np.uint8))
    small = np.asarray(resize_picture(picture, 10)).astype(float)
    assert small.shape == (10, 10)
    expected = (np.mgrid[:10, :10] * 4 + 1.5).sum(0) + 30  # 25 columns, of which 7 are cut at the left: (4 * 7 = 28)
    assert np.abs(small - (expected - 2))[1:-1, 1:-1].max() <= 1.5


def test_sets_of_other_tasks_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nuclei", "retina/chase_db1", "membrane"):
        with pytest.raises(Problem, match="is a segmentation set, no classification set"):
            images(name)
    with pytest.raises(Problem, match="handwriting set, no classification set"):
        images("handwriting")
    with pytest.raises(Problem, match="did you mean 'cifar10'"):
        images("cifar-10")
    with pytest.raises(Problem, match="ETUDES_MIRROR is not set"):
        images("no/such")
    import datasets

    (tmp_path / "own" / "text").mkdir(parents=True)
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "own" / "text" / "train.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    with pytest.raises(Problem, match="no picture column among text"):
        images("own/text")


def test_mean_std_take_and_unit(tiny_mirror: Path) -> None:
    found = images("cifar10")
    floats = found.x.double() / 255
    assert torch.allclose(found.mean.double(), floats.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(found.std.double(), floats.std((0, 2, 3), correction=0), atol=1e-6)
    few = found.take(torch.tensor([4, 1]))
    assert torch.equal(few.x, found.x[[4, 1]])
    assert few.y.tolist() == [1, 1]
    assert len(few.test_x) == 3
    x = unit(found.x)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.dtype == torch.float32
    assert torch.equal(x, found.x.float() / 255)
    assert unit(x) is x
    assert found.to("cpu").x.device.type == "cpu"


def test_a_set_is_resized_whole_and_knows_its_trivial_baseline() -> None:
    d = images("digits")
    small = d.resize(4)
    assert small.shape == (1, 4, 4)
    assert small.test_x.shape[1:] == (1, 4, 4)
    assert torch.equal(small.y, d.y)
    counts = torch.bincount(d.y).tolist()
    most = counts.index(max(counts))
    assert d.majority_error == pytest.approx(sum(int(y) != most for y in d.test_y) / len(d.test_y))


def test_the_fingerprint_sees_every_change(hub_folder: Folder, tiny_mirror: Path) -> None:
    first = images("cifar10").source["fingerprint"]
    wanted = np.load(tiny_mirror.parent / "pictures.npz")
    labels = {"train": [0, 1, 2, 0, 1, 2, 0, 1], "test": [2, 1, 0]}
    for split, row in (("train", 3), ("test", 0)):
        pictures = {s: [*wanted[s].copy()] for s in ("train", "test")}
        pictures[split][row][5, 5, 1] ^= 1
        hub_folder(tiny_mirror / "uoft-cs" / "cifar10", pictures, labels, ["air", "car", "bird"], column="img")
        assert images("cifar10").source["fingerprint"] != first
    swapped = labels | {"test": [2, 0, 1]}
    pictures = {s: [*wanted[s]] for s in ("train", "test")}
    hub_folder(tiny_mirror / "uoft-cs" / "cifar10", pictures, swapped, ["air", "car", "bird"], column="img")
    assert images("cifar10").source["fingerprint"] != first
    hub_folder(tiny_mirror / "uoft-cs" / "cifar10", pictures, labels, ["air", "car", "bird"], column="img")
    assert images("cifar10").source["fingerprint"] == first


MIRROR = os.environ.get("ETUDES_MIRROR", "")


@pytest.mark.skipif(not MIRROR, reason="ETUDES_MIRROR is not set")
@pytest.mark.parametrize(
    ("name", "shape", "counts", "classes"),
    [
        ("cifar10", (3, 32, 32), (50_000, 10_000), 10),
        ("fashion-mnist", (1, 28, 28), (60_000, 10_000), 10),
        ("imagenette", (3, 96, 96), None, 10),
        ("stanford-cars", (3, 64, 64), None, 196),
        ("tiny-imagenet", (3, 64, 64), None, 200),
    ],
)
def test_the_real_mirror(
    name: str, shape: tuple[int, ...], counts: tuple[int, int] | None, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (Path(MIRROR) / find(name).hub).is_dir():
        pytest.skip(f"ETUDES_MIRROR holds no {name}")
    monkeypatch.setenv("ETUDES_MIRROR", MIRROR)
    found = images(name)
    assert found.shape == shape
    assert (len(found.x), len(found.test_x)) == (counts or (len(found.y), len(found.test_y)))
    assert found.classes == classes
    assert torch.bincount(found.y, minlength=classes).min() > 0
    assert found.source == images(name).source


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def pacs(folder: Path) -> None:
    """Three pictures of each of two domains, in PACS' layout: photos in colour, sketches grey."""
    import datasets

    rng = np.random.default_rng(0)
    sizes = {"photo": (8, 8, 3), "sketch": (8, 8)}
    domains = ["photo", "sketch"] * 5
    pictures = [rng.integers(0, 256, sizes[domain], dtype=np.uint8) for domain in domains]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "domain": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["dog", "cat"]),
        }
    )
    rows = {"image": [{"bytes": _png(p), "path": None} for p in pictures], "domain": domains, "label": [0] * 10}
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    np.savez(folder.parents[1] / "pacs.npz", **{f"{i}": p for i, p in enumerate(pictures)})


def test_sets_that_share_a_table_have_their_own_rows_and_their_own_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs(tmp_path / "mirror" / "flwrlabs" / "pacs")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    wanted = np.load(tmp_path / "mirror" / "pacs.npz")
    for _ in range(2):  # decoded, then from its copy
        photos, sketches = images("pacs-photos"), images("pacs-sketches")
        assert (len(photos.x), len(photos.test_x), len(sketches.x), len(sketches.test_x)) == (4, 1, 4, 1)
        sketch = np.asarray(Image.fromarray(wanted["1"]).resize((64, 64), Image.Resampling.BILINEAR))
        assert np.array_equal(sketches.x[0, 0].numpy(), sketch)
        assert (photos.shape[0], sketches.shape[0]) == (3, 1)
    assert len({copy.parent for name in ("pacs-photos", "pacs-sketches") for copy in decoded_copies(find(name))}) == 2
    assert "sketch" in sketches.source["says"]


def test_types_of_blood_cells_are_read_beside_their_masks_and_of_one_stain_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    folder, rng = tmp_path / "mirror" / "zxaoyou" / "segmentation_WBC", np.random.default_rng(0)
    names = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"]
    features = datasets.Features(
        id=datasets.Value("string"),
        image=datasets.Image(),
        mask=datasets.Image(),
        cell_type=datasets.ClassLabel(names=names),
    )
    files = ""
    for config, shade in (("jiangxi_tecom", 40), ("cellavision", 200)):
        files += f"- config_name: {config}\n  data_files:\n"
        for split, types in (("train", [0, 1, 4]), ("test", [2, 0])):
            pictures = [np.full((70, 80, 3), shade + k, np.uint8) for k in types]
            masks = [rng.integers(0, 3, (70, 80), dtype=np.uint8) for _ in types]
            rows = {"id": list("abc")[: len(types)], "cell_type": types}
            rows |= {
                name: [{"bytes": _png(p), "path": None} for p in found]
                for name, found in (("image", pictures), ("mask", masks))
            }
            path = folder / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
            files += f"  - split: {split}\n    path: {config}/{split}-*.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{files}---\n")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    found = images("blood-cell-types")
    assert (found.shape, found.labels) == ((3, 64, 64), tuple(names))
    assert (found.y.tolist(), found.test_y.tolist()) == ([0, 1, 4], [2, 0])
    assert found.x[:, 0, 0, 0].tolist() == [40, 41, 44]
