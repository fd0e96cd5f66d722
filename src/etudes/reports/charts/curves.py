"""Logged numbers during training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    headline,
    select_variants,
    slug,
    spell,
    variant_names,
)
from etudes.reports.look import BROKEN, WIDTH, channels, data, scale, side_by_side
from etudes.reports.numbers import thin
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

POINTS = 2000  # of all lines of a chart together, but no fewer than 40 a line


def curves(
    *metrics: str,
    title: str = "",
    facet: bool = False,
    log: bool = False,
    variants: Sequence[str] = (),
    reference: str = "",
    step: str = "step",
    says: str = "",
) -> Chart:
    """Logged numbers against the step: the mean over seeds as a thick line, each seed as a thin one.

    A panel for each metric with the variants as colours; with `facet` a panel for each variant with the metrics as
    colours. `variants` keeps those named. `reference` is a logged number drawn as a broken line. `step` names what was
    logged as the step, and `says` adds to the caption.
    """
    dashed = f" The broken line is {spell(reference)}." if reference else ""
    return Chart(
        name=slug(*metrics, "curves", *(variants if len(variants) < 4 else ()), *(["by-variant"] if facet else [])),
        title=title or headline(metrics, "during training"),
        draw=lambda report: _curves(report, metrics, facet, log, variants, reference, step),
        says=f"Thick lines are means over seeds, thin lines single seeds.{dashed}{says and ' ' + says}",
    )


def _curves(
    report: Report,
    metrics: Sequence[str],
    facet: bool,
    log: bool,
    variants: Sequence[str],
    reference: str,
    step: str,
) -> "altair.Chart":
    import altair

    check_metrics(
        [*metrics, *([reference] if reference else [])], {series["metric"] for series in report.curves}, report
    )
    shown = select_variants(report, variants)
    curves = [series for series in report.curves if series["variant"] in shown]
    if facet:
        named = [*metrics, reference] if reference else metrics
        styles = channels("metric", named, reference=reference, legend=len(named) > 1)
        columns = 1 if len(shown) == 1 else 2 if len(shown) <= 4 else 3
        height = 240 if columns == 1 else 150
        label = metrics[0] if len(metrics) == 1 else ""  # the legend names several
        contents = [
            (name, label, [c for c in curves if c["variant"] == name and c["metric"] in named]) for name in shown
        ]
    else:
        drawn = {series["variant"] for series in curves if series["metric"] in metrics}
        styles = channels("variant", variant_names(report), among=[name for name in shown if name in drawn] or shown)
        columns = min(len(metrics), 2)
        height = 270 if columns == 1 else 190
        contents = [("", metric, [c for c in curves if c["metric"] in (metric, reference)]) for metric in metrics]
    contents = [content for content in contents if content[2]]
    if not contents:
        raise Problem(f"{' and '.join(shown)} logged no {' or '.join(metrics)}; choose other variants for this chart")
    most = max(40, POINTS // sum(len(series) for _, _, series in contents))
    panels = []
    for i, (heading, label, series) in enumerate(contents):
        below = step if i >= len(contents) - columns else None
        beside = label if not facet or i % columns == 0 else ""
        panel = _lines(series, styles, reference, most, beside, log, below)
        if heading:
            panel = panel.properties(title=altair.TitleParams(heading, fontSize=11.5, offset=6, anchor="start"))
        width = (WIDTH - 60 * (columns - 1)) // columns
        panels.append(panel.properties(width=width, height=height))
    return side_by_side(panels, columns)


def _lines(
    curves: Sequence[Mapping[str, Any]],
    styles: Sequence[Any],
    reference: str,
    most: int,
    label: str,
    log: bool,
    step: str | None,
) -> "altair.LayerChart":
    """One panel: thin lines of the seeds, thick lines of their means, broken lines of the reference.

    Each line has at most `most` points; a line of one is a dot.
    """
    import altair

    measured = [series for series in curves if series["metric"] != reference]
    seeds, means = _points(measured, most)
    bound = _points([series for series in curves if series["metric"] == reference], most)[1]
    x = altair.X("step:Q", title=step, axis=altair.Axis(grid=False, tickCount=5))
    values = [row["value"] for row in seeds + bound]
    y = altair.Y("value:Q", title=spell(label) or None, **scale(values, log))
    colour = styles[0]
    each = altair.Detail(["variant:N", "metric:N", "seed:N"])
    thin = data(seeds).mark_line(strokeWidth=0.7, opacity=0.4).encode(x, y, colour, each)
    thick = data(means).mark_line(strokeWidth=2).encode(x, y, *styles)
    broken = data(bound).mark_line(strokeDash=BROKEN, strokeWidth=1.5).encode(x, y, colour, each)
    lengths = Counter((row["variant"], row["metric"]) for row in means)
    alone = [row for row in means if lengths[row["variant"], row["metric"]] == 1]
    # stroked and not filled, so that the legend keeps its lines
    dots = data(alone).mark_point(size=6, strokeWidth=4, opacity=1).encode(x, y, colour)
    return altair.layer(thin, thick, *([broken] if bound else []), *([dots] if alone else []))


def _points(curves: Sequence[Mapping[str, Any]], most: int) -> tuple[list[Row], list[Row]]:
    """The points of each seed's line, and of the mean line over the seeds that have the step."""
    single: list[Row] = []
    for series in curves:
        pairs = thin(list(zip(series["steps"], series["values"], strict=True)), most)
        names = {name: series[name] for name in ("variant", "seed", "metric")}
        single += [{**names, "step": step, "value": value} for step, value in pairs]
    grouped: dict[tuple[str, str, float], list[float]] = {}
    for row in single:
        grouped.setdefault((row["variant"], row["metric"], row["step"]), []).append(row["value"])
    means = [
        {"variant": variant, "metric": metric, "step": step, "value": sum(found) / len(found)}
        for (variant, metric, step), found in grouped.items()
    ]
    return single, means
