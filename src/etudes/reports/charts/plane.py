"""Points in a plane: one measured number against another, a mark for each variant."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports import words
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    check_variants,
    headline,
    looks,
    slug,
    variant_names,
)
from etudes.reports.look import WIDTH, colour, dash, data, scale, shape
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

Point = tuple[str, str]  # the metrics across and upwards


def plane(
    *points: Point,
    x: str = "",
    y: str = "",
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    says: str = "",
    variants: Sequence[str] = (),
) -> Chart:
    """One metric against another: `plane(("test/flops", "test/error"))` shows a mark for each variant that has both.

    With several pairs a variant has a mark for each that it has, joined by a line from left to right, as of one method
    at several costs. `x` and `y` name the axes (the first pair's metrics), `variants` keeps those named, and `says`
    adds to the caption. Raises Problem without a pair, and on what is no pair.
    """
    for point in points or [()]:
        if isinstance(point, str) or len(point) != 2:
            raise Problem('plane takes pairs of metrics, as in plane(("test/flops", "test/error"))')
    across = x or words.spell(points[0][0])
    lines = " Lines join the marks of one variant from left to right." if len(points) > 1 else ""
    return Chart(
        name=slug(points[0][1], "against", points[0][0]),
        title=title or (f"{y} against {across}" if y else headline([points[0][1]], f"against {across}")),
        draw=lambda report: _plane(report, points, (x, y), (log_x, log_y), variants),
        says=f"Filled marks are means over seeds, open ones single seeds.{lines}{says and ' ' + says}",
    )


def _plane(
    report: Report, points: Sequence[Point], titles: Point, logs: tuple[bool, bool], variants: Sequence[str]
) -> "altair.LayerChart":
    import altair

    check_metrics([name for point in points for name in point], [*report.metrics, "parameters"], report)
    check_variants(variants, report)
    wanted = variants or variant_names(report)
    seeds = [row for t in report.trials if t["variant"] in wanted for row in _marks(t, points)]
    if not seeds:
        raise Problem(f"no run has both {points[0][0]} and {points[0][1]}; choose other metrics or variants")
    means = _means(seeds)
    shown = [row["group"] for row in means]
    joined = [{**row, "variant": row["group"]} for row in means if shown.count(row["group"]) > 1]
    style = {name: look for name, look in looks(report).items() if name in shown}
    x, y = (
        channel(
            f"{name}:Q",
            title=title or words.of(report.definition, metric),
            **scale([row[name] for row in seeds], log),
        )
        for channel, name, title, metric, log in zip((altair.X, altair.Y), "xy", titles, points[0], logs, strict=True)
    )
    if joined:  # the lines are the legend: two of one colour differ in their dashes
        line = data(joined).mark_line(strokeWidth=1.5)
        layers = [line.encode(x, y, colour("variant", style), dash("variant", style), order="x:Q")]
        marks = [colour("group", style, legend=False)]
    else:
        layers = []
        marks = [colour("group", style), shape("group", style, legend=True)]
    layers.append(data(seeds).mark_point(size=22, strokeWidth=1, opacity=0.5, style="seed").encode(x, y, *marks))
    layers.append(data(means).mark_point(filled=True, size=60, opacity=1).encode(x, y, *marks))
    return altair.layer(*layers).properties(width=WIDTH, height=300)


def _marks(trial: Mapping[str, Any], points: Sequence[Point]) -> list[Row]:
    metrics = trial["metrics"]
    return [
        {"group": trial["variant"], "seed": trial["seed"], "point": i, "x": metrics[x], "y": metrics[y]}
        for i, (x, y) in enumerate(points)
        if x in metrics and y in metrics
    ]


def _means(seeds: Sequence[Row]) -> list[Row]:
    """The mean of each variant and pair over the seeds that have both numbers."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in seeds:
        groups.setdefault((row["group"], row["point"]), []).append(row)
    return [
        {"group": group, **{name: math.fsum(row[name] for row in rows) / len(rows) for name in "xy"}}
        for (group, _), rows in groups.items()
    ]
