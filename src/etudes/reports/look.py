"""The look that all charts share: colours, axes, legends, titles."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports.numbers import number

if TYPE_CHECKING:
    import altair

# Okabe and Ito's palette for the colour-blind, in the order of best contrast; without black and yellow, which vanish
# on a dark or on a white page. Past its end the colours repeat with broken lines.
GREY = "#808080"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", GREY)
DASHES = ([1, 0], [5, 2.5], [1.5, 2])
SHAPES = ("circle", "square", "triangle-up")
BROKEN = [4, 3]
INK = "#222222"
WIDTH = 560  # pixels of a chart's panels together

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
        "orient": "right",
        "offset": 14,
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

    words = altair.TitleParams(text=title, subtitle=subtitle, anchor="start", frame="bounds")
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


def side_by_side(panels: Sequence[Any], columns: int) -> "altair.Chart":
    import altair

    return panels[0] if len(panels) == 1 else altair.concat(*panels, columns=columns)


def data(rows: list[dict[str, Any]]) -> "altair.Chart":
    import altair

    source = altair.InlineData(values=[])
    source.values = rows  # set afterwards, as the constructor takes seconds to check each of thousands of numbers
    return altair.Chart(source)


def channels(
    field: str,
    names: Sequence[str],
    *,
    among: Sequence[str] = (),
    title: str | None = None,
    reference: str = "",
    legend: bool = True,
) -> list[Any]:
    """Colour and line style, in which the i-th of `names` always has the i-th colour; broken past the palette's end.

    The legend lists those `among` the names. The reference is grey and broken.
    """
    import altair

    styles = {name: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % 3]) for i, name in enumerate(names)}
    if reference:
        styles[reference] = (GREY, BROKEN)
    domain = [name for name in styles if name in (among or names)]
    key = _legend(field, title) if legend else None
    colours, dashes = zip(*(styles[name] for name in domain), strict=True)
    return [
        altair.Color(f"{field}:N", scale=altair.Scale(domain=domain, range=list(colours)), legend=key),
        altair.StrokeDash(f"{field}:N", scale=altair.Scale(domain=domain, range=list(dashes)), legend=key),
    ]


def shape(field: str, names: Sequence[str], *, among: Sequence[str]) -> "altair.Shape":
    """The shape of a mark, by which two of `names` that share a colour past the palette's end differ."""
    import altair

    shapes = {name: SHAPES[i // len(COLOURS) % 3] for i, name in enumerate(names) if name in among}
    kinds = altair.Scale(domain=list(shapes), range=list(shapes.values()))
    return altair.Shape(f"{field}:N", scale=kinds, legend=_legend(field, None))


def _legend(field: str, title: str | None) -> "altair.Legend":
    import altair

    if field == "group":
        return altair.Legend(title=title, symbolSize=90)
    return altair.Legend(title=title, symbolSize=400, symbolType="stroke")
