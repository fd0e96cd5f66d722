"""Measured numbers over the values of a Config field."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports import words
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    config_value,
    ends,
    groups,
    headline,
    palette,
    slug,
)
from etudes.reports.look import COLOURS, WIDTH, Style, colour, data, place, scale, side_by_side
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

APART = 7  # pixels at most between groups that share a value


def against(
    field: str, *metrics: str, by: str = "", title: str = "", x: str = "", key: str = "", log: bool = False
) -> Chart:
    """Each metric over the variants' values of a Config field, with a line for each value of the field `by`.

    Several fields, as in `by="kind, q"`, give a line for each combination of their values. `x` and `key` are what the
    two are called.
    """
    return Chart(
        name=slug(*metrics, "against", field),
        title=title or headline(metrics, f"against {x or words.spell(field)}"),
        draw=lambda report: _against(
            report, field, metrics, (by, x or words.spell(field), key or words.spell(by)), log
        ),
        says="Lines join the means over seeds, with one standard deviation to each side; circles are single seeds."
        + (" Those that share a value stand a little apart." if by else ""),
    )


def _against(
    report: Report, field: str, metrics: Sequence[str], named: tuple[str, str, str], log: bool
) -> "altair.Chart":
    import altair

    by, across, key = named

    check_metrics(metrics, report.metrics, report)
    table = [row for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    places = _places(report, table, field, by)
    values = sorted({value for value, _ in places.values()})
    style = palette(report, by) if by else {"": Style(COLOURS[0])}
    style = {group: style[group] for group in style if group in {group for _, group in places.values()}}
    look = [colour("group", style, title=key, legend=bool(by))]
    columns = min(len(metrics), 2)
    width = (WIDTH - 70 * (columns - 1)) // columns
    axis, gap = place(values, width)
    x = altair.X(title=across, **axis)
    apart = min(APART, 0.6 * gap / len(style))
    panels = []
    for metric in metrics:
        means = [{**_place(row, places), **ends(report, row, metric)} for row in table if metric in row["metrics"]]
        seeds = [
            {**_place(t, places), "seed": t["seed"], "value": t["metrics"][metric]}
            for t in report.trials
            if metric in t["metrics"]
        ]
        if log:  # whose axis cannot show a deviation below zero
            means = [{**row, "low": max(row["low"], min(seed["value"] for seed in seeds))} for row in means]
        y = altair.Y(
            "value:Q", title=words.of(report.definition, metric), **scale([row["value"] for row in seeds], log)
        )
        layers = []
        for i, group in enumerate(style):
            shift = apart * (i - (len(style) - 1) / 2)  # so that the spread of each can be seen
            mean = data([row for row in means if row["group"] == group])
            seed = data([row for row in seeds if row["group"] == group])
            layers += [
                mean.mark_line(strokeWidth=1.5, xOffset=shift).encode(x, y, *look),
                mean.mark_rule(strokeWidth=1.5, xOffset=shift).encode(x, altair.Y("low:Q"), *look, y2="high:Q"),
                seed.mark_point(size=22, strokeWidth=1, opacity=0.6, xOffset=shift, style="seed").encode(x, y, *look),
                mean.mark_point(filled=True, size=42, opacity=1, xOffset=shift).encode(x, y, *look),
            ]
        panels.append(altair.layer(*layers).properties(width=width, height=270 if columns == 1 else 200))
    return side_by_side(panels, columns)


def _places(report: Report, table: Sequence[Mapping[str, Any]], field: str, by: str) -> dict[str, tuple[Any, str]]:
    """{variant: (value of `field`, its group)}. Raises Problem where two variants share a place."""
    named = groups(report, by) if by else {}
    places: dict[str, tuple[Any, str]] = {}
    for row in table:
        place = (config_value(row, field), named.get(row["variant"], ""))
        for name, other in places.items():
            if place == other:
                more = "choose another `by`" if by else "name as `by` a field in which they differ"
                raise Problem(f"variants {name} and {row['variant']} have the same {field}; {more}")
        places[row["variant"]] = place
    return places


def _place(row: Mapping[str, Any], places: Mapping[str, tuple[Any, str]]) -> Row:
    value, group = places[row["variant"]]
    return {"variant": row["variant"], "x": value, "group": group}
