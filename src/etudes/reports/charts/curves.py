"""Logged numbers during training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem
from etudes.reports import words
from etudes.reports.charts.chart import Chart, Row, check_metrics, headline, looks, select_variants, slug
from etudes.reports.look import (
    BROKEN,
    GREY,
    INK,
    WIDTH,
    Style,
    colour,
    dash,
    data,
    scale,
    side_by_side,
    styles,
    with_heading,
)
from etudes.reports.numbers import thin, tidy
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

POINTS = 2000  # of all lines of a chart together, but no fewer than 40 a line
BETWEEN = 64  # pixels between two panels, for the numbers of the right one's axis
Series = Mapping[str, Any]
Panel = tuple[str, str, list[Series]]  # its heading, what it shows, its lines


def curves(
    *metrics: str,
    title: str = "",
    facet: bool = False,
    log: bool = False,
    variants: Sequence[str] = (),
    reference: str = "",
    step: str = "step",
    log_step: bool = False,
    by: str = "",
    says: str = "",
) -> Chart:
    """Logged numbers against the step: the mean over seeds as a thick line, each seed as a thin one.

    A panel for each metric with the variants as colours; with `facet` a panel for each variant with the metrics as
    colours. `variants` keeps those named. `reference` is a logged number drawn as a broken line. `step` names what was
    logged as the step, and `log_step` lays it on a logarithmic axis. `by` names Config fields whose values the colours
    show, instead of one colour a variant; those of one colour differ in their lines. `says` adds to the caption.
    """
    dashed = f" The broken line is {words.spell(reference)}." if reference else ""
    return Chart(
        name=slug(*metrics, "curves", *(variants if len(variants) < 4 else ()), *(["by-variant"] if facet else [])),
        title=title or headline(metrics, "during training"),
        draw=lambda report: _curves(report, metrics, facet, (log_step, log), variants, reference, step, by),
        says=f"Thick lines are means over seeds, thin lines single seeds.{dashed}{says and ' ' + says}",
    )


def _curves(
    report: Report,
    metrics: Sequence[str],
    facet: bool,
    logs: tuple[bool, bool],
    variants: Sequence[str],
    reference: str,
    step: str,
    by: str,
) -> "altair.Chart":
    import altair

    logged = {series["metric"] for series in report.curves}
    check_metrics([*metrics, *([reference] if reference else [])], logged, report)
    named = {name: words.of(report.definition, name) for name in (*metrics, reference) if name}
    bound = named.get(reference, "")
    shown = select_variants(report, variants)
    kept = [series for series in report.curves if series["variant"] in shown and series["metric"] in named]
    lines = [{**series, "metric": named[series["metric"]]} for series in kept]
    measured = [named[name] for name in metrics]
    panels = _facets(lines, shown, measured) if facet else _panels(lines, measured, bound)
    if not panels:
        raise Problem(f"{' and '.join(shown)} logged no {' or '.join(metrics)}; choose other variants for this chart")
    if facet:
        field, style = "metric", styles({name: name for name in measured})
        style |= {bound: Style(GREY, BROKEN)} if bound else {}
    else:
        drawn = {series["variant"] for series in lines if series["metric"] != bound}
        field, style = "variant", {name: look for name, look in looks(report, by).items() if name in drawn}
    columns = min(len(metrics), 2) if not facet else 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    width = (WIDTH - BETWEEN * (columns - 1)) // columns
    height = (270 if columns == 1 else 190) - (40 if facet else 0)
    most = max(40, POINTS // sum(len(series) for _, _, series in panels))
    found = []
    for i, (heading, label, series) in enumerate(panels):
        across = {"axis": _ticks(width)}
        if logs[0]:
            across = scale([at for line in series for at in line["steps"]], log=True)
        x = altair.X("step:Q", title=step if i >= len(panels) - columns else None, **across)
        values = [value for line in series for value in line["values"]]
        y = altair.Y("value:Q", title=label if not facet or i % columns == 0 else None, **scale(values, logs[1]))
        panel = _lines(series, (x, y), field, style, bound, most).properties(width=width, height=height)
        found.append(with_heading(panel, heading))
    return side_by_side(found, columns, 26 if columns == 1 else 20)


def _panels(lines: Sequence[Series], measured: Sequence[str], bound: str) -> list[Panel]:
    """A panel for each metric, with the reference."""
    found = [("", name, [series for series in lines if series["metric"] in (name, bound)]) for name in measured]
    return [panel for panel in found if any(series["metric"] != bound for series in panel[2])]


def _facets(lines: Sequence[Series], variants: Sequence[str], measured: Sequence[str]) -> list[Panel]:
    """A panel for each variant that logged anything; the legend names the metrics where there are several."""
    label = measured[0] if len(measured) == 1 else ""
    found = [(name, label, [series for series in lines if series["variant"] == name]) for name in variants]
    return [panel for panel in found if panel[2]]


def _ticks(width: int) -> "altair.Axis":
    import altair

    return altair.Axis(grid=False, tickCount=5 if width > 200 else 3)


def _lines(
    curves: Sequence[Series],
    place: Sequence[Any],
    field: str,
    style: Mapping[str, Style],
    bound: str,
    most: int,
) -> "altair.LayerChart":
    """One panel: thin lines of the seeds, thick lines of their means, broken lines of the reference.

    Each line has at most `most` points; a line of one is a mark with its name.
    """
    import altair

    seeds, means = _points([series for series in curves if series["metric"] != bound], field, most)
    limit = _points([series for series in curves if series["metric"] == bound], field, most)[1]
    legend = len(style) > 1 or field == "variant"
    tint, line = (kind(field, style, legend=legend) for kind in (colour, dash))
    each = altair.Detail([f"{field}:N", "seed:N"])
    layers = [
        data(seeds).mark_line(strokeWidth=0.7, opacity=0.4, style="seed").encode(*place, tint, each),
        data(means).mark_line(strokeWidth=2).encode(*place, tint, line),
    ]
    if limit:
        layers.append(
            data(limit).mark_line(strokeDash=BROKEN, strokeWidth=1.5, style="reference").encode(*place, tint, each)
        )
    lengths = Counter(row[field] for row in means)
    if alone := [row for row in means if lengths[row[field]] == 1]:
        for row in alone:  # each its own shape, as a scale of shapes would take the lines out of the legend
            dot = data([row]).mark_point(size=55, strokeWidth=2, opacity=1, shape=style[row[field]].shape)
            layers.append(dot.encode(*place, tint))
        text = data(alone).mark_text(align="left", dx=8, fontSize=11, color=INK)
        layers.append(text.encode(*place, text=f"{field}:N"))
    return altair.layer(*layers)


def _points(curves: Sequence[Series], field: str, most: int) -> tuple[list[Row], list[Row]]:
    """The points of each seed's line, and of the mean line over the seeds that have the step.

    A panel's lines differ in their seed and in `field`, the variant or the metric: they need no other name.
    """
    single: list[Row] = []
    for series in curves:
        pairs = thin(list(zip(series["steps"], series["values"], strict=True)), most)
        names = {name: series[name] for name in (field, "seed")}
        single += [{**names, "step": step, "value": value} for step, value in pairs]
    grouped: dict[tuple[str, float], list[float]] = {}
    for row in single:
        grouped.setdefault((row[field], row["step"]), []).append(row["value"])
    means = [
        {field: name, "step": step, "value": tidy(sum(found) / len(found), 5)}
        for (name, step), found in grouped.items()
    ]
    return single, means
