"""The pages as HTML text: one set of templates for the server and for the site of files."""

import functools
import itertools
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import markupsafe

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.reports import cards, glossary, ideas, look, render, words
from etudes.reports.left import Exhibit
from etudes.reports.numbers import NONE, number
from etudes.reports.report import Report
from etudes.web import comparison, gallery, plays, runs, search, shelf
from etudes.web.comparison import less
from etudes.web.live import Watch, curve
from etudes.web.shelf import DOWNLOADS, MADE, Shelf, Source

# The lists of course projects that studies come from, by the letter their `origin` begins with.
COURSES = {
    "A": "Project ideas, France, 2024",
    "B": "DLAI projects, Rome, 2023/24",
    "C": "DD2424 projects, KTH, 2022",
    "D": "Project suggestions",
}
QUERY = 200  # characters of a search that are looked at
COLUMN = 430  # pixels of a picture among several


class Pages:
    """The pages of a shelf. `served` is False for the site of files, which has no live runs, demos or searches."""

    def __init__(self, library: Shelf, *, served: bool = True) -> None:
        self.shelf, self.served = library, served
        self._seen: tuple[Any, markupsafe.Markup] = (None, markupsafe.Markup())

    def home(self, q: str = "", family: str = "", origin: str = "", verdict: str = "") -> str:
        """The gallery. Raises Problem on a family, an origin or a verdict that there is not."""
        cards = self.shelf.cards()
        families = sorted({card["family"] for card in cards})
        origins = sorted({card["origin"][:1] for card in cards if card["origin"]})
        for kind, value, known in (
            ("family", family, families),
            ("origin", origin, origins),
            ("verdict", verdict, gallery.VERDICTS),
        ):
            if value and value not in known:
                raise unknown(kind, value, known)
        shown = gallery.choose(self.shelf, q, family, origin, verdict)
        counts = {name: sum(card["tally"].get(name, 0) for card in shown) for name in gallery.VERDICTS}
        return self._render(
            "home.html",
            "/",
            cards=shown,
            found=sum(not card["hidden"] for card in shown),
            families={name: sum(card["family"] == name for card in cards) for name in families},
            origins=origins,
            counts=counts,
            claims=sum(counts.values()),
            asked={"q": q, "family": family, "origin": origin, "verdict": verdict},
        )

    def words(self) -> str:
        """The script that the gallery searches with."""
        return search.script(gallery.index(self.shelf))

    def study(self, name: str, source: str = "") -> str:
        """A study's page with one of its reports, or with its card alone where it has none."""
        from etudes.data.sources import SOURCES

        sources = self.shelf.sources(name)
        definition = catalogue.find(name)
        chosen = self.shelf.source(name, source) if sources or source else None
        address = f"/study/{name}" + (f"/{source}" if source else "")
        report, problem = None, ""
        try:
            report = self.shelf.report(chosen) if chosen else None
        except Problem as damage:
            problem = str(damage)
        link = functools.partial(self.link, at=address)
        return self._render(
            "study.html",
            address,
            card=report.study if report else catalogue.card(definition),
            report=report,
            problem=problem,
            source=chosen,
            sources=list(sources.values()),
            base=f"/files/{name}/{chosen.name}" if chosen else "",
            paper=render.address(catalogue.card(definition)["paper"]["url"]),
            **(
                render.parts(report, link)
                if report
                else {"mark": glossary.Marker(), "gist": ideas.gist(definition), "idea": ideas.idea(definition)}
            ),
            tally=gallery.tally(report.study["claims"]) if report else {},
            charts=[{**vars(d), "svg": markupsafe.Markup(d.svg)} for d in self.shelf.drawings(report, chosen)]
            if report and chosen
            else [],
            downloads=self._downloads(chosen, report) if chosen else {},
            fields=shelf.fields(definition),
            scales=list(definition.scales),
            sets=SOURCES,
            method=markupsafe.Markup(cards.method(name, link)),
            demos=[demo for demo in self._demos() if demo.study == name],
        )

    def _downloads(self, source: Source, report: Report | None) -> dict[str, str]:
        there = {*self.shelf.files(source), *(MADE if report else ())}
        return {name: says for name, says in DOWNLOADS.items() if name in there}

    def compare(self) -> str:
        """What can be compared: the reports of each study that has several."""
        several = {
            name: list(found.values()) for name in catalogue.names() if len(found := self.shelf.sources(name)) > 1
        }
        pairs = {name: list(itertools.combinations(found, 2)) for name, found in several.items()}
        return self._render("compare.html", "/compare", several=several, pairs=pairs)

    def comparison(self, name: str, *chosen: str) -> str:
        """Reports of a study side by side: those chosen by name, or all; of those that cannot be read, why. Raises
        Problem where one is not there, where two are the same, and where there is only one."""
        if len(chosen) > len({*chosen}):
            raise Problem(f"{chosen[0]} of {name} would be compared with itself; choose two different reports")
        sources = [self.shelf.source(name, wanted) for wanted in chosen or self.shelf.sources(name)]
        if len(sources) < 2:
            raise Problem(f"{name} has no two reports to compare; `etudes run {name}` makes one of your own")
        reports, damages = {}, {}
        for source in sources:
            try:
                reports[source] = self.shelf.report(source)
            except Problem as damage:
                damages[source] = str(damage)
        return self._render(
            "comparison.html",
            "/".join(["/compare", name, *chosen]),
            name=name,
            question=catalogue.find(name).question,
            reports=reports,
            damages=damages,
            claims=comparison.claims(list(reports.values())),
            confidence=render.confidence(),
            numbers=comparison.numbers(*reports.values()) if len(reports) == 2 else [],
            settings=comparison.settings(list(reports.values())),
            labels=[f"{'AB'[i]}: {s.label}" if len(reports) == 2 else s.label for i, s in enumerate(reports)],
        )

    def glossary(self) -> str:
        """What technical words mean."""
        terms = sorted(glossary.TERMS, key=lambda term: term.name.lower())
        return self._render("glossary.html", "/glossary", terms=terms)

    def reading(self) -> str:
        """How to read intervals and many tests: docs/reading.md with its drawing."""
        link = functools.partial(self.link, at="/reading")
        text, drawing = (cards.documents() / name for name in ("reading.md", "reading.svg"))
        return self._render(
            "reading.html",
            "/reading",
            text=markupsafe.Markup(cards.page(text.read_text(encoding="utf-8"), link, lower=0)),
            drawing=markupsafe.Markup(drawing.read_text(encoding="utf-8")),
        )

    def data(self) -> str:
        """The datasets: those that studies read, and those that none reads yet."""
        from etudes.web import datasets  # which imports NumPy and PyTorch, and the first page does not wait for them

        rows = datasets.table()
        parts = {"read": [row for row in rows if row["studies"]], "free": [row for row in rows if not row["studies"]]}
        return self._render("data.html", "/data", parts=parts, count=len(rows))

    def demos(self) -> str:
        return self._render("demos.html", "/demos", demos=self._demos())

    def play(self, play: plays.Play) -> str:
        """The page of a demo that needs no server."""
        data = plays.collect()[play.slug]
        return self._render(f"plays/{play.slug}.html", f"/play/{play.slug}", play=play, data=data)

    def _demos(self) -> Sequence[Any]:
        """The demos: those of the server, or those that need none."""
        return demos() if self.served else [play for play in plays.PLAYS if play.slug in plays.collect()]

    def live(self, watch: Watch) -> str:
        return self._render("live.html", "/live", roots=watch.roots, part=self.live_part(watch))

    def live_part(self, watch: Watch) -> markupsafe.Markup:
        """What changes on the page of runs: it is asked for again and again, and made once for each look at them."""
        found = watch.runs()
        if self._seen[0] is not found:
            page = self._render(
                "live_part.html", "/live", groups=runs.groups(watch), known=catalogue.names(), listed=runs.LISTED
            )
            self._seen = (found, markupsafe.Markup(page))
        return self._seen[1]

    def run(self, watch: Watch, key: str) -> str:
        run = watch.run(key)
        others = [other for other in watch.runs().values() if other.study == run.study and other.key != run.key]
        return self._render(
            "run.html",
            f"/live/run/{key}",
            run=run,
            part=self.run_part(watch, key),
            others=others[: runs.LISTED],
            apart=runs.apart([run, *others]),
            known=catalogue.names(),
        )

    def run_part(self, watch: Watch, key: str) -> markupsafe.Markup:
        run = watch.run(key)
        said = _words(run.study)
        curves = [curve(said(metric), {"": series}) for metric, series in sorted(watch.log(key).items())]
        metrics = {said(name): value for name, value in run.metrics.items()}
        return markupsafe.Markup(self._render("run_part.html", "/live", run=run, curves=curves, metrics=metrics))

    def two_runs(self, watch: Watch, first: str, second: str) -> str:
        """Two runs of one study: in what they were set apart, what came out, and their curves. Raises Problem."""
        pair, logs = [watch.run(first), watch.run(second)], [watch.log(first), watch.log(second)]
        if pair[0].study != pair[1].study:
            raise Problem(f"{first} and {second} are of two studies; choose two runs of one")
        if first == second:
            raise Problem(f"{first} would be compared with itself; choose another run beside it")
        said = _words(pair[0].study)
        labels = [f"{letter}: {run.variant}, seed {run.seed}" for letter, run in zip("AB", pair, strict=True)]
        names = sorted({*logs[0], *logs[1]})
        curves = [
            curve(said(name), {label: log.get(name, ([], [])) for label, log in zip(labels, logs, strict=True)})
            for name in names
        ]
        metrics = [
            [said(name), *map(number, found), less(*found)]
            for name in sorted({*pair[0].metrics, *pair[1].metrics})
            if (found := [run.metrics.get(name) for run in pair])
        ]
        settings = [
            [name, *(str(run.config.get(name, NONE)) for run in pair)]
            for name in sorted({*pair[0].config, *pair[1].config})
            if pair[0].config.get(name) != pair[1].config.get(name)
        ]
        return self._render(
            "two_runs.html", "/compare", runs=pair, labels=labels, curves=curves, metrics=metrics, settings=settings
        )

    def error(self, status: int, title: str, says: str) -> str:
        return self._render("error.html", "/", status=status, title=title, says=says)

    def link(self, target: str, at: str) -> str:
        """The address of a page or a file, as the page at the address `at` has to write it."""
        if self.served:
            return quote(target, safe="/#?=&%")
        path, _, anchor = target.partition("#")
        way = posixpath.relpath(file_of(path), posixpath.dirname(file_of(at)) or ".")
        return quote(way) + (f"#{anchor}" if anchor else "")

    def _render(self, template: str, address: str, **values: Any) -> str:
        link: Callable[[str], str] = functools.partial(self.link, at=address)
        return (
            _templates()
            .get_template(template)
            .render(link=link, here=address, served=self.served, has_demos=bool(self._demos()), **values)
        )


