import re

import gradio as gr
import pytest

from etudes.core.errors import Problem
from etudes.web.demos import DEMOS, look

SCRIPT = "<script>alert(1)</script>"


def test_importing_the_list_imports_neither_gradio_nor_torch():
    import subprocess
    import sys

    code = "import sys, etudes.web.demos as d; assert d.DEMOS; print({'gradio', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_every_demo_has_its_own_address():
    slugs = [demo.slug for demo in DEMOS]
    assert len(set(slugs)) == len(slugs) == 17


@pytest.mark.parametrize(
    "html",
    [
        look.loading_note(SCRIPT),
        look.bars({SCRIPT: 0.5}, SCRIPT),
        look.strip([("data:,", SCRIPT)]),
        look.strip([("data:,", SCRIPT)], large=True),
        look.heat_map([[0.5]], [SCRIPT], [SCRIPT], SCRIPT),
        look.plain_table(SCRIPT, [SCRIPT], [[SCRIPT]]),
        look.lines([(SCRIPT, "red", [0, 1], [0, 1], False)], says=SCRIPT, x_axis=SCRIPT, y_axis=SCRIPT),
    ],
)
def test_what_is_shown_is_text(html):
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_heat_map_says_in_hundredths_what_it_shades():
    html = look.heat_map([[0.0, 1.0], [0.126, 0.5]], ["a", "b"], ["x", "y"], "s")
    assert re.findall(r"--share:([\d.]+)\">(\d+)<", html) == [
        ("0.000", "0"),
        (f"{look.DARKEST:.3f}", "100"),
        (f"{0.126 * look.DARKEST:.3f}", "13"),
        (f"{0.5 * look.DARKEST:.3f}", "50"),
    ]
    assert re.findall(r'scope="(\w+)">(\w)<', html) == [("col", "x"), ("col", "y"), ("row", "a"), ("row", "b")]
    assert "turned" not in html
    assert "turned" in look.heat_map([[1.0]], ["a"], ["word"], "s")


def test_curves_lie_where_their_numbers_are():
    html = look.lines([("a", "red", [0, 10], [0, 5], False)], says="s", x_axis="x", y_axis="y")
    points = html.split('points="')[1].split('"')[0].split()
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points)
    assert x0 == 58
    assert x1 == 640 - 12
    assert y0 == 260 - 36
    assert y1 == 12


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show():
    html = look.lines([("a", "red", [0, 1, 2], [0, 1, 10], False)], says="s", x_axis="x", y_axis="y", log=True)
    assert len(html.split('points="')[1].split('"')[0].split()) == 2


def test_a_problem_becomes_one_sentence_as_text():
    @look.explain
    def work():
        raise Problem(f"no {SCRIPT}; do this")

    @look.explain
    def stream():
        yield 1
        raise Problem(f"no {SCRIPT}; do this")

    with pytest.warns(UserWarning, match="no &lt;script&gt;"):
        assert work() == gr.skip()  # which leaves all that is shown as it is
    found = stream()
    assert next(found) == 1
    with pytest.warns(UserWarning, match="do this"):
        assert list(found) == [gr.skip()]


def labels(html: str) -> list[str]:
    wide = html.split("</svg>")[0]
    return [text.split("</text>")[0].split(">")[-1] for text in wide.split("<text")[1:-2]]


@pytest.mark.parametrize(
    ("ys", "log", "shown"),
    [
        ([0, 8.02], False, ["0", "2", "4", "6", "8"]),
        ([0.0009, 2.1], True, ["0.001", "0.01", "0.1", "1"]),
        ([0.021, 0.21], True, ["0.05", "0.1", "0.2"]),
        ([0.21, 0.31], True, ["0.22", "0.24", "0.26", "0.28", "0.3"]),
    ],
)
def test_axes_have_round_numbers(ys, log, shown):
    html = look.lines([("a", "red", [0, 3950], ys, False)], says="s", x_axis="x", y_axis="y", log=log)
    assert labels(html) == [*shown, "0", "1,000", "2,000", "3,000"]


def test_texts_are_limited_whatever_the_page_allowed():
    assert look.limit("abc", 3) == "abc"
    with pytest.raises(Problem, match="4 characters; give at most 3"):
        look.limit("abcd", 3)


def test_a_chart_is_drawn_for_a_wide_and_for_a_narrow_page():
    html = look.lines(
        [("a", "red", [0, 1], [0, 5], False), ("", "red", [0, 1], [1, 1], True)],
        says="s",
        x_axis="x",
        y_axis="y",
        until=10,
    )
    wide, narrow = html.split("</svg>")[:2]
    assert "0 0 640 260" in wide
    assert "0 0 340 240" in narrow
    assert all(drawing.count("<polyline") == 2 for drawing in (wide, narrow))
    assert html.count("<i style") == 1  # what has no name is not in the legend
    assert all(">10</text>" in drawing for drawing in (wide, narrow))
