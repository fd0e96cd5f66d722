"""The look that all charts share: colours, axes, legends, titles."""

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports.numbers import number

if TYPE_CHECKING:
    import altair

# Okabe and Ito's palette for the colour-blind, in the order of best contrast; without black and yellow, which vanish
# on a dark or on a white page. What shares a colour differs in its line and its mark.
GREY = "#808080"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", GREY)
DASHES = ([1, 0], [5, 2.5], [1.5, 2], [7, 2, 1.5, 2])
SHAPES = ("circle", "square", "triangle-up", "diamond")
BROKEN = [4, 3]
INK = "#222222"
WIDTH = 560  # pixels of a chart's panels together
LETTER = 6.2  # pixels of a letter in a label, about
TITLE = 72  # letters of a title's line

LOOK: Mapping[str, Any] = {
    "font": "sans-serif",
    "aria": False,  # a label for each of thousands of points; the page describes the whole picture instead
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "gridColor": "#e4e4e4",
        "domainColor": "#999999",
        "tickColor": "#999999",
    },
    "axisQuantitative": {"labelOverlap": True, "labelFlush": False},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "labelLimit": 220,
        "titleLimit": 420,
        "orient": "top",  # beside the panels it would lie over the numbers there, and need a wider page
        "direction": "horizontal",
        "columnPadding": 18,
        "offset": 10,
    },
    "header": {"labelColor": INK, "labelFontSize": 11.5, "labelFontWeight": "bold", "labelAnchor": "start"},
    "title": {
        "color": INK,
        "fontSize": 14,
        "fontWeight": "bold",
        "subtitleColor": "#666666",
        "subtitleFontSize": 11.5,
        "offset": 12,
    },
    "concat": {"spacing": 26},
}


def frame(chart: "altair.Chart", title: str, subtitle: str) -> "altair.Chart":
    """The chart with its title, what it was measured on, and the look that all charts share."""
    import altair

    lines = textwrap.wrap(title, TITLE)
    words = altair.TitleParams(
        text=lines if len(lines) > 1 else title, subtitle=subtitle, anchor="start", frame="bounds"
    )
    return chart.properties(title=words, background="white", padding=8).configure(**LOOK)


def scale(values: Sequence[float], log: bool) -> dict[str, Any]:
    """The scale and axis of numbers: not forced to zero, or logarithmic with few lines at round numbers."""
    import altair

    if not log:
        return {"scale": altair.Scale(zero=False)}
    low, high = min(values), max(values)
    if low <= 0:
        raise Problem(f"a logarithmic axis cannot show {number(low)}; leave out log=True")
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if math.log10(high / low) > 2 else (1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    within = [tick for tick in ticks if low <= tick <= high]
    within = within[:: math.ceil(len(within) / 7) or 1] or [low, high]
    plain = min(within) >= 1e-4 and max(within) < 1e5
    axis = altair.Axis(values=within, format="~g" if plain else "~s" if min(within) >= 1 else ".0e")
    return {"scale": altair.Scale(type="log", domain=[0.9 * low, 1.1 * high], nice=False), "axis": axis}


def place(values: Sequence[Any], width: int) -> tuple[dict[str, Any], float]:
    """The x channel "x" of sorted values, as keywords, and the pixels between the closest two on an axis so wide.

    Numbers lie where they are, on a logarithmic axis where they span more than a decade; words stand side by side.
    """
    import altair

    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        axis = altair.Axis(grid=False, labelAngle=0)
        return {"shorthand": "x:O", "axis": axis, "sort": list(values)}, width / len(values)
    log = min(values) > 0 and max(values) > 10 * min(values)
    places = [math.log(value) if log else value for value in values]
    room = 20  # pixels at both ends
    reach = (places[-1] - places[0]) or 1.0
    gap = min((b - a for a, b in itertools.pairwise(places)), default=reach) / reach * (width - 2 * room)
    axis = altair.Axis(grid=False, values=list(values), labelExpr="format(datum.value, '~g')", labelOverlap="greedy")
    kind = altair.Scale(type="log" if log else "linear", zero=False, nice=False, padding=room)
    return {"shorthand": "x:Q", "axis": axis, "scale": kind}, gap


def side_by_side(panels: Sequence[Any], columns: int, spacing: int = 26) -> "altair.Chart":
    import altair

    return panels[0] if len(panels) == 1 else altair.concat(*panels, columns=columns, spacing=spacing)


def with_heading(panel: Any, heading: str) -> Any:
    """One of several panels with its heading, if it has one."""
    import altair

    words = altair.TitleParams(heading, fontSize=11.5, offset=6, anchor="start", frame="group")
    return panel.properties(title=words) if heading else panel


def data(rows: list[dict[str, Any]]) -> "altair.Chart":
    import altair

    source = altair.InlineData(values=[])
    source.values = rows  # set afterwards, as the constructor takes seconds to check each of thousands of numbers
    return altair.Chart(source)


@dataclass(frozen=True)
class Style:
    """How the marks of one name look: their colour, their line, their shape."""

    colour: str
    dash: Sequence[float] = (1, 0)
    shape: str = "circle"


def styles(groups: Mapping[str, str]) -> dict[str, Style]:
    """A style for each name of {name: group}: one colour a group; those that share a colour differ in the rest."""
    places = {group: i % len(COLOURS) for i, group in enumerate(dict.fromkeys(groups.values()))}
    found: dict[str, Style] = {}
    before: Counter[int] = Counter()
    for name, group in groups.items():
        colour = places[group]
        turn = before[colour]
        before[colour] += 1
        found[name] = Style(COLOURS[colour], DASHES[turn % len(DASHES)], SHAPES[turn % len(SHAPES)])
    return found


def colour(field: str, looks: Mapping[str, Style], *, title: str | None = None, legend: bool = True) -> "altair.Color":
    """The colours of the names that stand in `field`, and their legend."""
    import altair

    scale = altair.Scale(domain=list(looks), range=[style.colour for style in looks.values()])
    return altair.Color(f"{field}:N", scale=scale, legend=_legend(field, looks, title) if legend else None)


def dash(
    field: str, looks: Mapping[str, Style], *, title: str | None = None, legend: bool = True
) -> "altair.StrokeDash":
    """The lines of the names that stand in `field`."""
    import altair

    scale = altair.Scale(domain=list(looks), range=[list(style.dash) for style in looks.values()])
    return altair.StrokeDash(f"{field}:N", scale=scale, legend=_legend(field, looks, title) if legend else None)


def shape(field: str, looks: Mapping[str, Style], *, legend: bool = False) -> "altair.Shape":
    """The shapes of the marks of the names that stand in `field`."""
    import altair

    scale = altair.Scale(domain=list(looks), range=[style.shape for style in looks.values()])
    return altair.Shape(f"{field}:N", scale=scale, legend=_legend(field, looks, None) if legend else None)


def _legend(field: str, names: Iterable[str], title: str | None) -> "altair.Legend":
    """In as many columns as the chart's width has room for; of lines, unless the field is a group of marks."""
    import altair

    room = max(LETTER * len(name) for name in names) + 46
    columns = max(1, int(WIDTH / room))
    if field == "group":
        return altair.Legend(title=title, symbolSize=90, columns=columns)
    return altair.Legend(title=title, symbolSize=400, symbolType="stroke", columns=columns)
