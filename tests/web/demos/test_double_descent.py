"""The theory of double descent on a page: its curves are the study's formulas, and its words what they say."""

import math
import re

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.studies.dynamics.double_descent import theory
from etudes.web.demos import double_descent as demo
from watching import watch

ALL = demo.FEATURES


def test_the_exact_curve_is_the_studys_formula():
    assert demo.exact(30, 50, 0.25, -1.0, demo.NONE) == theory.expected_error(30, 50, ALL, 1.0, 0.25)
    assert demo.exact(30, 50, 0.25, -1.0, demo.CHOSEN) == theory.ridge_error(30, 50, ALL, 1.0, 0.25, 0.1)
    best = theory.best_penalty(30, 50, ALL, 1.0, 0.25)
    assert demo.exact(30, 50, 0.25, -1.0, demo.BEST) == theory.ridge_error(30, 50, ALL, 1.0, 0.25, best)


@pytest.mark.parametrize("way", demo.WAYS)
def test_the_experiment_scatters_around_the_expectation(way):
    found = np.array([[error for _, error in demo.experiment(40, 0.25, -1.0, way, i)] for i in range(12)])
    counts = demo.counts(40)
    for i, p in enumerate(counts):
        if abs(p - 40) > 12:
            law = demo.exact(p, 40, 0.25, -1.0, way)
            assert found[:, i].mean() == pytest.approx(law, rel=0.05, abs=5 * found[:, i].std() / 12**0.5)


def test_an_experiment_is_the_same_whenever_it_is_asked_for():
    assert demo.experiment(30, 0.25, -1.0, demo.NONE, 3) == demo.experiment(30, 0.25, -1.0, demo.NONE, 3)
    assert demo.experiment(30, 0.25, -1.0, demo.NONE, 3) != demo.experiment(30, 0.25, -1.0, demo.NONE, 4)


@pytest.mark.parametrize("n", [20, 50, 100])
def test_features_are_counted_around_the_peak_and_to_the_end(n):
    counts = demo.counts(n)
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (1, ALL)
    assert n in counts


def test_the_words_tell_of_a_peak_where_there_is_one():
    assert "has no bound" in demo.finding(50, 0.25, -1.0, demo.NONE)
    assert "10 at p = 1.1 n and 1 at p = 2 n" in demo.finding(50, 0.25, -1.0, demo.NONE)
    assert demo.finding(50, 0.25, -1.0, demo.BEST).startswith("There is no peak")
    weak = demo.finding(50, 0.25, -2.0, demo.CHOSEN)
    law = [demo.exact(p, 50, 0.25, -2.0, demo.CHOSEN) for p in range(1, ALL + 1)]
    rise = max(b - a for i, a in enumerate(law) for b in law[i:])
    assert f"rises by {rise:.3g}" in weak


@pytest.mark.parametrize("way", demo.WAYS)
@pytest.mark.parametrize(("n", "spread", "power"), [(20, 0.0, demo.POWERS[0]), (100, 2.0, demo.POWERS[2])])
def test_the_corners_of_the_sliders_are_drawn(n, spread, power, way):
    chart, words = demo.show(n, spread, power, way, demo.LAST)
    assert "nan" not in chart
    assert "inf" not in chart
    assert "expected error" in words
    assert chart.count("<polyline") >= 6  # in the wide and in the narrow drawing


def test_the_peak_itself_is_left_out_of_the_picture():
    chart, _ = demo.show(50, 0.5, -1.0, demo.NONE, 0)
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", chart)]
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in points)
    assert demo.exact(50, 50, 0.25, -1.0, demo.NONE) == math.inf


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ((10, 0.5, -1.0, demo.NONE, 0), "take 20 to 100 examples"),
        ((50, 5.0, -1.0, demo.NONE, 0), "a noise of 0 to 2"),
        ((50, 0.5, -9.0, demo.NONE, 0), "take a penalty of"),
        ((50, 0.5, -1.0, "some", 0), "take a penalty of"),
        ((50, 0.5, -1.0, demo.NONE, 51), "an experiment up to 50"),
    ],
)
def test_limits_hold_whatever_the_page_sends(setting, sentence):
    with pytest.raises(Problem, match=sentence):
        demo.show(*setting)


def test_the_penalty_is_switched_on_and_the_peak_goes(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("double-descent")
        page.get_by_text("has no bound").wait_for()
        page.get_by_label(demo.BEST).check()
        page.get_by_text("There is no peak").wait_for()
        page.get_by_label("number input for Examples, n").fill("100")
        page.keyboard.press("Tab")
        page.get_by_text("Test error on 100 examples").first.wait_for()
