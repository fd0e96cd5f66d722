"""Measured numbers, a row for each variant."""

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
    ends,
    groups,
    headline,
    looks,
    palette,
    slug,
)
from etudes.reports.look import GREY, INK, LETTER, WIDTH, colour, data, shape, side_by_side, with_heading
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

ROW = 30  # pixels of a variant's
BELOW = 40  # and below a section, for the next one's heading
FIGURE = "the paper's figure, not measured here"


def bars(
    *metrics: str,
    title: str = "",
    by: str = "",
    key: str = "",
    paper: Mapping[str, float] = {},
    sections: Mapping[str, Sequence[str]] = {},
    says: str = "",
) -> Chart:
    """Each metric's mean over seeds, a row for each variant: with every seed's own number and one standard deviation.

    `by` names Config fields whose values the colours show, as in `by="kind, q"`, instead of one colour a variant; `key`
    is what they are called. `paper` holds the paper's figures {variant: first metric}, shown apart from ours.
    `sections` {heading: variants} has the rows below headings, of these variants alone. `says` adds to the caption.
    """
    diamonds = " Diamonds are the paper's figures, not measured here." if paper else ""
    return Chart(
        name=slug(*metrics),
        title=title or headline(metrics, "by variant"),
        draw=lambda report: _bars(report, metrics, (by, key), paper, sections),
        says="Circles are single seeds. The dot above them is their mean, written at the right, with one standard "
        f"deviation to each side, as far as such a number can lie.{diamonds}{says and ' ' + says}",
    )


def _bars(
    report: Report,
    metrics: Sequence[str],
    by: tuple[str, str],
    paper: Mapping[str, float],
    sections: Mapping[str, Sequence[str]],
) -> "altair.Chart":
    check_metrics(metrics, report.metrics, report)
    marks = _marks(report, *by)
    figures = _figures(report, paper)
    group = groups(report, by[0]) if by[0] else {}
    columns = min(len(metrics), 3)
    found = [_rows(report, metric, group) for metric in metrics]
    letters = max(len(mean["label"]) for _, means in found for mean in means)
    room = round(LETTER * letters) + 22  # for the means beside each panel
    width = (WIDTH - room * (columns - 1)) // columns
    parts = _parts(report, metrics, sections)
    last = list(parts)[-1]
    shown = {name for names in parts.values() for name in names}
    panels = []
    for heading, names in parts.items():
        for i, (metric, (seeds, means)) in enumerate(zip(metrics, found, strict=True)):
            own = figures if i == 0 else []
            rows = [row for row in [*means, *seeds, *own] if row["variant"] in shown]
            reach = [row[end] for row in rows for end in ("low", "value", "high") if end in row]
            x = _axis(words.of(report.definition, metric), reach if len(parts) > 1 else [], columns, heading == last)
            layers = _layers(
                [row for row in seeds if row["variant"] in names],
                [row for row in means if row["variant"] in names],
                [row for row in own if row["variant"] in names],
                (x, _lines(names, i % columns == 0), *marks),
                width,
            )
            panel = layers.properties(width=width, height=ROW * len(names))
            panels.append(with_heading(panel, heading and (heading if i == 0 else " ")))
    drawn = side_by_side(panels, columns, 22)
    if len(parts) > 1:  # set by the panels alone: headings longer than one would push the next aside
        return drawn.properties(bounds="flush", spacing={"row": BELOW, "column": room})
    return drawn


