"""The demo that reads lines: its functions, and its page in a browser."""

import numpy as np
import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.web.demos import networks, ship
from etudes.web.demos import ocr_ctc as demo
from watching import LONG, watch


@pytest.fixture(scope="module")
def record(root):
    return networks.find_records(catalogue.find("ocr-ctc"), root)["ocr-ctc · strings · smoke"]


@pytest.fixture(scope="module")
def shipped():
    found = networks.find_records(catalogue.find("ocr-ctc"), ship.TRAINED / "none")
    return found[f"ocr-ctc · strings · {networks.ALONG}"]


def test_a_page_of_ink_becomes_a_line_of_its_height():
    grey = np.full((60, 200), 240, np.uint8)
    grey[20:50, 30:40] = grey[20:50, 100:110] = 10
    line = demo.line_picture(grey, 16, 8)
    assert line.shape == (16, round(80 * 8 / 30) + 2 * demo.MARGIN)
    assert (line[:4] == 255).all()
    assert (line[12:] == 255).all()
    assert line[4:12, demo.MARGIN : demo.MARGIN + 2].max() < 60
    assert np.array_equal(line, demo.line_picture(255 - grey, 16, 8))  # white on black
    with pytest.raises(Problem, match="nothing is written"):
        demo.line_picture(np.full((60, 200), 240, np.uint8), 16, 8)


def test_the_pad_is_read_on_white():
    pixels = np.zeros((10, 20, 4), np.uint8)
    pixels[2:5, 3:6] = (0, 0, 0, 255)
    grey = demo.read_pad({"composite": pixels})
    assert (grey[2:5, 3:6] == 0).all()
    assert grey[0, 0] == 255
    with pytest.raises(Problem, match="the pad is empty"):
        demo.read_pad(None)


def test_typed_digits_are_pasted_and_others_refused(record):
    line = demo.typed_line(record, "33", 0)
    assert line.shape[0] == 16
    assert np.array_equal(line, demo.typed_line(record, "33", 0))
    for text in ("", "a1"):
        with pytest.raises(Problem, match="letters that this network knows: 0123456789"):
            demo.typed_line(record, text, 0)


def test_a_path_is_joined_before_blanks_are_left_out():
    way = demo._collapse(["3", "3", "", "3", "", " "], "33 ", "3")
    assert [part.split("<")[0] for part in way.split("<code>")[1:]] == ["33·3·␣", "3·3·␣", "33␣", "3"]


def test_what_comes_along_reads_digits(shipped):
    texts = ("3344", "90210", "17", "558")
    read = [demo.read(shipped, demo.typed_line(shipped, text, seed))[1] for seed in range(5) for text in texts]
    right = [f"<code>{text}</code>" in way for way, text in zip(read, texts * 5, strict=True)]
    assert sum(right) >= 16


def test_a_line_is_typed_and_written_in_a_browser(browser, server):
    for watched in watch(browser, server, 1280):
        page = watched.open("ocr-ctc")
        page.get_by_text("It knows nothing but: 0123456789").wait_for()
        page.get_by_text("Equal neighbours joined").wait_for()  # a text is read before anybody asks
        page.get_by_label("Network", exact=True).first.click()
        page.get_by_role("option", name=networks.ALONG).click()
        page.get_by_text("it comes with études").wait_for()
        page.get_by_label("Or type a text").fill("3344")
        page.get_by_role("button", name="Read the typed text").click()
        page.get_by_text("Equal neighbours joined").wait_for(timeout=LONG)
        page.get_by_role("img", name="the line as the network sees it").wait_for()
        assert page.locator("dl.collapse code").nth(2).inner_text() == "3344"
        page.get_by_role("button", name="Read what is written").click()
        page.locator(".toast-body").get_by_text("nothing is written there").wait_for()
        canvas = page.locator("canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        middle = box["y"] + box["height"] / 2
        for x in (0.3, 0.5):  # two ones
            page.mouse.move(box["x"] + x * box["width"], middle - 40)
            page.mouse.down()
            page.mouse.move(box["x"] + x * box["width"], middle + 40, steps=8)
            page.mouse.up()
        page.wait_for_timeout(500)
        page.get_by_role("button", name="Read what is written").click()
        page.wait_for_function("document.querySelectorAll('dl.collapse code')[2].innerText != '3344'", timeout=LONG)


def test_without_a_network_it_offers_to_train_one(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("ocr-ctc")
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("No network is trained yet").wait_for()
