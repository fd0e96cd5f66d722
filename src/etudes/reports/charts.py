"""The charts that a study names: `charts=(bars("test/error"), curves("test/error"), pictures("samples.png"))`.

A `Chart` is a plain value that draws when asked, so naming one imports nothing. A variant has the same colour in all
charts of its study, by its place among the variants.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem, unknown

from .look import BROKEN, GREY, INK, WIDTH, channels, data, placed, scale, side_by_side
from .numbers import number

if TYPE_CHECKING:
    import altair

    from .build import Report
    from .sheets import Sheet

POINTS = 2000  # of all lines of a chart together, but no fewer than 40 a line
APART = 7  # pixels at most between groups that share a value

Row = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A named drawing of a report. `says` is the caption: what the marks mean.

    One that shows a file of the runs names it, and the variants whose runs have it (all without names).
    """

    name: str
    title: str
    draw: Callable[["Report"], "altair.Chart | Sheet"]
    says: str = ""
    file: str = ""
    variants: Sequence[str] = ()


def bars(*metrics: str, title: str = "", by: str = "", paper: Mapping[str, float] = {}) -> Chart:
    """Each metric's mean over seeds, a row for each variant: with every seed's own number and one standard deviation.

    `by` names a Config field whose values the colours show, instead of one colour a variant. `paper` holds the paper's
    figures {variant: first metric}, shown apart from ours.
    """
    diamonds = " Diamonds are the paper's figures, not measured here." if paper else ""
    return Chart(
        name=_slug(*metrics),
        title=title or _headline(metrics, "by variant"),
        draw=lambda report: _bars(report, metrics, by, paper),
        says="Circles are single seeds. The dot above them is their mean, written at the right, with one standard "
        f"deviation to each side.{diamonds}",
    )


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
    dashed = f" The broken line is {_words(reference)}." if reference else ""
    return Chart(
        name=_slug(*metrics, "curves", *(variants if len(variants) < 4 else ()), *(["by-variant"] if facet else [])),
        title=title or _headline(metrics, "during training"),
        draw=lambda report: _curves(report, metrics, facet, log, variants, reference, step),
        says=f"Thick lines are means over seeds, thin lines single seeds.{dashed}{says and ' ' + says}",
    )


def against(field: str, *metrics: str, by: str = "", title: str = "", log: bool = False) -> Chart:
    """Each metric over the variants' values of a Config field, with a line for each value of the field `by`.

    Several fields, as in `by="kind, q"`, give a line for each combination of their values.
    """
    return Chart(
        name=_slug(*metrics, "against", field),
        title=title or _headline(metrics, f"against {_words(field)}"),
        draw=lambda report: _against(report, field, metrics, by, log),
        says="Lines join the means over seeds, with one standard deviation to each side; circles are single seeds."
        + (" Those that share a value stand a little apart." if by else ""),
    )


def pictures(file: str, *, title: str = "", says: str = "", variants: Sequence[str] = ()) -> Chart:
    """The PNG, GIF or text that runs wrote to `run.path(file)`, one for each variant (or those named): its first seed's
    that has it.

    `says` tells what is seen. Raises Problem on files that are none of .png, .gif and .txt.
    """
    if Path(file).suffix not in (".png", ".gif", ".txt"):
        stem = Path(file).stem
        raise Problem(f"a report shows PNG, GIF and text files, and '{file}' is none; name it {stem}.png or {stem}.txt")
    name = _slug(Path(file).stem, *(variants if len(variants) < 4 else ()))
    title = title or _headline([Path(file).stem], "by variant")
    return Chart(name, title, lambda report: _sheet(report, file, variants, title), says, file, variants)


def _sheet(report: "Report", file: str, variants: Sequence[str], title: str) -> "Sheet":
    from .sheets import Sheet

    shown = _shown(report, variants)
    found = [picture for picture in report.pictures if picture.file == file and picture.variant in shown]
    if not found:
        raise Problem(f"no run of {' or '.join(variants) or report.definition.name} left a file {file}")
    for picture in found:
        if picture.problem:
            raise Problem(picture.problem)
    return Sheet(title, found)


