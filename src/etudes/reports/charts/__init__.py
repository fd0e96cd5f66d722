"""The charts that a study names: `charts=(bars("test/error"), curves("test/error"), pictures("samples.png"))`.

A `Chart` is a plain value that draws when asked, so naming one imports nothing. A variant has the same colour in all
charts of its study, by its place among the variants.
"""

from etudes.reports.charts.against import against
from etudes.reports.charts.bars import bars
from etudes.reports.charts.chart import Chart
from etudes.reports.charts.curves import curves
from etudes.reports.charts.grid import grid
from etudes.reports.charts.pictures import pictures
from etudes.reports.charts.plane import plane

__all__ = ["Chart", "against", "bars", "curves", "grid", "pictures", "plane"]