def _parts(report: Report, metrics: Sequence[str], sections: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """{heading: variants that have a number}. Raises Problem on unknown names, and where no variant has one."""
    measured = [row["variant"] for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    for names in sections.values():
        check_variants(names, report)
    parts = {heading: [name for name in names if name in measured] for heading, names in sections.items()}
    parts |= {"Your own": [name for name in measured if name in report.definition.own]} if parts else {"": measured}
    parts = {heading: names for heading, names in parts.items() if names}
    if not parts:
        raise Problem(f"no run of the chart's variants measured {' or '.join(metrics)}; run them to draw it")
    return parts


def _marks(report: Report, by: str, key: str) -> list[Any]:
    """The colours, and the shapes where a colour is shared by chance: those of a group need none."""
    if by:
        return [colour("group", palette(report, by), title=key or words.spell(by))]
    of_variants = looks(report)
    return [colour("variant", of_variants, legend=False), shape("variant", of_variants)]


def _rows(report: Report, metric: str, group: Mapping[str, str]) -> tuple[list[Row], list[Row]]:
    """The seeds' numbers and the variants' means."""

    def row(variant: str) -> Row:
        return {"variant": variant, **({"group": group[variant]} if group else {})}

    seeds = [
        {**row(t["variant"]), "seed": t["seed"], "value": t["metrics"][metric]}
        for t in report.trials
        if metric in t["metrics"]
    ]
    means = [{**row(r["variant"]), **ends(report, r, metric)} for r in report.table if metric in r["metrics"]]
    return seeds, means


def _lines(names: Sequence[str], named: bool) -> "altair.Y":
    import altair

    labels = altair.Axis(title=None, labels=named, ticks=False, domain=False, labelLimit=220)
    return altair.Y("variant:N", sort=list(names), scale=altair.Scale(domain=list(names)), axis=labels)


def _axis(title: str, reach: Sequence[float], columns: int, last: bool) -> "altair.X":
    """A metric's axis. Those of several parts have one `reach`, and are written out below the `last` alone."""
    import altair

    scale = altair.Scale(zero=False, padding=8)
    if reach:
        scale = altair.Scale(zero=False, padding=8, domain=[min(reach), max(reach)], nice=True)
    axis = altair.Axis(tickCount=9 // columns, labels=last, ticks=last)
    return altair.X("value:Q", title=title if last else None, scale=scale, axis=axis)


def _layers(
    seeds: list[Row], means: list[Row], figures: list[Row], place: Sequence[Any], width: int
) -> "altair.LayerChart":
    """The marks of one panel; `place` are their x, y, colour and shape."""
    import altair

    x, y, *look = place
    mean = data(means)
    single = data(seeds).mark_point(size=26, strokeWidth=1.1, opacity=0.7, yOffset=6, style="seed").encode(*place)
    reach = mean.mark_rule(strokeWidth=2, yOffset=-4).encode(
        altair.X("low:Q", title=x["title"]), y, look[0], x2="high:Q"
    )
    dot = mean.mark_point(filled=True, size=60, opacity=1, yOffset=-4).encode(*place)
    text = mean.mark_text(align="left", fontSize=11, color=INK, style="number").encode(
        y=y, x=altair.value(width + 8), text="label:N"
    )
    diamonds = [_diamonds(figures).encode(x, y)] if figures else []
    return altair.layer(single, reach, dot, text, *diamonds)


def _figures(report: Report, paper: Mapping[str, float]) -> list[Row]:
    """The paper's figures for the variants that have runs. Raises Problem on unknown names and what is no number."""
    check_variants(paper, report)
    for name, value in paper.items():
        if not math.isfinite(value):
            raise Problem(f"the paper's figure for {name} is {value}; give a number, or leave it out")
    present = {row["variant"] for row in report.table}
    return [{"variant": name, "value": value} for name, value in paper.items() if name in present]


def _diamonds(figures: list[Row]) -> "altair.Chart":
    """Diamonds, with a legend that says what they are."""
    import altair

    legend = altair.Legend(title=None, symbolType="diamond", symbolSize=80)
    whose = altair.Stroke("whose:N", scale=altair.Scale(domain=[FIGURE], range=[GREY]), legend=legend)
    mark = data([{**row, "whose": FIGURE} for row in figures])
    return mark.mark_point(shape="diamond", size=80, strokeWidth=1.8, opacity=1, yOffset=-4).encode(whose)
