"""Measured numbers, a row for each variant."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from etudes.core.errors import Problem
from etudes.reports.charts.chart import (
    Chart,
    Row,
    check_metrics,
    check_variants,
    config_value,
    ends,
    headline,
    slug,
    spell,
    value_label,
    variant_names,
)
from etudes.reports.look import GREY, INK, WIDTH, channels, data, side_by_side
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair


def bars(*metrics: str, title: str = "", by: str = "", paper: Mapping[str, float] = {}) -> Chart:
    """Each metric's mean over seeds, a row for each variant: with every seed's own number and one standard deviation.

    `by` names a Config field whose values the colours show, instead of one colour a variant. `paper` holds the paper's
    figures {variant: first metric}, shown apart from ours.
    """
    diamonds = " Diamonds are the paper's figures, not measured here." if paper else ""
    return Chart(
        name=slug(*metrics),
        title=title or headline(metrics, "by variant"),
        draw=lambda report: _bars(report, metrics, by, paper),
        says="Circles are single seeds. The dot above them is their mean, written at the right, with one standard "
        f"deviation to each side.{diamonds}",
    )


def _bars(report: Report, metrics: Sequence[str], by: str, paper: Mapping[str, float]) -> "altair.Chart":
    import altair

    check_metrics(metrics, report.metrics, report)
    order = [row["variant"] for row in report.table if any(metric in row["metrics"] for metric in metrics)]
    if by:
        groups = {row["variant"]: value_label(config_value(row, by)) for row in report.table}
        colour, _ = channels("group", list(dict.fromkeys(groups.values())), title=spell(by))
    else:
        groups = {name: name for name in order}
        colour, _ = channels("group", variant_names(report), legend=False)
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
            {"variant": row["variant"], "group": groups[row["variant"]], **ends(row["metrics"][metric])}
            for row in report.table
            if metric in row["metrics"]
        ]
        labels = altair.Axis(title=None, labels=i % columns == 0, ticks=False, domain=False, labelLimit=200)
        y = altair.Y("variant:N", sort=order, scale=altair.Scale(domain=order), axis=labels)
        ticks = altair.Axis(tickCount=9 // columns)
        x = altair.X("value:Q", title=spell(metric), scale=altair.Scale(zero=False, padding=8), axis=ticks)
        single = data(rows).mark_point(size=26, strokeWidth=1.1, opacity=0.7, yOffset=6).encode(x, y, colour)
        mean = data(means)
        reach = mean.mark_rule(strokeWidth=2, yOffset=-4).encode(
            altair.X("low:Q", title=spell(metric)), y, colour, x2="high:Q"
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


def _figures(report: Report, paper: Mapping[str, float]) -> list[Row]:
    """The paper's figures for the variants that have runs. Raises Problem on unknown names and what is no number."""
    check_variants(paper, report)
    for name, value in paper.items():
        if not math.isfinite(value):
            raise Problem(f"the paper's figure for {name} is {value}; give a number, or leave it out")
    present = {row["variant"] for row in report.table}
    return [{"variant": name, "value": value} for name, value in paper.items() if name in present]


def _diamonds(figures: list[Row]) -> "altair.Chart":
    return data(figures).mark_point(shape="diamond", size=80, strokeWidth=1.8, color=GREY, opacity=1, yOffset=-4)
