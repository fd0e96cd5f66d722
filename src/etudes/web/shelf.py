"""What there is to show: the studies' cards, the committed and the local reports, their files, the method cards."""

import dataclasses
import functools
import itertools
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.files import read_json
from etudes.core.spec import Study
from etudes.reports import cards, drawings, exports, views
from etudes.reports.build import read
from etudes.reports.drawings import Drawing
from etudes.reports.left import FOLDERS, Exhibit, Exhibition
from etudes.reports.report import Report

PAUSE = 1.0  # seconds for which a look at the files' times is taken as the present
KEPT = 512  # things kept in memory, such as pages
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
    """A folder with a report.

    `name` is the scale of a committed one, "local-[WHO-]SCALE[-HASH]" of one of the user's own, or of WHO's; `label`
    tells it apart in words: "your runs: smoke, 1 seed, mixup alone".
    """

    study: str
    name: str
    folder: Path
    label: str


class Shelf:
    """What the pages read, each thing once until a report's file changes. `roots` as of `tell_apart`; {}: no runs."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = roots
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
        local = (path for root in self.roots.values() for path in _local(root, "*"))
        for path in [*_results().glob("*/*/report.json"), *local, *cards.folder().glob("*.md")]:
            try:
                found.append((str(path), path.stat().st_mtime_ns))
            except OSError:  # gone since it was listed
                continue
        return tuple(sorted(found))

    def sources(self, study: str) -> dict[str, Source]:
        """{name: source}: the committed reports, laptop first, then those of the user's own runs."""
        if study not in catalogue.names():
            raise unknown("study", study, catalogue.names())
        return self.once(("sources", study), lambda: self._sources(study))

    def _sources(self, study: str) -> dict[str, Source]:
        scales = sorted(catalogue.reported_scales(study), key=lambda scale: (scale != "laptop", scale))
        found = [Source(study, scale, catalogue.committed_folder(study, scale), scale) for scale in scales]
        for who, root in self.roots.items():
            for path in _local(root, study):
                scale, digest = path.parents[1].name, path.parent.name.removeprefix("report").strip("-")
                label = f"{who or 'your runs'}: {_says(path, scale)}"
                found.append(Source(study, "-".join(filter(None, ["local", who, scale, digest])), path.parent, label))
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
        """The card of every study, with the verdicts of its first report, its `picture`, `sources` and `datasets`."""
        return self.once("cards", self._cards)

    def _cards(self) -> list[dict[str, Any]]:
        found = []
        for name in catalogue.names():
            sources = self.sources(name)
            first = next(iter(sources.values()), None)
            try:
                if first is None:
                    card, picture, read = catalogue.card(catalogue.find(name)), "", []
                else:
                    saved = read_json(first.folder / "report.json", f"run `etudes report {name}` again")
                    card, picture, read = saved["study"], _picture(saved, self.files(first)), saved["data"]
            except Exception as error:  # one study that cannot be read, whoever wrote it, must not hide the others
                log.warning("%s is left out of the gallery: %s", name, error)
                continue
            form = _form(picture, first.folder) if first else ""
            own = {"picture": picture, "form": form, "source": first.name if first else "", "sources": list(sources)}
            found.append(card | own | {"datasets": [str(entry.get("dataset", "")) for entry in read]})
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
            return self.once(("made", source, MADE[name]), lambda: self._make(source, MADE[name]))[name]
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


def tell_apart(roots: Sequence[Path]) -> dict[str, Path]:
    """{name: folder} of roots of runs: "" for a single one, else what sets the paths apart, as "anna" and "ben" do
    class/anna/runs and class/ben/runs. Raises Problem where two are the same."""
    paths = [root.resolve().parts for root in roots]
    if len(set(paths)) < len(paths):
        twice = next(root for root, path in zip(roots, paths, strict=True) if paths.count(path) > 1)
        raise Problem(f"--root names {twice} twice; name each folder once")
    if len(roots) == 1:
        return {"": roots[0]}
    begun = _alike(paths)
    ended = _alike([path[begun:][::-1] for path in paths])
    own = ["-".join(path[begun : len(path) - ended]) for path in paths]
    named = [re.sub(r"[^\w.]+", "-", each).strip("-") or "all" for each in own]
    return {each if named.count(each) == 1 else f"{each}-{i}": root
            for i, (each, root) in enumerate(zip(named, roots, strict=True), 1)}  # fmt: skip


def _alike(paths: Sequence[Sequence[str]]) -> int:
    """The number of parts with which all of the paths begin."""
    return sum(1 for _ in itertools.takewhile(lambda parts: len({*parts}) == 1, zip(*paths, strict=False)))


def _local(root: Path, study: str) -> list[Path]:
    return sorted(root.glob(f"{study}/*/report*/report.json"))


def _says(path: Path, scale: str) -> str:
    """What was run for a report, in words: "smoke, 1 seed, mixup alone"."""
    try:
        text = path.read_text(encoding="utf-8")
        choice, card = (catalogue.part(text, name) for name in ("choice", "study"))
        seeds = choice.pop("seeds", card["scales"][scale]["seeds"])
    except (OSError, ValueError, KeyError, AttributeError):  # of a report that is not whole; its page says so
        return scale
    until, vary, variants = (choice.pop(name, None) for name in ("until", "vary", "variants"))
    said = [scale, f"until {until}" if until else f"{seeds} {'seed' if seeds == 1 else 'seeds'}"]
    few = " and ".join(variants or ())
    if len(variants or ()) > 2:
        few = f"{len(variants)} of {len(card['variants'])} variants"
    if vary:
        said.append(" and ".join(vary) + f" beside {few}" * bool(few))
    elif few:
        said.append(f"{few} alone" if len(variants) == 1 else few)
    words = {"tune": "seeds for tuning", "replicate": "other seeds"}
    return ", ".join(said + [words.get(name) or f"{name} = {value}" for name, value in choice.items()])


def _results() -> Path:
    return catalogue.committed_folder("").parent


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
