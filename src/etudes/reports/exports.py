"""A report in one form after another: what `etudes report --format` writes, and what the pages offer to keep."""

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from etudes.core.errors import Problem, unknown
from etudes.core.files import appearing
from etudes.reports import latex, manuscript, render, tables
from etudes.reports.drawings import Drawing
from etudes.reports.report import Report

FOLDERS = ("tex", "csv")
FORMATS = (*render.FORMATS, "pdf", *FOLDERS)
TEMPLATE = "article"


def check(format: str, template: str) -> None:
    """Raises Problem where there is no such format ("": all), no such template ("": the usual one), or no TeX."""
    if format and format not in FORMATS:
        raise unknown("format", format, [*FORMATS, "site"])
    if template and format not in ("tex", "pdf"):
        raise Problem("a template is one of LaTeX: --template goes with --format tex or pdf")
    manuscript.template_text(template or TEMPLATE)
    if format == "pdf":
        latex.engine()


def files(
    report: Report, format: str, template: str = "", drawn: Sequence[Drawing] | None = None
) -> Mapping[str, bytes]:
    """{name: content} of the report in a format: one file, or those of a folder. `drawn` are its charts, where they
    are drawn already. Raises Problem, as `check` and the makers of each format do."""
    check(format, template)
    if format == "csv":
        return {name: text.encode() for name, text in tables.csv_files(report).items()}
    if format in render.FORMATS:
        return {f"report.{format}": render.render(report, format, drawn).encode()}
    folder = manuscript.files(report, template or TEMPLATE, drawn)
    if format == "tex":
        return folder
    with tempfile.TemporaryDirectory() as place:
        _write(Path(place), folder)
        return {"report.pdf": latex.typeset(Path(place), latex.engine())}


def export(report: Report, format: str, out: Path | None = None, template: str = "") -> str:
    """What to tell after the report was written to `out`: a file, or a folder for tex and csv, where a report.tex that
    is there already stays as it is. Without `out`, the text itself, or a name made of the study's and the format's."""
    made = files(report, format, template)
    if format in FOLDERS:
        folder = out or Path(f"{report.definition.name}-{format}")
        main = folder / manuscript.MAIN
        own = format == "tex" and main.exists() and main.read_bytes() != made[manuscript.MAIN]
        _write(folder, {name: content for name, content in made.items() if not (own and name == manuscript.MAIN)})
        return f"Report: {folder}" + f"; {main} is kept as it was, what it reads in is new" * own
    (content,) = made.values()
    if out is None and format != "pdf":
        return content.decode()
    file = out or Path(f"{report.definition.name}.pdf")
    _write(file.parent, {file.name: content})
    return f"Report: {file}"


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip archive, the same for the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without the time of day
    return archive.getvalue()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        with appearing(folder / name) as draft:
            draft.write_bytes(content)
