"""Files that runs left: pictures, films, texts and sounds."""

from collections.abc import Sequence
from pathlib import Path

from etudes.core.errors import Problem
from etudes.reports.charts.chart import Chart, headline, select_variants, slug
from etudes.reports.left import MOST, Exhibition
from etudes.reports.report import Report


def pictures(file: str, *, title: str = "", says: str = "", variants: Sequence[str] = ()) -> Chart:
    """The picture, film, text or sound that runs wrote to `run.path(file)`, one for each variant (or those named): its
    first seed's that has it.

    `says` tells what is seen. Raises Problem on files that are none of .png, .gif, .txt and .wav.
    """
    stem, suffix = Path(file).stem, Path(file).suffix
    if suffix not in MOST:
        raise Problem(f"a report shows files of {', '.join(MOST)}, and '{file}' is none; save one of those")
    name = slug(stem, *(variants if len(variants) < 4 else ()))
    title = title or headline([stem], "by variant")
    return Chart(name, title, lambda report: _exhibition(report, file, variants, title), says, file, variants)


def _exhibition(report: Report, file: str, variants: Sequence[str], title: str) -> Exhibition:
    names = select_variants(report, variants)
    found = [exhibit for exhibit in report.exhibits if exhibit.file == file and exhibit.variant in names]
    if not found:
        raise Problem(f"no run of {' or '.join(variants) or report.definition.name} left a file {file}")
    for exhibit in found:
        if exhibit.problem:
            raise Problem(exhibit.problem)
    return Exhibition(title, found)
