"""What there is to show: the studies' cards, the committed and the local reports, their files, the method cards."""

import dataclasses
import functools
import json
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
from etudes.reports import drawings, render, views
from etudes.reports.build import read
from etudes.reports.drawings import Drawing
from etudes.reports.left import FOLDERS, Exhibit, Exhibition
from etudes.reports.report import Report

PAUSE = 1.0  # seconds for which a look at the files' times is taken as the present
KEPT = 512  # things kept in memory, such as pages
DOWNLOADS = {
    "report.html": "the report as one page",
    "report.md": "as Markdown",
    "report.ipynb": "as a notebook that runs the study",
    "report.json": "all its numbers",
    "curves.json": "what the runs logged",
}
MADE = {"report.html": "html", "report.ipynb": "ipynb"}  # from the others, where they are not written beside them
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
            form = _form(picture, first.folder) if first else ""
            found.append(
                card
                | {"picture": picture, "form": form, "source": first.name if first else "", "sources": list(sources)}
            )
        return found

    def files(self, source: Source) -> dict[str, Path]:
        """{name: path} of the files of a report that may be read: what is asked for is looked up here."""
        return self.once(("files", source), lambda: _files(source.folder))

    def content(self, source: Source, name: str) -> bytes:
        """A file of a report, as it stands there or made from it. Raises Problem where there is none such."""
        files = self.files(source)
        if name in files:
            return files[name].read_bytes()
        if name in MADE:
            return self.once(("made", source, name), lambda: self._make(source, MADE[name]))
        if name in self.live(source):
            return self.once(("made", source, name), lambda: self._live(source, Path(name).stem))
        raise Problem(f"the report of {source.study} has no file {name}")

    def live(self, source: Source) -> list[str]:
        """The files of the charts with hover, which are made when they are asked for."""
        drawn = {Path(name).stem for name in self.files(source) if name.startswith("charts/")}
        charts = catalogue.find(source.study).charts
        return [f"charts/{chart.name}.json" for chart in charts if chart.name in drawn]

    def _live(self, source: Source, chart: str) -> bytes:
        drawn = self.report(source).chart(chart)
        assert not isinstance(drawn, Exhibition)
        return json.dumps(views.live(drawn.to_dict()), separators=(",", ":"), ensure_ascii=False).encode()

    def _make(self, source: Source, kind: str) -> bytes:
        report = self.report(source)
        return render.render(report, kind, self.drawings(report, source)).encode()

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
    """The folder of the method cards, in a checkout or inside the installed package. It may not exist."""
    package = Path(catalogue.__file__).parents[1]
    checkout = package.parents[1] / "docs" / "studies"
    return checkout if checkout.is_dir() else package / "docs" / "studies"


def _files(folder: Path) -> dict[str, Path]:
    found = [folder / name for name in DOWNLOADS if (folder / name).is_file()]
    for pattern in ("charts/*.svg", "charts/*.png", *(f"{kind}/*{suffix}" for suffix, kind in FOLDERS.items())):
        found += sorted(folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _picture(saved: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The file that stands for a study in the gallery: what its network made, else its first chart, drawn small."""
    for exhibit in saved.get("exhibits", []):
        if (name := f"pictures/{exhibit['variant']}.{exhibit['file']}") in files:
            return name
    drawn = [name for name in files if name.startswith("charts/") and name.endswith(".svg")]
    return next((name for name in (f"charts/{drawings.THUMBNAIL}", *drawn) if name in drawn), "")


def _form(picture: str, folder: Path) -> str:
    """How the gallery shows a picture: "drawn" as a chart, "pixels" of which each is seen, "whole" to be read."""
    if picture.endswith(".svg") or not picture:
        return "drawn"
    exhibit = Exhibit("", 0, Path(picture).name, (folder / picture).read_bytes())
    return "whole" if exhibit.wide else "pixels"


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


def method(study: str, link: Callable[[str], str]) -> str:
    """The study's method card as HTML, "" where there is none. Tags in it stay words; links that lead into the
    project's sources become words, those to reports and cards lead to their pages."""
    from markdown_it import MarkdownIt

    path = manual() / f"{study}.md"
    if not path.is_file():
        return ""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    if [token.type for token in tokens[:1]] == ["heading_open"]:
        tokens = tokens[3:]  # the page has a title of its own
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
        if token.type == "inline":
            token.children = _point(token.children or [], link)
    return parser.renderer.render(tokens, parser.options, {})


def _point(tokens: list[Any], link: Callable[[str], str]) -> list[Any]:
    kept, opened = [], True
    for token in tokens:
        if token.type == "link_open":
            target = _page(str(token.attrs["href"]))
            opened = bool(target)
            if opened:
                token.attrs["href"] = link(target) if target.startswith("/") else target
        if token.type == "image" or (token.type in ("link_open", "link_close") and not opened):
            continue
        kept.append(token)
    return kept


def _page(target: str) -> str:
    """The address of the page that a link of a method card means, "" for none."""
    if re.match(r"https?://", target):
        return target
    if found := re.fullmatch(r"(?:\.\./)*results/([a-z0-9-]+)/([a-z0-9-]+)/report\.(?:md|html)", target):
        known = found[1] in catalogue.names() and found[2] in catalogue.reported_scales(found[1])
        return f"/study/{found[1]}/{found[2]}" if known else ""
    if found := re.fullmatch(r"(?:\./|\.\./studies/)?([a-z0-9-]+)\.md", target):
        return f"/study/{found[1]}" if found[1] in catalogue.names() else ""
    return ""
