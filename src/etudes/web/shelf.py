"""What there is to show: the studies' cards, the committed and the local reports, their files, the method cards."""

import dataclasses
import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.files import read_json
from etudes.core.spec import Study
from etudes.reports import cards, exports
from etudes.reports.build import read
from etudes.reports.drawings import Drawing
from etudes.reports.left import FOLDERS, Exhibition
from etudes.reports.report import Report

PAUSE = 1.0  # seconds for which a look at the files' times is taken as the present
KEPT = 512  # things kept in memory, such as pages
TITLE = 42  # pixels of a chart's title and subtitle
DOWNLOADS = {
    "report.html": "the report as one page",
    "report.md": "as Markdown",
    "report.ipynb": "as a notebook, which can run the study",
    "latex.zip": "as LaTeX, with figures and references",
    "claims.csv": "the verdicts as a table",
    "numbers.csv": "the means and deviations",
    "runs.csv": "each run's numbers",
    "curves.csv": "what the runs logged, as a table",
    "report.json": "all its numbers",
    "curves.json": "what the runs logged",
}
# From the others, by their formats, where they are not written beside them.
MADE = {"report.html": "html", "report.ipynb": "ipynb", "latex.zip": "tex"}
MADE |= {f"{table}.csv": "csv" for table in ("claims", "numbers", "runs", "curves")}
log = logging.getLogger("etudes.web")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Source:
    """A folder with a report. `name` is the scale of a committed one, "local-SCALE[-HASH]" of one of the user's own."""

    study: str
    name: str
    folder: Path

    @property
    def local(self) -> bool:
        return self.name.startswith("local-")

    @property
    def label(self) -> str:
        return f"your runs: {self.name.removeprefix('local-')}" if self.local else self.name


class Shelf:
    """What the pages read, each thing once until a report's file changes. `root` is None where no runs are shown."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._looked = -PAUSE
        self._depth = 0  # of calls within calls, during which nothing is looked at or dropped
        self._stamp: tuple[Any, ...] = ()
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """What `make` returns; the same again as long as no report and no method card changes."""
        with self._lock:
            if not self._depth and time.monotonic() - self._looked >= PAUSE:
                stamp = self._look()
                if stamp != self._stamp:
                    self._made.clear()
                    self._stamp = stamp
                self._looked = time.monotonic()
            if key not in self._made:
                self._depth += 1
                try:
                    made = make()  # within the lock: fifty readers of a new page wait for one drawing of it
                finally:
                    self._depth -= 1
                if len(self._made) >= KEPT:
                    del self._made[next(iter(self._made))]
                self._made[key] = made
            return self._made[key]

    def _look(self) -> tuple[Any, ...]:
        found = []
        for path in [*_results().glob("*/*/report.json"), *self._local("*"), *manual().glob("*.md")]:
            try:
                found.append((str(path), path.stat().st_mtime_ns))
            except OSError:  # gone since it was listed
                continue
        return tuple(sorted(found))

    def _local(self, study: str) -> list[Path]:
        return sorted(self.root.glob(f"{study}/*/report*/report.json")) if self.root else []

    def sources(self, study: str) -> dict[str, Source]:
        """{name: source}: the committed reports, laptop first, then those of the user's own runs."""
        if study not in catalogue.names():
            raise unknown("study", study, catalogue.names())
        return self.once(("sources", study), lambda: self._sources(study))

    def _sources(self, study: str) -> dict[str, Source]:
        scales = sorted(catalogue.reported_scales(study), key=lambda scale: (scale != "laptop", scale))
        found = [Source(study, scale, catalogue.committed_folder(study, scale)) for scale in scales]
        for path in self._local(study):
            digest = path.parent.name.removeprefix("report").strip("-")
            found.append(Source(study, "-".join(filter(None, ["local", path.parents[1].name, digest])), path.parent))
        return {source.name: source for source in found}

    def source(self, study: str, name: str = "") -> Source:
        """The source of that name, the first without one. Raises Problem where there is none."""
        sources = self.sources(study)
        if not sources:
            raise Problem(f"{study} has no report yet; `etudes run {study}` makes one")
        if name and name not in sources:
            raise unknown(f"report of {study}", name, sources)
        return sources[name] if name else next(iter(sources.values()))

    def report(self, source: Source) -> Report:
        """The report, judged again. Raises Problem where it is not of the present study."""
        return self.once(source, lambda: read(source.folder, catalogue.find(source.study)))

    def cards(self) -> list[dict[str, Any]]:
        """The card of every study, with the verdicts of its first report, its `picture` and its `sources`."""
        return self.once("cards", self._cards)

    def _cards(self) -> list[dict[str, Any]]:
        found = []
        for name in catalogue.names():
            sources = self.sources(name)
            first = next(iter(sources.values()), None)
            try:
                if first is None:
                    card, picture = catalogue.card(catalogue.find(name)), ""
                else:
                    saved = read_json(first.folder / "report.json", f"run `etudes report {name}` again")
                    card, picture = saved["study"], _picture(saved, self.files(first))
            except Exception as error:  # one study that cannot be read, whoever wrote it, must not hide the others
                log.warning("%s is left out of the gallery: %s", name, error)
                continue
            found.append(card | {"picture": picture, "source": first.name if first else "", "sources": list(sources)})
        return found

    def files(self, source: Source) -> dict[str, Path]:
        """{name: path} of the files of a report that may be read: what is asked for is looked up here."""
        return self.once(("files", source), lambda: _files(source.folder))

    def content(self, source: Source, name: str) -> bytes:
        """A file of a report, as it stands there or made from it. Raises Problem where there is none such."""
        files = self.files(source)
        if name in files:
            return files[name].read_bytes()
        if name not in MADE:
            raise Problem(f"the report of {source.study} has no file {name}")
        return self.once(("made", source, MADE[name]), lambda: self._make(source, MADE[name]))[name]

    def _make(self, source: Source, kind: str) -> Mapping[str, bytes]:
        report = self.report(source)
        files = exports.files(report, kind, drawn=self.drawings(report, source))
        return {"latex.zip": exports.pack(files)} if kind == "tex" else files

    def drawings(self, report: Report, source: Source) -> list[Drawing]:
        """The report's charts as they were written beside it: what is committed is what is shown."""
        files, found = self.files(source), []
        for chart in report.definition.charts:
            plain = functools.partial(Drawing, chart.name, chart.title, chart.says)
            try:
                if chart.file:
                    shown = report.chart(chart.name)
                    assert isinstance(shown, Exhibition)
                    found.append(plain(exhibits=shown.exhibits))
                elif path := files.get(f"charts/{chart.name}.svg"):
                    found.append(plain(svg=path.read_text(encoding="utf-8")))
                else:
                    found.append(plain(problem=f"{source.folder} holds no drawing of it"))
            except Problem as problem:
                found.append(plain(problem=str(problem)))
        return found


