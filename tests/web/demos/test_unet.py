"""The demo that segments a picture: the network is the one that was measured, and what is shown is what it says."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.data.masks import masks
from etudes.exhibits.overlay import PALETTE, as_colour, overlay
from etudes.nn.segmentation import predict
from etudes.studies.generative.unet.examples import opened
from etudes.studies.generative.unet.findings import overlap
from etudes.web.demos import networks, ship, unet
from watching import watch


def record_of(root, name):
    return networks.find_records(catalogue.find("unet"), root)[name]


def shown_pictures(html: str) -> list[np.ndarray]:
    codes = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in codes]


@pytest.mark.parametrize(("variant", "metric"), [("unet", "test/iou"), ("classes", "test/class-iou")])
def test_the_network_is_the_one_that_was_measured(root, variant, metric):
    record = record_of(root, f"unet · {variant} · smoke")
    model, cfg, d = unet.network(record)
    assert torch.equal(d.test_x, opened(cfg).test_x)
    found = overlap(predict(model, d.test_x), d.test_y, d.classes)["test/iou"]
    assert found == pytest.approx(record.metrics[metric], abs=0.02)  # trained and measured in bf16
    shown = unet.segment(record, 3)
    assert np.array_equal(shown.picture, d.test_x[3].permute(1, 2, 0).numpy())
    assert np.array_equal(shown.predicted, predict(model, d.test_x[3:4])[0].numpy())
    assert np.array_equal(shown.truth, d.test_y[3].numpy())


def test_objects_are_parts_of_ten_pixels_counted_by_class():
    mask = np.zeros((20, 20), np.uint8)
    mask[0:4, 0:4], mask[6:10, 0:4], mask[15, 0:9] = 1, 1, 1  # the last has nine pixels
    mask[0:4, 4:8] = 2  # touches one of another class
    assert unet.count_objects(mask, 3) == [2, 1]


def test_the_slider_says_how_opaque_the_classes_are():
    picture = np.full((64, 64, 1), 100, np.uint8)
    predicted = np.zeros((64, 64), np.uint8)
    predicted[8:24, 8:24], predicted[40:50, 40:50] = 1, 2
    truth = np.where(predicted == 1, predicted, 0)
    shown = unet.Segmented(picture, predicted, truth, ("ground", "<b>", "other"))
    bare, tinted, full = (shown_pictures(unet.draw(shown, opacity)) for opacity in (0, 0.4, 1))
    assert [len(some) for some in (bare, tinted, full)] == [3, 3, 3]
    assert (bare[0][::4, ::4] == as_colour(picture)).all()
    assert np.abs(tinted[0][::4, ::4].astype(int) - overlay(picture, predicted, 0.4)).max() <= 1
    assert tuple(full[0][4 * 16, 4 * 16]) == PALETTE[1]
    assert (full[2][::4, ::4].any(-1) == (predicted != truth)).all()
    html = unet.draw(shown, 0.4)
    assert "<b>" not in html
    rows = re.findall(r"<tr>(.*?)</tr>", html)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert cells == [["&lt;b&gt;", "1", "1", "1.00"], ["other", "1", "0", "0.00"]]
    alone = unet.draw(unet.Segmented(picture, predicted, None, shown.classes), 0.4)
    assert len(shown_pictures(alone)) == 1
    assert "IoU" not in alone
    assert unet.draw(None, 0.4) == ""


def test_an_upload_is_stretched_and_segmented_as_test_pictures_are(root, tmp_path):
    record = record_of(root, "unet · unet · smoke")
    cells = masks("drawn-cells").test_x[0, 0]
    Image.fromarray((cells // 2).numpy()).resize((640, 512)).save(tmp_path / "dim.png")
    shown = unet.segment_file(record, str(tmp_path / "dim.png"))
    side = record.spec.config["side"]
    assert shown.picture.shape == (side, side, 1)
    assert shown.predicted.shape == (side, side)
    assert (shown.picture.min(), shown.picture.max()) == (0, 255)
    assert shown.truth is None
    (tmp_path / "no.png").write_bytes(b"nothing")
    with pytest.raises(Problem, match="no whole picture"):
        unet.segment_file(record, str(tmp_path / "no.png"))


def test_test_pictures_that_come_along_are_the_studys(tmp_path):
    d = opened(catalogue.find("unet").config(dataset="drawn-cells", tested=48))
    ship.write_masks_excerpt(d, tmp_path)
    found = ship.masks_excerpt("drawn-cells", tmp_path)
    assert torch.equal(found.test_x, d.test_x[: ship.SEGMENTED])
    assert torch.equal(found.test_y, d.test_y[: ship.SEGMENTED])
    assert (found.classes, found.source) == (d.classes, d.source)
    assert json.loads((tmp_path / "drawn-cells.json").read_text())["licence"] == "MIT"
    assert ship.masks_excerpt("membrane", tmp_path) is None


@pytest.mark.parametrize(("variant", "least"), [("unet", 0.6), ("classes", 0.5)])
def test_networks_that_come_along_segment_without_anything_fetched(variant, least, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", "")
    (path,) = ship.TRAINED.glob(f"unet/*/{variant}/*/{networks.WEIGHTS}")
    model, _, d = unet.network(read(path.parent))
    assert overlap(predict(model, d.test_x), d.test_y, d.classes, "")["iou"] > least


def test_a_picture_is_segmented_in_a_browser(browser, server, tmp_path):
    Image.fromarray(masks("drawn-cells").test_x[0, 0].numpy()).save(tmp_path / "cells.png")
    for watched in watch(browser, server, 1280):
        page = watched.open("unet")
        page.get_by_text("the truth").wait_for()  # a test picture is there at once
        first = page.locator(".strip.large img").first
        before = first.get_attribute("src")
        slider = page.get_by_label("number input for How opaque the classes are")
        slider.fill("0")
        page.keyboard.press("Tab")
        page.wait_for_function("before => document.querySelector('.strip.large img').src !== before", arg=before)
        page.get_by_label("number input for Or test picture number").fill("2")
        page.get_by_role("button", name="Segment the test picture").click()
        page.get_by_role("columnheader", name="IoU").wait_for()
        page.locator("input[type=file]").set_input_files(tmp_path / "cells.png")
        page.get_by_text("the truth").wait_for(state="detached")
        assert page.locator(".strip.large img").count() == 1
        assert page.get_by_role("columnheader", name="objects").count() == 1
