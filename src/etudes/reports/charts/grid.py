"""A measured number over two Config fields, as a table whose cells are shaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports import words
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    check_variants,
    config_value,
    headline,
    slug,
    value_label,
)
from etudes.reports.look import data
from etudes.reports.numbers import number
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

CELL = 96, 52  # pixels
LETTERS, DIGITS = 13, 3  # pixels of a cell's number, and its digits


def grid(
    metric: str, x: str, y: str, *, title: str = "", label: str = "", says: str = "", variants: Sequence[str] = ()
) -> Chart:
    """The metric's mean over seeds in a cell for each pair of values of the Config fields `x` (columns) and `y` (rows).

    Values are sorted where all are numbers, and else stand in the order of the variants. `variants` keeps those named,
    in their order; it is needed where two variants would share a cell. `label` names the number beside the shades, and
    `says` adds to the caption. A pair without a variant, or without its runs, is blank.
    """
    return Chart(
        name=slug(metric, "over", x, y),
        title=title or headline([metric], f"by {words.spell(y)} and {words.spell(x)}"),
        draw=lambda report: _grid(report, metric, x, y, label or words.of(report.definition, metric), variants),
        says=f"Means over seeds.{says and ' ' + says}",
    )


def _grid(report: Report, metric: str, x: str, y: str, label: str, variants: Sequence[str]) -> "altair.LayerChart":
    import altair

    check_metrics([metric], report.metrics, report)
    check_variants(variants, report)
    rows = {row["variant"]: row for row in report.table if metric in row["metrics"]}
    names = [name for name in variants or rows if name in rows]
    if not names:
        raise Problem(f"no run of {' or '.join(variants)} measured {metric}; run them to draw this chart")
    columns, lines = ([config_value(rows[name], field) for name in names] for field in (x, y))
    values = [rows[name]["metrics"][metric]["mean"] for name in names]
    _check_pairs(names, list(zip(columns, lines, strict=True)), x, y)
    middle = (min(values) + max(values)) / 2
    cells: list[Row] = [
        {"x": value_label(a), "y": value_label(b), "value": v, "label": number(v, DIGITS), "dark": v > middle}
        for a, b, v in zip(columns, lines, values, strict=True)
    ]
    across, down = _order(columns), _order(lines)
    x_axis = altair.Axis(labelAngle=0, orient="top", domain=False, ticks=False, grid=False, labelPadding=6)
    y_axis = altair.Axis(domain=False, ticks=False, grid=False, labelPadding=8)
    place = (
        altair.X("x:O", title=words.spell(x), sort=across, axis=x_axis),
        altair.Y("y:O", title=words.spell(y), sort=down, axis=y_axis),
    )
    shade = altair.Color(
        "value:Q",
        scale=altair.Scale(scheme="blues", domain=[min(values), max(values)], zero=False, nice=False),
        legend=altair.Legend(
            title=label, orient="right", direction="vertical", gradientLength=min(200, CELL[1] * len(down)), tickCount=4
        ),
    )
    # On shades of blue whatever the page, and so none of the inks that a page changes.
    ink = altair.condition(altair.datum.dark, altair.value("#ffffff"), altair.value("#000000"))
    source = data(cells)
    shades = source.mark_rect(stroke="white", strokeWidth=2).encode(*place, shade)
    numbers = source.mark_text(fontSize=LETTERS).encode(*place, color=ink, text="label:N")
    width, height = CELL[0] * len(across), CELL[1] * len(down)
    return altair.layer(shades, numbers).properties(width=width, height=height)


def _check_pairs(names: Sequence[str], pairs: Sequence[tuple[Any, Any]], x: str, y: str) -> None:
    first: dict[tuple[Any, Any], str] = {}
    for name, pair in zip(names, pairs, strict=True):
        if pair in first:
            raise Problem(
                f"variants {first[pair]} and {name} have the same {x} and {y}; keep one of them by `variants`"
            )
        first[pair] = name


def _order(values: Sequence[Any]) -> list[str]:
    """The distinct values as labels: numbers sorted, words as they come."""
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return [value_label(value) for value in dict.fromkeys(sorted(values) if numeric else values)]
