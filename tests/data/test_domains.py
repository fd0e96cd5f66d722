import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.domains import PARTS, domains, parts
from etudes.data.sources.formats import read_digits

NAMES = ("photo", "art_painting", "cartoon", "sketch")
CLASSES = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]


@pytest.fixture(autouse=True)
def fresh():
    domains.cache_clear()
    yield
    domains.cache_clear()


def write(root: Path, pictures: list[np.ndarray], names: list[str], labels: list[int], **without: str) -> None:
    """A mirror with PACS in its true layout: one split, columns image, domain (string) and label (classes)."""
    import datasets

    def png(array: np.ndarray) -> dict:
        file = io.BytesIO()
        Image.fromarray(array).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    folder = root / "flwrlabs" / "pacs"
    (folder / "data").mkdir(parents=True)
    features = {
        "image": datasets.Image(),
        "domain": datasets.Value("string"),
        "label": datasets.ClassLabel(names=CLASSES),
    }
    columns = {"image": [png(picture) for picture in pictures], "domain": names, "label": labels}
    features, columns = ({k: v for k, v in some.items() if k not in without.values()} for some in (features, columns))
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n"
        "  default: true\n---\n\nWritten by a test.\n"
    )


@pytest.fixture
def pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(41)]
    pictures[3] = pictures[3][..., 0]  # a grey one, as sketches are
    pictures[40] = pictures[0]  # one that comes twice
    write(tmp_path / "mirror", pictures, [NAMES[i % 4] for i in range(41)], [i % 2 for i in range(41)])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    return pictures


def test_pictures_classes_and_domains_come_as_they_stand(pacs):
    d = domains("pacs")
    assert (d.x.shape, d.x.dtype) == ((40, 3, 64, 64), torch.uint8)
    assert np.array_equal(d.x[5].permute(1, 2, 0).numpy(), pacs[5])
    assert np.array_equal(d.x[3, 1].numpy(), pacs[3])
    assert d.y.tolist() == [i % 2 for i in range(40)]
    assert [d.domains[k] for k in d.domain[:5].tolist()] == ["photo", "art_painting", "cartoon", "sketch", "photo"]
    assert d.classes == tuple(CLASSES)
    assert "1 left out that came twice" in d.source["says"]
    assert d.resize(32).x.shape == (40, 3, 32, 32)


def test_the_second_time_it_is_read_from_the_decoded_copy(pacs, monkeypatch):
    first = domains("pacs")
    domains.cache_clear()
    monkeypatch.setattr("etudes.data.domains.read_mirror", None)
    again = domains("pacs")
    assert torch.equal(first.x, again.x)
    assert (first.source, first.domains) == (again.source, again.domains)
    domains.cache_clear()
    monkeypatch.delenv("ETUDES_MIRROR")
    assert domains("pacs").source["kind"] == "cache"


def test_within_each_class_and_domain_ten_pictures_are_five_one_and_four():
    y, domain = np.repeat([0, 1], 60), np.tile([0, 1, 1], 40)
    part = parts(y, domain)
    for group in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        counts = np.bincount(part[(y == group[0]) & (domain == group[1])], minlength=3)
        assert np.array_equal(counts, {20: [10, 2, 8], 40: [20, 4, 16]}[counts.sum()])
    assert np.array_equal(part, parts(y, domain))


def test_parts_are_disjoint_and_rows_are_those_of_the_names():
    d = domains("digit-domains")
    rows = {part: d.rows(part) for part in PARTS}
    assert torch.equal(torch.cat([*rows.values()]).sort().values, torch.arange(len(d.x)))
    some = d.rows("test", ["edges", "upright"], ["3"])
    assert set(d.y[some].tolist()) == {3}
    assert {d.domains[k] for k in d.domain[some].tolist()} == {"edges", "upright"}
    with pytest.raises(Problem, match="no domain of digit-domains 'edge'; did you mean 'edges'"):
        d.rows("test", ["edge"])
    with pytest.raises(Problem, match="no class of digit-domains 'ten'"):
        d.rows("test", classes=["ten"])


def test_every_digit_is_in_one_domain_changed_as_it_says():
    d, grey = domains("digit-domains"), read_digits()["train"][0][..., 0].astype(int)
    assert d.domain.bincount().tolist() == [450, 449, 449, 449]
    assert np.array_equal(d.x[0, 0].numpy(), grey[0])
    assert np.array_equal(d.x[1, 2].numpy(), 255 - grey[1])
    assert np.array_equal(d.x[2, 0].numpy(), grey[2][:, ::-1])
    shifted = np.pad(grey[3], ((0, 0), (0, 1)))[:, 1:]
    assert np.array_equal(d.x[3, 0].numpy(), abs(shifted - grey[3]))


def test_what_is_no_set_with_domains_is_refused(tmp_path, monkeypatch):
    with pytest.raises(Problem, match=r"'digits' is a classification set.*domains\(\) reads pacs"):
        domains("digits")
    with pytest.raises(Problem, match="no source of 'pacs' can be reached"):
        domains("pacs")
    write(tmp_path / "mirror", [np.zeros((8, 8, 3), np.uint8)], ["photo"], [0], column="domain")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(Problem, match="needs a split train with columns image, domain and label"):
        domains("pacs")


def test_an_unknown_domain_is_named(tmp_path, monkeypatch):
    write(tmp_path / "mirror", [np.zeros((8, 8, 3), np.uint8)], ["skech"], [0])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(Problem, match="no domain of pacs 'skech'; did you mean 'sketch'"):
        domains("pacs")
