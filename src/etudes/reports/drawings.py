"""A report's charts as SVG and PNG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from etudes.core.errors import Problem
from etudes.reports import views
from etudes.reports.left import Exhibit, Exhibition
from etudes.reports.report import Report
from etudes.reports.svg import svg

PNG_COLOURS = 64  # of a PNG's palette: charts have few, and their smoothed edges
THUMBNAIL = "thumbnail.svg"  # beside the charts


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
