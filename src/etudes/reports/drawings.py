"""A report's charts as SVG and PNG, and the small drawing of a claim's interval."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from etudes.core.errors import Problem
from etudes.core.verdicts import Verdict, from_scale, to_scale
from etudes.reports import views
from etudes.reports.left import Exhibit, Exhibition
from etudes.reports.numbers import figure, number, span
from etudes.reports.report import Report
from etudes.reports.svg import svg

PNG_COLOURS = 64  # of a PNG's palette: charts have few, and their smoothed edges
THUMBNAIL = "thumbnail.svg"  # beside the charts
FOREST = 260  # pixels of a claim's drawing


@dataclass(frozen=True)
class Drawing:
    """A chart of the study: its SVG, or its exhibits, or the problem that these runs cannot fill it."""

    name: str
    title: str
    says: str
    svg: str = ""
    exhibits: Sequence[Exhibit] = ()
    problem: str = ""


def draw(report: Report) -> list[Drawing]:
    """The study's charts, drawn. One that lacks runs or numbers, as when few variants were run, says so instead."""
    found = []
    for chart in report.definition.charts:
        try:
            drawn = report.chart(chart.name)
            content = (
                {"exhibits": drawn.exhibits}
                if isinstance(drawn, Exhibition)
                else {"svg": svg(drawn.to_dict(), chart.name)}
            )
            found.append(Drawing(chart.name, chart.title, chart.says, **content))
        except Problem as problem:
            found.append(Drawing(chart.name, chart.title, chart.says, problem=str(problem)))
    return found


def thumbnail(report: Report) -> str:
    """The study's first chart that these runs can fill, drawn small; "" without any."""
    for chart in report.definition.charts:
        try:
            drawn = None if chart.file else report.chart(chart.name)
        except Problem:
            continue
        if drawn is not None and not isinstance(drawn, Exhibition):
            return svg(views.thumbnail(drawn.to_dict()), "thumbnail")
    return ""


def png(svg: str) -> bytes:
    """The SVG as a PNG with two pixels for each of its own, in a palette that keeps it small."""
    import vl_convert
    from PIL import Image

    picture = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=2))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(PNG_COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def forest(verdict: Verdict) -> str:
    """A claim's confidence interval and seeds over the range where the claim puts the number, as an SVG element.

    "" without numbers. Of the paper's figure it shows nothing. The page gives the classes their colours.
    """
    if not verdict.values:
        return ""
    expect = verdict.claim.expect
    judged = math.isfinite(verdict.low)
    bounds = [verdict.low, verdict.high] if judged else []
    ends = expect.ends
    points = [*bounds, *verdict.values, *ends]
    room = 0.1 * ((max(points) - min(points)) or abs(points[0]) or 1.0)
    low, high = min(points) - room, max(points) + room

    def x(value: float) -> float:
        return round((min(max(value, low), high) - low) / (high - low) * FOREST, 1)

    left, right = x(expect.low), x(expect.high)
    parts = [f'<rect class="expected" x="{left}" y="1" width="{right - left:.1f}" height="31"/>']
    parts += [f'<line class="end" x1="{x(end)}" x2="{x(end)}" y1="1" y2="36"/>' for end in ends]
    if not math.isnan(verdict.claim.matters):
        near, far = (
            x(from_scale(verdict.claim, to_scale(verdict.claim, ends[0]) + sign * verdict.claim.matters))
            for sign in (-1, 1)
        )
        parts.append(f'<line class="margin" x1="{near}" x2="{far}" y1="34.5" y2="34.5"/>')
    labels = [(x(end), figure(end)) for end in ends]
    if len(ends) == 2 and right - left < 70:  # the two would lie over each other
        labels = [((left + right) / 2, " to ".join(map(figure, ends)))]
    for place, text in labels:
        side = "start" if place < 40 else "end" if place > FOREST - 40 else "middle"
        parts.append(f'<text x="{place:.1f}" y="47" text-anchor="{side}">{text}</text>')
    parts.append(f'<line class="axis" x1="0" x2="{FOREST}" y1="32" y2="32"/>')
    parts += [f'<circle class="seed" cx="{x(value)}" cy="23" r="2.6"/>' for value in verdict.values]
    if judged:
        parts.append(f'<line class="reach" x1="{x(verdict.low)}" x2="{x(verdict.high)}" y1="11" y2="11"/>')
    parts.append(f'<circle class="mean" cx="{x(verdict.mean)}" cy="11" r="4.2"/>')
    words = f"mean {number(verdict.mean)}, expected {expect}"
    if judged:
        words += f", interval {span(verdict.low, verdict.high)}"
    size = f'viewBox="0 0 {FOREST} 50" width="{FOREST}" height="50"'
    return f'<svg class="forest" role="img" aria-label="{words}" {size}>{"".join(parts)}</svg>'
