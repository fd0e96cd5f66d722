"""The chart of quality against cost: a line for each tree, a point for each width of the beam."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etudes.reports.charts import Chart
from etudes.reports.look import WIDTH, channels, data, scale

if TYPE_CHECKING:
    import altair

    from etudes.reports.report import Report


def front(metric: str, beams: Sequence[int], says: str) -> Chart:
    """`metric` at each beam against the inner products a document that it takes, means over seeds.

    A variant without beams, which scores every label, is one point.
    """
    name, heading = metric.rpartition("/")[2], f"{says} against inner products a document"
    return Chart(
        name=f"{name}-front",
        title=heading,
        draw=lambda report: _front(report, metric, beams, says),
        says=f"The points of a line are beams of {', '.join(map(str, beams))}, from left to right, means over seeds; "
        "upwards and to the left is better. A point without a line is a search of every label.",
    )


def _front(report: "Report", metric: str, beams: Sequence[int], says: str) -> "altair.Chart":
    import altair

    rows = []
    for row in report.table:
        found = row["metrics"]
        points = [(f"test/products-beam-{beam}", f"{metric}-beam-{beam}") for beam in beams]
        points = [pair for pair in points if pair[0] in found] or [("test/products", metric)]
        rows += [
            {"variant": row["variant"], "cost": found[cost]["mean"], "value": found[value]["mean"]}
            for cost, value in points
        ]
    names = [variant.name for variant in report.definition.variants]
    styles = channels("variant", names, among=[row["variant"] for row in report.table])
    x = altair.X("cost:Q", title="inner products a document", **scale([row["cost"] for row in rows], log=True))
    y = altair.Y("value:Q", title=says, **scale([row["value"] for row in rows], log=False))
    line = data(rows).mark_line(strokeWidth=1.5).encode(x, y, *styles)
    bare = channels("variant", names, among=[row["variant"] for row in report.table], legend=False)
    points = data(rows).mark_point(filled=True, size=40, opacity=1).encode(x, y, bare[0])
    return altair.layer(line, points).properties(width=WIDTH, height=300)
