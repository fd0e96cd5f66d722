import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.cells import draw
from etudes.data.masks import masks, nearest
from etudes.data.sources.formats import read_nifti, read_tissue


@pytest.fixture(autouse=True)
def fresh():
    masks.cache_clear()
    yield
    masks.cache_clear()


def png(array: np.ndarray) -> dict:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def write(folder: Path, config: str, splits: dict[str, list[dict]], features: dict, where: str = "") -> str:
    """Parquet in the layout of the mirror, and the lines of its README.md that tell of the config."""
    import datasets

    lines = f"- config_name: {config}\n  data_files:\n"
    for split, rows in splits.items():
        file = f"{where}{split}.parquet"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        columns = {name: [row[name] for row in rows] for name in features}
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(folder / file)
        lines += f"  - split: {split}\n    path: {file}\n"
    return lines


def head(folder: Path, lines: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{lines}---\n\nWritten by a test.\n")


def cell(h: int, w: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and a mask with three numbered squares, of which two touch."""
    x = np.random.default_rng(seed).integers(0, 256, (h, w), dtype=np.uint8)
    objects = np.zeros((h, w), np.uint16)
    objects[2:6, 2:6], objects[2:6, 6:10], objects[h - 4 : h - 1, 1:5] = 1, 2, 300
    return x, objects


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The four sets of mirrors, with a few small pictures each, in their true columns."""
    import datasets

    image, label, integer, text = (
        datasets.Image(),
        datasets.ClassLabel,
        datasets.Value("int32"),
        datasets.Value("string"),
    )
    root = tmp_path / "mirror"
    rows = []
    for i, (h, w) in enumerate([(16, 16), (16, 20), (24, 16), (16, 16)]):
        x, objects = cell(h, w, i)
        x = np.stack([x] * 3, -1) if i == 3 else x
        rows.append({"id": str(i), "image": png(x), "mask": png((objects > 0).astype(np.uint8) * 255),
                     "instances": png(objects), "n_nuclei": 3, "orig_width": w, "orig_height": h,
                     "stain": int(i == 3)})  # fmt: skip
    folder = root / "data-science-bowl-2018" / "stage1-nuclei"
    columns = {"id": text, "image": image, "mask": image, "instances": image, "n_nuclei": integer,
               "orig_width": integer, "orig_height": integer, "stain": label(names=["grey", "colour"])}  # fmt: skip
    head(folder, write(folder, "default", {"train": rows, "test": rows[2:]}, columns))

    folder = root / "zxaoyou" / "segmentation_WBC"
    columns = {"id": text, "image": image, "mask": image, "cell_type": label(names=["neutrophil"])}
    lines = ""
    for config, sizes, light in (
        ("jiangxi_tecom", [(120, 120), (112, 116), (60, 60)], 10),
        ("cellavision", [(150, 150)], 200),
    ):
        rows = []
        for h, w in sizes:
            y = np.zeros((h, w), np.uint8)
            y[h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = 2
            y[h // 2 - 5 : h // 2 + 5, w // 2 - 5 : w // 2 + 5] = 1
            rows.append({"id": "a", "image": png(np.full((h, w, 3), light, np.uint8)), "mask": png(y), "cell_type": 0})
        lines += write(folder, config, {"train": rows, "test": rows[:1]}, columns, f"{config}/")
    head(folder, lines)

    folder = root / "retina" / "chase_db1"
    eye = {"image": png(np.full((16, 18, 3), 9, np.uint8)), "mask": png(np.eye(16, 18, dtype=np.uint8) * 255)}
    eye |= {"mask_observer2": eye["mask"], "eye": 0}
    columns = {"patient": text, "eye": label(names=["L", "R"]), "image": image, "mask": image, "mask_observer2": image}
    splits = {"train": [eye | {"patient": "01"}] * 2, "test": [eye | {"patient": "11"}]}
    head(folder, write(folder, "default", splits, columns))

    folder = root / "isbi" / "em-2012-membrane"
    lines = np.full((16, 16), 255, np.uint8)
    lines[8], lines[:, 8] = 0, 0
    slices = [{"slice": i, "image": png(lines), "mask": png(lines)} for i in range(3)]
    columns = {"slice": integer, "image": image, "mask": image}
    head(folder, write(folder, "default", {"train": slices[:2], "test": slices[2:]}, columns))
    monkeypatch.setenv("ETUDES_MIRROR", str(root))
    return root


def test_nuclei_are_cut_to_squares_and_keep_their_numbers(mirror: Path) -> None:
    d = masks("nuclei")
    assert (d.x.shape, d.test_x.shape) == ((4, 3, 16, 16), (2, 3, 16, 16))
    assert d.classes == ("background", "nucleus")
    assert (d.groups, d.test_groups) == (("grey", "grey", "grey", "colour"), ("grey", "colour"))
    for i, (h, w) in enumerate([(16, 16), (16, 20), (24, 16)]):
        x, objects = cell(h, w, i)
        top, left = (h - 16) // 2, (w - 16) // 2
        assert np.array_equal(d.x[i, 0], x[top : top + 16, left : left + 16])
        assert np.array_equal(d.instances[i], objects[top : top + 16, left : left + 16])
        assert np.array_equal(d.y[i] > 0, d.instances[i] > 0)
    assert (d.y.dtype, d.instances.dtype) == (torch.uint8, torch.int32)
    assert "crops of the same experiments" in d.source["says"]


def test_a_group_alone_and_grey_where_all_of_it_is(mirror: Path) -> None:
    d = masks("nuclei", "grey")
    assert (d.x.shape, d.test_x.shape) == ((3, 1, 16, 16), (1, 1, 16, 16))
    assert "grey alone" in d.source["says"]
    assert d.source["fingerprint"] != masks("nuclei").source["fingerprint"]
    with pytest.raises(Problem, match="no pictures of group 'gray'; there are colour, grey"):
        masks("nuclei", "gray")


def test_blood_cells_of_two_stains_are_two_sets_of_one_size(mirror: Path) -> None:
    for name, n, light in (("blood-cells", 3, 10), ("blood-cells-cellavision", 1, 200)):
        d = masks(name)
        assert d.x.shape == (n, 3, 120, 120)
        assert d.classes == ("background", "nucleus", "cytoplasm")
        assert d.instances is None
        assert (d.x == light).all()
        assert [sorted(set(picture.ravel().tolist())) for picture in d.y.numpy()] == [[0, 1, 2]] * n
        assert d.y[0, 60, 60] == 1
        assert d.y[0, 0, 0] == 0


def test_retina_is_split_by_patient_and_membranes_part_cells(mirror: Path) -> None:
    d = masks("retina/chase_db1")
    assert (d.groups, d.test_groups, d.x.shape[1:]) == (("01", "01"), ("11",), (3, 16, 16))
    assert d.y.sum() > 0
    d = masks("membrane")
    assert (d.groups, d.test_groups) == (("0", "1"), ("2",))
    assert d.instances[0].max() == 4
    assert ((d.instances > 0) == (d.y == 1)).all()


def test_what_does_not_fit_is_told(mirror: Path) -> None:
    import datasets

    folder = mirror / "zxaoyou" / "segmentation_WBC" / "cellavision"
    table = datasets.Dataset.from_parquet(str(folder / "train.parquet"))
    wrong = np.full((150, 150), 3, np.uint8)
    for mask, words in (
        (png(wrong), "have the value 3; its classes are 0 to 2"),
        (png(wrong[:9]), "not as large as its picture"),
        ({"bytes": b"no picture", "path": None}, "mask 0 of zxaoyou/segmentation_WBC is damaged"),
    ):
        rows = {
            name: table.cast_column("image", datasets.Image(decode=False))[name]
            for name in table.column_names
            if name != "mask"
        }
        datasets.Dataset.from_dict({**rows, "mask": [mask]}, features=table.features).to_parquet(
            folder / "train.parquet"
        )
        with pytest.raises(Problem, match=words):
            masks("blood-cells-cellavision")
    with pytest.raises(Problem, match="'digits' is a classification set, no segmentation set"):
        masks("digits")
    with pytest.raises(Problem, match="did you mean 'nuclei'"):
        masks("nuclie")


def test_nothing_in_reach_is_told_with_what_to_do() -> None:
    with pytest.raises(
        Problem, match=r"no source of 'membrane' .*zhixuhao/unet.* embedded \(drawn-cells, drawn-cells-dark\)"
    ):
        masks("membrane")


def test_the_nearest_pixel_is_pillows() -> None:
    rng = np.random.default_rng(0)
    for old, new in (((7, 11), (3, 5)), ((20, 20), (13, 13)), ((5, 6), (15, 7)), ((9, 9), (9, 9))):
        mask = rng.integers(0, 250, old, dtype=np.uint8)
        theirs = np.asarray(Image.fromarray(mask).resize(new[::-1], Image.Resampling.NEAREST))
        assert np.array_equal(nearest(mask, *new), theirs)


def test_resizing_makes_no_new_class_and_merging_leaves_two() -> None:
    d = masks("drawn-cells")
    assert (d.x.shape, d.test_x.shape, d.classes) == (
        (160, 1, 64, 64),
        (40, 1, 64, 64),
        ("background", "healthy", "tumour"),
    )
    small = d.resize(24)
    assert (small.x.shape[-2:], small.y.shape[-2:], small.test_instances.shape[-2:]) == ((24, 24),) * 3
    assert set(small.y.unique().tolist()) == {0, 1, 2}
    assert ((small.instances > 0) == (small.y > 0)).all()
    two = d.binary()
    assert two.classes == ("background", "object")
    assert torch.equal(two.y, (d.y > 0).to(torch.uint8))
    rows = torch.tensor([5, 2])
    assert torch.equal(d.take(rows).instances, d.instances[rows])
    assert d.take(rows).groups == ("train 5", "train 2")


def test_drawn_cells_are_the_same_each_time_and_touch() -> None:
    one, other = (draw(np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    d = masks("drawn-cells")
    dark = masks("drawn-cells-dark")
    assert dark.x.double().mean() > 150 > 100 > d.x.double().mean()
    assert dark.y.double().mean().item() == pytest.approx(d.y.double().mean().item(), rel=0.2)
    touching = [(p[:, 1:] != p[:, :-1]) & (p[:, 1:] > 0) & (p[:, :-1] > 0) for p in d.instances]
    assert np.mean([bool(t.any()) for t in touching]) > 0.4
    healthy, tumour = ((d.y == k).sum() / len(d.instances.unique()) for k in (1, 2))
    assert tumour > healthy
    for picture, cells in zip(d.y[:20], d.instances[:20], strict=True):
        assert all(len(picture[cells == k].unique()) == 1 for k in cells.unique())


def nifti(volume: np.ndarray) -> bytes:
    """A NIfTI-1 file of uint8 numbers: the fields of its head that are read, at their places."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *volume.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return gzip.compress(bytes(head) + volume.tobytes(order="F"))


def test_a_volume_is_read_as_it_was_written(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    (tmp_path / "a.nii.gz").write_bytes(nifti(volume))
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz"), volume)
    for damage in (b"", gzip.compress(b"short"), nifti(volume)[:-9], gzip.compress(bytes(400))):
        (tmp_path / "b.nii.gz").write_bytes(damage)
        with pytest.raises(Problem, match="no whole packed NIfTI-1 file"):
            read_nifti(tmp_path / "b.nii.gz")
    nibabel = pytest.importorskip("nibabel")
    assert np.array_equal(nibabel.load(tmp_path / "a.nii.gz").dataobj, volume)


def test_a_brain_has_four_classes_and_slabs_with_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t1 = np.zeros((6, 8, 60), np.uint8)
    t1[1:5, 2:6] = 100
    grey, white = np.zeros_like(t1), np.zeros_like(t1)
    grey[:, 2], grey[:, 3], white[:, 3], white[:, 4] = 200, 100, 130, 255
    for kind, volume in (("t1", t1), ("gm", grey), ("wm", white)):
        (tmp_path / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz").write_bytes(nifti(volume))
    pictures, tissue = read_tissue(tmp_path)
    assert pictures.shape == tissue.shape == (60, 6, 6)
    # Rows count from the front, so y falls; of 8 rows the middle 6 are left: y = 6 .. 1.
    assert tissue[0, :, 2].tolist() == [0, 3, 2, 2, 1, 0]
    assert (tissue[:, :, 0] == 0).all()
    monkeypatch.setattr("etudes.data.masks.fetch", lambda carrier, folder: tmp_path)
    d = masks("brain-tissue")
    assert (len(d.x), len(d.test_x)) == (14 + 14 + 12, 4 + 4)
    assert (set(d.groups), set(d.test_groups)) == ({"slab 0", "slab 1", "slab 2"}, {"slab 0", "slab 1"})
    assert d.classes == ("background", "grey matter", "white matter", "fluid")
