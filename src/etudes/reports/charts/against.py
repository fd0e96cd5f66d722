"""Measured numbers over the values of a Config field."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    config_value,
    ends,
    headline,
    join_labels,
    select_variants,
    slug,
    spell,
)
from etudes.reports.look import WIDTH, channels, data, place, scale, side_by_side
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

APART = 7  # pixels at most between groups that share a value


def against(
    field: str, *metrics: str, by: str = "", title: str = "", log: bool = False, variants: Sequence[str] = ()
) -> Chart:
    """Each metric over the variants' values of a Config field, with a line for each value of the field `by`.

    Several fields, as in `by="kind, q"`, give a line for each combination of their values. `variants` keeps those
    named.
    """
    return Chart(
        name=slug(*metrics, "against", field),
        title=title or headline(metrics, f"against {spell(field)}"),
        draw=lambda report: _against(report, field, metrics, by, log, variants),
        says="Lines join the means over seeds, with one standard deviation to each side; circles are single seeds."
        + (" Those that share a value stand a little apart." if by else ""),
    )


def _against(
    report: Report, field: str, metrics: Sequence[str], by: str, log: bool, variants: Sequence[str]
) -> "altair.Chart":
    import altair

    check_metrics(metrics, report.metrics, report)
    shown = select_variants(report, variants)
    table = [row for row in report.table if row["variant"] in shown and any(m in row["metrics"] for m in metrics)]
    places = _places(table, field, by)
    values = sorted({value for value, _ in places.values()})
    groups = [join_labels(group) for group in sorted({group for _, group in places.values()})]
    colour, _ = channels("group", groups, title=spell(by) if by else None, legend=bool(by))
    columns = min(len(metrics), 2)
    width = (WIDTH - 60 * (columns - 1)) // columns
    axis, gap = place(values, width)
    x = altair.X(title=spell(field), **axis)
    apart = min(APART, 0.6 * gap / len(groups))
    panels = []
    for metric in metrics:
        means = [{**_place(row, places), **ends(row["metrics"][metric])} for row in table if metric in row["metrics"]]
        trials = [t for t in report.trials if t["variant"] in places and metric in t["metrics"]]
        seeds = [{**_place(t, places), "value": t["metrics"][metric]} for t in trials]
        if log:  # whose axis cannot show a deviation below zero
            means = [{**row, "low": max(row["low"], min(seed["value"] for seed in seeds))} for row in means]
        y = altair.Y("value:Q", title=spell(metric), **scale([row["value"] for row in seeds], log))
        layers = []
        for i, group in enumerate(groups):
            shift = apart * (i - (len(groups) - 1) / 2)  # so that the spread of each can be seen
            mean = data([row for row in means if row["group"] == group])
            seed = data([row for row in seeds if row["group"] == group])
            layers += [
                mean.mark_line(strokeWidth=1.5, xOffset=shift).encode(x, y, colour),
                mean.mark_rule(strokeWidth=1.5, xOffset=shift).encode(x, altair.Y("low:Q"), colour, y2="high:Q"),
                seed.mark_point(size=22, strokeWidth=1, opacity=0.6, xOffset=shift).encode(x, y, colour),
                mean.mark_point(filled=True, size=42, opacity=1, xOffset=shift).encode(x, y, colour),
            ]
        panels.append(altair.layer(*layers).properties(width=width, height=270 if columns == 1 else 200))
    return side_by_side(panels, columns)


def _places(table: Sequence[Mapping[str, Any]], field: str, by: str) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """{variant: (value of `field`, values of `by`)}. Raises Problem where two variants share a place."""
    places: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    for row in table:
        place = (config_value(row, field), tuple(config_value(row, name) for name in by.split(", ") if name))
        for name, other in places.items():
            if place == other:
                more = "choose another `by`" if by else "name as `by` a field in which they differ"
                raise Problem(f"variants {name} and {row['variant']} have the same {field}; {more}")
        places[row["variant"]] = place
    return places


def _place(row: Mapping[str, Any], places: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> Row:
    value, group = places[row["variant"]]
    return {"x": value, "group": join_labels(group)}