def file_of(address: str) -> str:
    """The file of the site that holds the page, or is the file, of an address."""
    if address.startswith(("/static/", "/files/")) or address == "/words.js":
        return address[1:]
    return "index.html" if address == "/" else f"{address[1:]}.html"


def demos() -> Sequence[Any]:
    """The demos that are there; none without them."""
    try:
        from etudes.web.demos import DEMOS
    except ImportError:
        return ()
    return DEMOS


def _words(study: str) -> Callable[[str], str]:
    """What the metrics of a study are called; of one that is none of the catalogue's, their names spelled out."""
    if study in catalogue.names():
        return functools.partial(words.of, catalogue.find(study))
    return lambda metric: metric.replace("/", " ").replace("-", " ")


@functools.cache
def _templates() -> jinja2.Environment:
    folders = [Path(__file__).parent / "templates", Path(render.__file__).parent / "templates"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "slug": lambda words: words.replace(" ", "-"), "shown_size": _size}
    environment.filters["in_words"] = runs.in_words
    environment.filters["course"] = lambda origin: COURSES.get(origin[:1], origin)
    return environment


def _size(picture: Exhibit, among: int) -> tuple[int, int]:
    """The width and height to show a picture in: a whole multiple of its own, which two of fit beside each other."""
    own, height = picture.size
    times = max(1, (look.WIDTH if among == 1 else COLUMN) // own)
    return times * own, times * height
