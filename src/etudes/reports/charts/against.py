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
from etudes.reports.look import COLOURS, WIDTH, Style, colour, data, place, scale, side_by_side, styles
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

APART = 7  # pixels at most between groups that share a value


def against(
    field: str,
    *metrics: str,
    by: str = "",
    title: str = "",
    x: str = "",
    key: str = "",
    log: bool = False,
    together: str = "",
) -> Chart:
    """Each metric over the variants' values of a Config field, with a line for each value of the field `by`.

    Several fields, as in `by="kind, q"`, give a line for each combination of their values. `x` and `key` are what the
    two are called. `together`, in place of `by`, names the axis of one panel for all metrics, with a line for each, of
    the variants that measured them all.
    """
    called = (by, x or words.spell(field), key or words.spell(by))
    return Chart(
        name=slug(*metrics, "against", field),
        title=title or headline(metrics, f"against {called[1]}"),
        draw=lambda report: (
            _together(report, field, metrics, called, together, log)
            if together
            else _against(report, field, metrics, called, log)
        ),
        says="Lines join the means over seeds, with one standard deviation to each side; circles are single seeds."
        + (" Those that share a value stand a little apart." if by or together else ""),
    )


def _against(
    report: Report, field: str, metrics: Sequence[str], named: tuple[str, str, str], log: bool
) -> "altair.Chart":
    by, across, key = named
    check_metrics(metrics, report.metrics, report)
    table = [row for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    places = _places(report, table, field, by)
    style = palette(report, by) if by else {"": Style(COLOURS[0])}
    style = {group: style[group] for group in style if group in {group for _, group in places.values()}}
    columns = min(len(metrics), 2)
    width = (WIDTH - 70 * (columns - 1)) // columns
    values = sorted({value for value, _ in places.values()})
    look = (style, key, bool(by))
    panels = []
    for metric in metrics:
        rows = _rows(report, table, metric, places)
        heading = words.of(report.definition, metric)
        panel = _panel(rows, values, (across, heading), look, width, log)
        panels.append(panel.properties(width=width, height=270 if columns == 1 else 200))
    return side_by_side(panels, columns)


def _together(
    report: Report, field: str, metrics: Sequence[str], named: tuple[str, str, str], axis: str, log: bool
) -> "altair.Chart":
    by, across, key = named
    check_metrics(metrics, report.metrics, report)
    if by:
        raise Problem(f"a chart of {' and '.join(metrics)} has a line for each of them; leave out by or together")
    table = [row for row in report.table if all(metric in row["metrics"] for metric in metrics)]
    if not table:
        raise Problem(f"no run measured all of {', '.join(metrics)}; draw them apart, or run a variant that has them")
    places = _places(report, table, field, "")
    means: list[Row] = []
    seeds: list[Row] = []
    for metric in metrics:
        heading = words.of(report.definition, metric)
        mean, seed = _rows(report, table, metric, {name: (value, heading) for name, (value, _) in places.items()})
        means, seeds = means + mean, seeds + seed
    style = styles({name: name for name in dict.fromkeys(row["group"] for row in means)})
    values = sorted({value for value, _ in places.values()})
    panel = _panel((means, seeds), values, (across, axis), (style, key or None, True), WIDTH, log)
    return panel.properties(width=WIDTH, height=270)


def _rows(
    report: Report, table: Sequence[Mapping[str, Any]], metric: str, places: Mapping[str, tuple[Any, str]]
) -> tuple[list[Row], list[Row]]:
    """The means and the seeds' numbers of a metric, at their places."""
    means = [{**_place(row, places), **ends(report, row, metric)} for row in table if metric in row["metrics"]]
    seeds = [
        {**_place(t, places), "seed": t["seed"], "value": t["metrics"][metric]}
        for t in report.trials
        if metric in t["metrics"] and t["variant"] in places
    ]
    return means, seeds


def _panel(
    rows: tuple[list[Row], list[Row]],
    values: Sequence[Any],
    titles: tuple[str, str],
    look: tuple[Mapping[str, Style], str | None, bool],
    width: int,
    log: bool,
) -> "altair.LayerChart":
    """Lines, deviations and seeds of each group; `look` is its style, what its legend is called, and whether it has
    one."""
    import altair

    (means, seeds), (style, key, legend) = rows, look
    marks = [colour("group", style, title=key, legend=legend)]
    axis, gap = place(values, width)
    x = altair.X(title=titles[0], **axis)
    apart = min(APART, 0.6 * gap / len(style))
    if log:  # whose axis cannot show a deviation below zero
        means = [{**row, "low": max(row["low"], min(seed["value"] for seed in seeds))} for row in means]
    y = altair.Y("value:Q", title=titles[1], **scale([row["value"] for row in seeds], log))
    layers = []
    for i, group in enumerate(style):
        shift = apart * (i - (len(style) - 1) / 2)  # so that the spread of each can be seen
        mean = data([row for row in means if row["group"] == group])
        seed = data([row for row in seeds if row["group"] == group])
        layers += [
            mean.mark_line(strokeWidth=1.5, xOffset=shift).encode(x, y, *marks),
            mean.mark_rule(strokeWidth=1.5, xOffset=shift).encode(x, altair.Y("low:Q"), *marks, y2="high:Q"),
            seed.mark_point(size=22, strokeWidth=1, opacity=0.6, xOffset=shift, style="seed").encode(x, y, *marks),
            mean.mark_point(filled=True, size=42, opacity=1, xOffset=shift).encode(x, y, *marks),
        ]
    return altair.layer(*layers)


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
