import json

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.fonts import BUILT_IN, PAPER, drawn_line, lacks
from etudes.data.images import images
from etudes.data.lines import (
    digit_strings,
    font_lines,
    handwriting,
    lines_of,
    read_iam,
    read_imgur5k,
)  # fmt: skip


def page(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (h, w)).astype(np.uint8)


def test_lines_keep_their_proportions_and_end_in_white_paper():
    lines = lines_of([(page(20, 50), "ab", "p1"), (page(40, 40), "c", "p2")], 10)
    assert lines.widths.tolist() == [25, 10]
    assert lines.x.shape == (2, 1, 10, 25)
    assert (lines.x[1, :, :, 10:] == PAPER).all()
    assert lines.letters == "abc"
    assert lines.take([1]).texts == ("c",)
    squeezed = lines_of([(page(20, 50), "ab", ""), (page(40, 40), "c", "")], 10, 16, squeeze=True)
    assert squeezed.widths.tolist() == [16, 16]


def test_digit_strings_say_what_is_pasted_and_share_no_picture():
    d = images("digits")
    lines = {part: digit_strings(d, part, 30, 12, np.random.default_rng(0)) for part in ("train", "test")}
    for part, x, y in (("train", d.x, d.y), ("test", d.test_x, d.test_y)):
        pool = (255 - x[:, 0]).numpy()
        for i in range(5):
            strip, at, read = lines[part].x[i, 0].numpy(), 1, ""
            while at + 8 <= int(lines[part].widths[i]):
                found = [
                    k
                    for top in range(5)
                    for k in np.flatnonzero((pool == strip[top : top + 8, at : at + 8]).all((1, 2)))
                ]
                if found:
                    read += str(int(y[found[0]]))
                    at += 7
                at += 1
            assert read == lines[part].texts[i]


def test_a_drawn_line_is_dark_on_white_and_follows_from_the_generator():
    first, second = (drawn_line("1234", BUILT_IN, 16, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape[0] == 16
    assert first.min() < 120 < 240 < np.median(first)
    assert drawn_line("12345678", BUILT_IN, 16, np.random.default_rng(3)).shape[1] > 1.5 * first.shape[1]
    assert lacks(BUILT_IN, "0é") == ["é"]


def test_font_lines_are_at_most_so_wide():
    lines = font_lines(["1", "1234567890123"], [BUILT_IN], 16, 40, np.random.default_rng(0))
    assert lines.widths[1] == 40
    assert lines.groups == (BUILT_IN, BUILT_IN)


def iam(folder):
    said = {
        "a01-000u-00": "A|MOVE|to|stop|.",
        "a01-000x-01": "Mr.|Gaitskell",
        "b02-013-00": "He|rose",
        "c03-000-00": "no",
    }
    marks = {"b02-013-00": "ok", "c03-000-00": "err"}
    (folder / "ascii").mkdir(parents=True)
    lines = ["#--- lines.txt ---", "# format: a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to"]
    for i, (name, text) in enumerate(said.items()):
        lines.append(f"{name} {marks.get(name, 'ok')} 154 19 408 746 1661 89 {text}")
        place = folder / "lines" / name[:3] / name.rpartition("-")[0]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(page(30, 90 + i, i)).save(place / f"{name}.png")
    (folder / "ascii" / "lines.txt").write_text("\n".join(lines))
    (folder / "trainset.txt").write_text("a01-000u-00\nc03-000-00\n")
    (folder / "validationset1.txt").write_text("a01-000x-01\n")
    (folder / "testset.txt").write_text("b02-013-00\n")
    return folder


def test_iam_is_read_as_its_authors_publish_it(tmp_path):
    parts = read_iam(iam(tmp_path / "iam"))
    assert {split: [(text, group) for _, text, group in rows] for split, rows in parts.items()} == {
        "train": [("A MOVE to stop .", "a01-000u")],  # the line whose segmentation is marked err is left out
        "validation": [("Mr. Gaitskell", "a01-000x")],
        "test": [("He rose", "b02-013")],
    }
    assert np.array_equal(parts["train"][0][0], page(30, 90, 0))
    (tmp_path / "iam" / "testset.txt").unlink()
    with pytest.raises(Problem, match=r"testset\.txt is not there"):
        read_iam(tmp_path / "iam")


def test_handwriting_finds_iam_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    iam(tmp_path / "iam")
    found = handwriting("iam", 16)
    assert (found.train.texts, found.test.texts) == (("A MOVE to stop .",), ("He rose",))
    assert found.source["kind"] == "originals"


def test_imgur5k_is_cut_upright_from_its_boxes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "dataset_info").mkdir()
    canvas = np.full((60, 80), 255, np.uint8)
    canvas[20:30, 10:50] = 7
    Image.fromarray(canvas).save(tmp_path / "images" / "xyz.jpg", quality=100)
    saved = {
        "index_id": {"xyz": {}, "gone": {}},
        "index_to_ann_map": {"xyz": ["xyz_0", "xyz_1"], "gone": ["gone_0"]},
        "ann_id": {
            "xyz_0": {"word": "hello", "bounding_box": "[30.0, 25.0, 40.0, 10.0, 0.0]"},
            "xyz_1": {"word": ".", "bounding_box": "[30.0, 25.0, 40.0, 10.0, 0.0]"},
            "gone_0": {"word": "x", "bounding_box": "[30.0, 25.0, 40.0, 10.0, 0.0]"},
        },
    }
    for split in ("train", "val", "test"):
        (tmp_path / "dataset_info" / f"imgur5k_annotations_{split}.json").write_text(json.dumps(saved))
    rows = read_imgur5k(tmp_path)["validation"]
    assert [(text, group) for _, text, group in rows] == [("hello", "xyz")]
    assert rows[0][0].shape == (10, 40)
    assert rows[0][0].max() < 40


def test_other_sets_are_refused():
    with pytest.raises(Problem, match="no handwriting"):
        handwriting("cifar10", 16)


def test_the_french_lines_can_be_split_by_document():
    pytest.importorskip("datasets")
    try:
        by_page, by_document = handwriting("handwriting", 16), handwriting("handwriting", 16, "document")
    except Problem:
        pytest.skip("no source of the handwriting can be reached")
    assert [len(part) for part in (by_page.train, by_page.validation, by_page.test)] == [3060, 482, 388]
    assert {*by_page.train.groups} & {*by_page.test.groups}  # hands recur
    assert not {*by_document.train.groups} & {*by_document.test.groups}
    assert torch.is_tensor(by_document.test.x)
