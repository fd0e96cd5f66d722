"""Lists in the layout of ImageNet-LT, whole and damaged, and pictures read from files."""

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data import commands, listed
from etudes.data.sources import reachable

LINES = {
    "train": ["train/n01440764/n01440764_190.JPEG 0", "train/n01440764/n01440764_7.JPEG 0", "train/n01443537/a.JPEG 1"],
    "validation": ["train/n01440764/n01440764_3.JPEG 0", "train/n01443537/b.JPEG 1"],
    "test": ["val/ILSVRC2012_val_00000293.JPEG 0", "val/ILSVRC2012_val_00000236.JPEG 1"],
}


@pytest.fixture
def folder(alone, monkeypatch):
    """ImageNet_LT in a cache: three lists, and pictures of which the left half is dark."""
    root = alone / "cache" / "ImageNet_LT"
    for split, lines in LINES.items():
        for i, line in enumerate(lines):
            path = root / line.rpartition(" ")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((40, 60 + 4 * i, 3), 200, np.uint8)
            pixels[:, : pixels.shape[1] // 2] = 20
            Image.fromarray(pixels[..., 0] if i == 1 else pixels).save(path, "jpeg", quality=95)
        (root / listed.LISTS[split]).write_text("\n".join(lines) + "\n")
    return root


def test_the_lists_of_imagenet_lt_are_read(folder):
    assert reachable("imagenet-lt") == "originals"
    d = listed.picture_lists("imagenet-lt")
    assert (d.classes, len(d.train), len(d.validation), len(d.test)) == (2, 3, 2, 2)
    assert d.train.y.tolist() == [0, 0, 1]
    assert d.test.files[0] == folder / "val" / "ILSVRC2012_val_00000293.JPEG"
    assert "train 3, validation 2, test 2" in d.source["says"]
    some = d.train.take(torch.tensor([2]))
    assert (some.files, some.y.tolist()) == ((folder / "train/n01443537/a.JPEG",), [1])
    assert commands.get("imagenet-lt") == f"imagenet-lt: {d.source['says']} (from originals)"
    first = d.source["fingerprint"]
    (folder / listed.LISTS["test"]).write_text(LINES["test"][0])
    assert listed.picture_lists("imagenet-lt").source["fingerprint"] != first


def test_pictures_are_cropped_at_the_centre_or_at_random(folder):
    part = listed.picture_lists("imagenet-lt").train
    whole = part.read([0, 1], 28)
    assert (whole.shape, whole.dtype) == ((2, 3, 28, 28), torch.uint8)  # one of them is grey
    assert whole[..., :10].float().mean() < 40
    assert whole[..., -10:].float().mean() > 180
    draws = [part.read([0] * 40, 28, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert draws[0].equal(draws[1])
    assert not draws[0].equal(draws[2])
    brighter = [row[..., -1].float().mean() > row[..., 0].float().mean() + 50 for row in draws[0]]
    darker = [row[..., -1].float().mean() < row[..., 0].float().mean() - 50 for row in draws[0]]
    assert min(sum(brighter), sum(darker)) > 5  # some are mirrored


def test_a_random_part_is_inside_and_of_the_areas_and_shapes_asked_for():
    rng = np.random.default_rng(0)
    for width, height in ((500, 375), (120, 500)):
        for draws in rng.random((200, 4)):
            left, top, right, bottom = listed.crop_box(width, height, draws)
            w, h = right - left, bottom - top
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert w * h <= width * height
            if w < width and h < height:
                assert 0.7 < w / h < 1.4
                assert w * h == pytest.approx(width * height * (0.08 + 0.92 * draws[0]), rel=0.03)
    assert listed.crop_box(500, 500, (0.999999, 0.5, 0.3, 0.3)) == (0, 0, 500, 500)


def test_bad_lists_and_files_are_refused_in_a_sentence(folder):
    path = folder / listed.LISTS["train"]
    for text, words in (
        ("train/a.JPEG zero\n", "line 1 .* is no path and number"),
        ("\ntrain/a.JPEG\n", "line 2 .* is no path and number"),
        ("../a.JPEG 1\n", "leads out of"),
        ("/etc/a.JPEG 1\n", "leads out of"),
        ("\n", "is empty"),
    ):
        path.write_text(text)
        with pytest.raises(Problem, match=words):
            listed.read_list(path, folder)
    path.write_text("train/absent.JPEG 0\n")
    with pytest.raises(Problem, match=r"absent\.JPEG.* is absent or damaged"):
        listed.read_list(path, folder).read([0], 8)
    (folder / "train/absent.JPEG").write_bytes(b"no picture")
    with pytest.raises(Problem, match="absent or damaged"):
        listed.read_list(path, folder).read([0], 8)
    path.unlink()
    with pytest.raises(Problem, match=r"ImageNet_LT_train\.txt is absent"):
        listed.picture_lists("imagenet-lt")


def test_without_the_folder_and_under_other_names_it_says_so(alone):
    assert reachable("imagenet-lt") == ""
    with pytest.raises(Problem, match="imagenet-lt"):
        listed.picture_lists("imagenet-lt")
    with pytest.raises(Problem, match="set of lists"):
        listed.picture_lists("cifar10")
