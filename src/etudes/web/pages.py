"""The pages as HTML text: one set of templates for the server and for the site of files."""

import functools
import itertools
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import markupsafe

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.reports import compare, drawings, look, render, replication
from etudes.reports.left import Exhibit
from etudes.reports.numbers import NONE, number, spread
from etudes.reports.report import Report
from etudes.web import plays, shelf
from etudes.web.live import State, Watch, curve
from etudes.web.shelf import DOWNLOADS, MADE, Shelf, Source

# The lists of course projects that studies come from, by the letter their `origin` begins with.
COURSES = {
    "A": "Project ideas, France, 2024",
    "B": "DLAI projects, Rome, 2023/24",
    "C": "DD2424 projects, KTH, 2022",
    "D": "Project suggestions",
}
VERDICTS = ("supported", "refuted", "negligible", "undecided", "not judged")
QUERY = 200  # characters of a search that are looked at
COLUMN = 430  # pixels of a picture among several
LISTED = 200  # runs of one kind on the page of runs


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
            ("verdict", verdict, VERDICTS),
        ):
            if value and value not in known:
                raise unknown(kind, value, known)
        shown = [_gallery(card, q, family, origin, verdict) for card in cards]
        counts = {name: sum(card["tally"].get(name, 0) for card in shown) for name in VERDICTS}
        return self._render(
            "home.html",
            "/",
            cards=shown,
            found=sum(not card["hidden"] for card in shown),
            families=families,
            origins=origins,
            counts=counts,
            claims=sum(counts.values()),
            asked={"q": q, "family": family, "origin": origin, "verdict": verdict},
        )

    def study(self, name: str, source: str = "") -> str:
        """A study's page with one of its reports, or with its card alone where it has none."""
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
            claims=_claims(report) if report else [],
            confidence=render.confidence(),
            origins=render.origins(report) if report else [],
            compared=compare.table(report) if report else (),
            replicated=replication.rows(report.replication) if report and report.replication else (),
            means_of_differences=compare.WORDS,
            tally=_tally(report.study["claims"]) if report else {},
            charts=[{**vars(d), "svg": markupsafe.Markup(d.svg)} for d in self.shelf.drawings(report, chosen)]
            if report and chosen
            else [],
            downloads=self._downloads(chosen, report) if chosen else {},
            fields=shelf.fields(definition),
            scales=list(definition.scales),
            method=markupsafe.Markup(shelf.method(name, link)),
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

    def comparison(self, name: str, first: str, second: str) -> str:
        """Two reports of a study side by side. Raises Problem where one of them is not there."""
        sources = [self.shelf.source(name, wanted) for wanted in (first, second)]
        reports = [self.shelf.report(source) for source in sources]
        rows = [_claims(report) for report in reports]
        return self._render(
            "comparison.html",
            f"/compare/{name}/{first}/{second}",
            name=name,
            sources=sources,
            reports=reports,
            claims=list(zip(*rows, strict=True)),
            confidence=render.confidence(),
            numbers=_differences(*reports),
            settings=_settings(*reports),
        )

    def data(self) -> str:
        """The datasets, as `etudes data` lists them."""
        from etudes.data import commands

        return self._render("data.html", "/data", rows=commands.table())

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
        return self._render("live.html", "/live", root=str(watch.root), part=self.live_part(watch))

    def live_part(self, watch: Watch) -> markupsafe.Markup:
        """What changes on the page of runs: it is asked for again and again, and made once for each look at them."""
        found = watch.runs()
        if self._seen[0] is not found:
            self._seen = (found, self._live_part(found))
        return self._seen[1]

    def _live_part(self, found: Mapping[str, State]) -> markupsafe.Markup:
        scales = {card["name"]: card["scales"] for card in self.shelf.cards()}
        groups = []
        runs = sorted(found.values(), key=lambda run: (run.study, run.scale))
        for (study, scale), members in itertools.groupby(runs, key=lambda run: (run.study, run.scale)):
            group = sorted(members, key=lambda run: -run.updated)
            usual = scales.get(study, {}).get(scale)
            planned = usual["seeds"] * usual["variants"] if usual else 0
            states = {
                state: [run for run in group if run.state == state] for state in ("running", "stopped", "finished")
            }
            groups.append(
                {
                    "study": study,
                    "scale": scale,
                    "planned": max(planned, len(group)),
                    "known": study in scales,
                    "updated": max(run.updated for run in group),
                    "counts": {state: len(kept) for state, kept in states.items()},
                    "states": {state: kept[:LISTED] for state, kept in states.items()},
                }
            )
        groups.sort(key=lambda group: (not group["states"]["running"], -group["updated"]))
        return markupsafe.Markup(self._render("live_part.html", "/live", groups=groups, listed=LISTED))

    def run(self, watch: Watch, key: str) -> str:
        run = watch.run(key)
        others = [other for other in watch.runs().values() if other.study == run.study and other.key != run.key]
        return self._render(
            "run.html", f"/live/run/{key}", run=run, part=self.run_part(watch, key), others=others[:LISTED]
        )

    def run_part(self, watch: Watch, key: str) -> markupsafe.Markup:
        run = watch.run(key)
        curves = [curve(metric, {"": series}) for metric, series in sorted(watch.log(key).items())]
        return markupsafe.Markup(self._render("run_part.html", "/live", run=run, curves=curves))

    def two_runs(self, watch: Watch, first: str, second: str) -> str:
        """Two runs of one study: in what they were set apart, what came out, and their curves. Raises Problem."""
        runs, logs = [watch.run(first), watch.run(second)], [watch.log(first), watch.log(second)]
        if runs[0].study != runs[1].study:
            raise Problem(f"{first} and {second} are of two studies; choose two runs of one")
        labels = [f"{letter}: {run.variant}, seed {run.seed}" for letter, run in zip("AB", runs, strict=True)]
        names = sorted({*logs[0], *logs[1]})
        curves = [
            curve(name, {label: log.get(name, ([], [])) for label, log in zip(labels, logs, strict=True)})
            for name in names
        ]
        metrics = [
            [name, *(number(run.metrics.get(name)) for run in runs), _less(*(run.metrics.get(name) for run in runs))]
            for name in sorted({*runs[0].metrics, *runs[1].metrics})
        ]
        settings = [
            [name, *(str(run.config.get(name, NONE)) for run in runs)]
            for name in sorted({*runs[0].config, *runs[1].config})
            if runs[0].config.get(name) != runs[1].config.get(name)
        ]
        return self._render(
            "two_runs.html", "/compare", runs=runs, labels=labels, curves=curves, metrics=metrics, settings=settings
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
    if address.startswith(("/static/", "/files/")):
        return address[1:]
    return "index.html" if address == "/" else f"{address[1:]}.html"


def demos() -> Sequence[Any]:
    """The demos that are there; none without them."""
    try:
        from etudes.web.demos import DEMOS
    except ImportError:
        return ()
    return DEMOS


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
    environment.filters["course"] = lambda origin: COURSES.get(origin[:1], origin)
    return environment


def _size(picture: Exhibit, among: int) -> tuple[int, int]:
    """The width and height to show a picture in: a whole multiple of its own, which two of fit beside each other."""
    own, height = picture.size
    times = max(1, (look.WIDTH if among == 1 else COLUMN) // own)
    return times * own, times * height


def _gallery(card: Mapping[str, Any], q: str, family: str, origin: str, verdict: str) -> dict[str, Any]:
    """The card as the gallery shows it; `hidden` where the search or a filter leaves it out."""
    paper, verdicts = card["paper"], [claim["verdict"] or "not judged" for claim in card["claims"]]
    words = " ".join(
        [card["name"], card["question"], card["family"], paper["title"], paper["authors"], str(paper["year"])]
        + [claim["says"] for claim in card["claims"]]
    ).lower()
    kept = (
        all(word in words for word in q.lower().split())
        and family in ("", card["family"])
        and origin in ("", card["origin"][:1])
        and (not verdict or verdict in verdicts)
    )
    first = paper["authors"].split(",")[0].strip()
    several = "," in paper["authors"] and "et al" not in first
    return {
        **card,
        "words": words,
        "verdicts": verdicts,
        "tally": _tally(card["claims"]),
        "hidden": not kept,
        "cited": f"{first}{' et al.' if several else ''}, {paper['year']}",
        "origin": card["origin"],
    }


def _tally(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    verdicts = [claim["verdict"] or "not judged" for claim in claims]
    return {name: verdicts.count(name) for name in VERDICTS if name in verdicts}


def _claims(report: Report) -> list[dict[str, Any]]:
    """The report's own words for each claim, with the drawing of its interval."""
    return [
        {**row, "forest": markupsafe.Markup(drawings.forest(verdict))}
        for row, verdict in zip(report.verdict_rows(), report.verdicts, strict=True)
    ]


def _differences(first: Report, second: Report) -> list[list[str]]:
    """A row for each variant and metric that both reports have: either's mean and deviation, and the difference."""
    rows = []
    others = {row["variant"]: row for row in second.table}
    for row in first.table:
        other = others.get(row["variant"])
        for metric, found in row["metrics"].items() if other else ():
            if metric in other["metrics"]:
                far = other["metrics"][metric]
                cells = [spread(each["mean"], each["deviation"]) for each in (found, far)]
                rows.append([row["variant"], metric, *cells, _less(found["mean"], far["mean"])])
    return rows


def _settings(first: Report, second: Report) -> list[list[str]]:
    """A row for each Config field in which the two reports differ: its values over their variants."""

    def values(report: Report, name: str) -> str:
        return ", ".join(dict.fromkeys(str(row["config"].get(name, NONE)) for row in report.table))

    names = sorted({name for report in (first, second) for row in report.table for name in row["config"]})
    rows = [[name, values(first, name), values(second, name)] for name in names]
    seeds = [str(max(row["seeds"] for row in report.table)) for report in (first, second)]
    return [row for row in [["seeds", *seeds], *rows] if row[1] != row[2]]


def _less(first: float | None, second: float | None) -> str:
    """The second minus the first, signed."""
    if first is None or second is None:
        return NONE
    return ("+" if second > first else "") + number(second - first)