def _results() -> Path:
    return catalogue.committed_folder("").parent


def manual() -> Path:
    """The folder of the method cards. It may not exist."""
    return cards.folder()


def _files(folder: Path) -> dict[str, Path]:
    found = [folder / name for name in DOWNLOADS if (folder / name).is_file()]
    for pattern in ("charts/*.svg", "charts/*.png", *(f"{kind}/*{suffix}" for suffix, kind in FOLDERS.items())):
        found += sorted(folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _picture(saved: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The file that stands for a study in the gallery: what its network made, else the chart that has most shape."""
    for exhibit in saved.get("exhibits", []):
        if (name := f"pictures/{exhibit['variant']}.{exhibit['file']}") in files:
            return name
    own = r"charts/(?!(train|validation|test|seconds)-).*\.svg"  # a chart that the study draws itself
    wanted = (own, r"charts/(?!train-loss).*-curves.*-by-variant\.svg", r"charts/.*-(against|over)-.*\.svg",
              r"charts/.*-curves.*\.svg", r"charts/.*\.svg")  # fmt: skip
    for pattern in wanted:
        found = [name for name in files if re.fullmatch(pattern, name)]
        if found:
            return max(found, key=lambda name: files[name].stat().st_size)
    return ""


def thumbnail(svg: str) -> str:
    """A chart's SVG without its title and its white ground, for which the gallery has no room."""
    size = re.search(r'width="\d+" height="\d+" viewBox="0 0 (\d+) (\d+)"', svg)
    if not size:
        return svg
    width, height = int(size[1]), int(size[2])
    svg = svg.replace(size[0], f'viewBox="0 {TITLE} {width} {height - TITLE}"', 1)
    return re.sub(r'<rect width="\d+" height="\d+" fill="white"/>', "", svg, count=1)


def fields(study: Study) -> list[dict[str, Any]]:
    """A row for each Config field: its name, its comment, its value at each scale, and whether the variants set it."""
    said = catalogue.comments(study.config)
    varied = {name for variant in study.variants for name in variant.changes}
    return [
        {
            "name": field.name,
            "says": said.get(field.name, ""),
            "values": [scale.changes.get(field.name, field.default) for scale in study.scales.values()],
            "varied": field.name in varied,
        }
        for field in dataclasses.fields(study.config)
    ]