def _bars(report: "Report", metrics: Sequence[str], by: str, paper: Mapping[str, float]) -> "altair.Chart":
    import altair

    _check(metrics, report.metrics, report)
    order = [row["variant"] for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    if by:
        groups = {row["variant"]: _label(_config(row, by)) for row in report.table}
        colour, _ = channels("group", list(dict.fromkeys(groups.values())), title=_words(by))
    else:
        groups = {name: name for name in order}
        colour, _ = channels("group", _variants(report), legend=False)
    figures = _figures(report, paper)
    columns = min(len(metrics), 3)
    panels = []
    for i, metric in enumerate(metrics):
        rows = [
            {"variant": t["variant"], "group": groups[t["variant"]], "value": t["metrics"][metric]}
            for t in report.trials
            if metric in t["metrics"]
        ]
        means = [
            {"variant": row["variant"], "group": groups[row["variant"]], **_ends(row["metrics"][metric])}
            for row in report.table
            if metric in row["metrics"]
        ]
        labels = altair.Axis(title=None, labels=i % columns == 0, ticks=False, domain=False, labelLimit=200)
        y = altair.Y("variant:N", sort=order, scale=altair.Scale(domain=order), axis=labels)
        ticks = altair.Axis(tickCount=9 // columns)
        x = altair.X("value:Q", title=_words(metric), scale=altair.Scale(zero=False, padding=8), axis=ticks)
        single = data(rows).mark_point(size=26, strokeWidth=1.1, opacity=0.7, yOffset=6).encode(x, y, colour)
        mean = data(means)
        reach = mean.mark_rule(strokeWidth=2, yOffset=-4).encode(
            altair.X("low:Q", title=_words(metric)), y, colour, x2="high:Q"
        )
        dot = mean.mark_point(filled=True, size=60, opacity=1, yOffset=-4).encode(x, y, colour)
        width = (WIDTH - 60 * (columns - 1)) // columns
        text = mean.mark_text(align="left", fontSize=11, color=INK).encode(
            y=y, x=altair.value(width + 8), text="label:N"
        )
        layers = [single, reach, dot, text]
        if figures and i == 0:
            layers.append(_diamonds(figures).encode(x, y))
        panels.append(altair.layer(*layers).properties(width=width, height=30 * len(order)))
    return side_by_side(panels, columns)


def _figures(report: "Report", paper: Mapping[str, float]) -> list[Row]:
    """The paper's figures for the variants that have runs. Raises Problem on unknown names and what is no number."""
    for name, value in paper.items():
        if name not in _variants(report):
            raise unknown(f"variant of {report.definition.name}", name, _variants(report))
        if not math.isfinite(value):
            raise Problem(f"the paper's figure for {name} is {value}; give a number, or leave it out")
    present = {row["variant"] for row in report.table}
    return [{"variant": name, "value": value} for name, value in paper.items() if name in present]


def _diamonds(figures: list[Row]) -> "altair.Chart":
    return data(figures).mark_point(shape="diamond", size=80, strokeWidth=1.8, color=GREY, opacity=1, yOffset=-4)


def _curves(
    report: "Report",
    metrics: Sequence[str],
    facet: bool,
    log: bool,
    variants: Sequence[str],
    reference: str,
    step: str,
) -> "altair.Chart":
    import altair

    _check([*metrics, *([reference] if reference else [])], {series["metric"] for series in report.curves}, report)
    shown = _shown(report, variants)
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
        styles = channels("variant", _variants(report), among=[name for name in shown if name in drawn] or shown)
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


def _shown(report: "Report", variants: Sequence[str]) -> list[str]:
    """Those of the named variants (all without names) that have runs. Raises Problem on unknown names, or on none."""
    for name in variants:
        if name not in _variants(report):
            raise unknown(f"variant of {report.definition.name}", name, _variants(report))
    present = [row["variant"] for row in report.table]
    shown = [name for name in present if name in (variants or present)]
    if not shown:
        raise Problem(f"no finished runs of {' or '.join(variants)}; run them to draw this chart")
    return shown


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
    y = altair.Y("value:Q", title=_words(label) or None, **scale(values, log))
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


def _against(report: "Report", field: str, metrics: Sequence[str], by: str, log: bool) -> "altair.Chart":
    import altair

    _check(metrics, report.metrics, report)
    table = [row for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    places = _places(table, field, by)
    values = sorted({value for value, _ in places.values()})
    groups = [_combined(group) for group in sorted({group for _, group in places.values()})]
    colour, _ = channels("group", groups, title=_words(by) if by else None, legend=bool(by))
    columns = min(len(metrics), 2)
    width = (WIDTH - 60 * (columns - 1)) // columns
    axis, gap = placed(values, width)
    x = altair.X(title=_words(field), **axis)
    apart = min(APART, 0.6 * gap / len(groups))
    panels = []
    for metric in metrics:
        means = [{**_place(row, places), **_ends(row["metrics"][metric])} for row in table if metric in row["metrics"]]
        seeds = [{**_place(t, places), "value": t["metrics"][metric]} for t in report.trials if metric in t["metrics"]]
        if log:  # whose axis cannot show a deviation below zero
            means = [{**row, "low": max(row["low"], min(seed["value"] for seed in seeds))} for row in means]
        y = altair.Y("value:Q", title=_words(metric), **scale([row["value"] for row in seeds], log))
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
        place = (_config(row, field), tuple(_config(row, name) for name in by.split(", ") if name))
        for name, other in places.items():
            if place == other:
                more = "choose another `by`" if by else "name as `by` a field in which they differ"
                raise Problem(f"variants {name} and {row['variant']} have the same {field}; {more}")
        places[row["variant"]] = place
    return places


def _place(row: Mapping[str, Any], places: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> Row:
    value, group = places[row["variant"]]
    return {"x": value, "group": _combined(group)}


def _combined(values: Sequence[Any]) -> str:
    return ", ".join(map(_label, values))


def _points(curves: Sequence[Mapping[str, Any]], most: int) -> tuple[list[Row], list[Row]]:
    """The points of each seed's line, and of the mean line over the seeds that have the step."""
    from .build import thinned

    single: list[Row] = []
    for series in curves:
        pairs = thinned(list(zip(series["steps"], series["values"], strict=True)), most)
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


def _ends(metric: Mapping[str, Any]) -> Row:
    mean, deviation = metric["mean"], metric["deviation"] or 0.0
    return {"value": mean, "low": mean - deviation, "high": mean + deviation, "label": number(mean)}


def _variants(report: "Report") -> list[str]:
    return [variant.name for variant in report.definition.variants]


def _config(row: Mapping[str, Any], field: str) -> Any:
    if field not in row["config"]:
        raise unknown("config field", field, row["config"])
    return row["config"][field]


def _check(metrics: Iterable[str], known: Iterable[str], report: "Report") -> None:
    known = sorted(known)
    for metric in metrics:
        if metric not in known:
            raise unknown(f"number in the runs of {report.definition.name},", metric, known)


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("/", " ").replace("_", " ").replace("-", " ")


def _headline(metrics: Sequence[str], tail: str) -> str:
    words = [_words(metric) for metric in metrics]
    text = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"{text[0].upper()}{text[1:]} {tail}"


def _slug(*words: str) -> str:
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)))
