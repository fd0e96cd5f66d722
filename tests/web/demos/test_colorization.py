"""The demo of colours: what it shows is what the networks say, and the page."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.data.colour import lab
from etudes.web.demos import colorization, networks
from watching import watch


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The pairs of the smallest networks, and those that come along."""
    from etudes.sweep.local import perform
    from etudes.train.precision import resolve

    folder, study = tmp_path_factory.mktemp("runs"), catalogue.find("colorization")
    perform(study, study.plan("smoke", seeds=1, precision=resolve(study, "auto")), folder)
    return colorization.pairs(folder)


def test_networks_go_in_pairs_of_one_kind(known):
    assert {"photographs · smoke", "drawn shapes · smoke", f"drawn shapes · {networks.ALONG}"} == set(known)
    assert colorization.first_pair(known) == f"drawn shapes · {networks.ALONG}"
    for classes, squares in known.values():
        assert colorization.painter(classes).centres is not None
        assert colorization.painter(squares).centres is None


def test_the_odds_are_those_at_the_place(known):
    classes, _ = known["drawn shapes · smoke"]
    painter, x = colorization.painter(classes), colorization.example(classes, 3)
    whole = painter.odds(lab(x)[:, :1])[0]
    assert whole.shape[1:] == (8, 8)
    for across, down, row, column in ((0, 0, 0, 0), (1, 0.5, 4, 7), (0.3, 0.99, 7, 2)):
        odds, cell = colorization.place(painter, x, across, down)
        assert torch.equal(odds, whole[:, row, column])
        assert cell.nonzero().tolist() == [[2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
    with pytest.raises(Problem, match="between 0 and 1"):
        colorization.place(painter, x, 1.2, 0)


def test_the_patches_are_the_most_probable_colours_first(known):
    painter = colorization.painter(known["drawn shapes · smoke"][0])
    odds = torch.zeros(len(painter.centres))
    odds[7], odds[3] = 0.7, 0.3
    (_, first), (_, second), *_ = colorization.swatches(painter, odds, 60)
    a, b = painter.centres[7].tolist()
    assert first == f"70 %: a {a:.0f}, b {b:.0f}"
    assert second.startswith("30 %")


def test_the_true_colours_are_shown_of_a_test_picture_alone(known):
    pair = known["photographs · smoke"]
    x = colorization.example(pair[0], 0)
    shown, patches = colorization.answer(pair, x, True, 0.5, 0.5)
    assert shown.count("<img") == 7
    assert "true colours" in shown
    assert patches.count("<img") == colorization.TOP
    assert "true colours" not in colorization.answer(pair, x, False, 0.5, 0.5)[0]


def test_the_networks_that_come_along_show_one_of_two_colours_and_their_mean(known):
    classes, squares = known[f"drawn shapes · {networks.ALONG}"]
    assert classes.metrics["test/away-mode"] < 0.5 * squares.metrics["test/away"]
    assert classes.spec.config == dataclasses.asdict(catalogue.find("colorization").config(**classes.spec.config))


def test_a_picture_is_coloured(browser, server, tmp_path):
    for watched in watch(browser, server, 1280):
        page = watched.open("colorization")
        page.get_by_text("the true colours").wait_for()
        page.get_by_text("least squares", exact=True).wait_for()
        path = tmp_path / "picture.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(path)
        page.locator("input[type=file]").set_input_files(path)
        page.get_by_text("the true colours").wait_for(state="detached")
        page.get_by_label("number input for A place").fill("0.1")
        page.keyboard.press("Tab")
        page.wait_for_timeout(500)
        wrong = tmp_path / "wrong.png"
        wrong.write_bytes(b"not a picture")
        watched.reload()
        page.locator("input[type=file]").set_input_files(wrong)
        page.get_by_text("no whole picture").wait_for()
