"""A report as Markdown, as one HTML file, as a notebook, and as a folder with all of them."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core.errors import unknown
from etudes.core.files import appearing
from etudes.core.verdicts import ALPHA
from etudes.reports import (
    abstract,
    cards,
    compare,
    drawings,
    glossary,
    ideas,
    intervals,
    replication,
    terminal,
    words,
)
from etudes.reports.drawings import Drawing
from etudes.reports.left import FOLDERS, Exhibit, Exhibition
from etudes.reports.markdown import escape as _escape
from etudes.reports.markdown import table as _table
from etudes.reports.notebook import notebook
from etudes.reports.numbers import NONE, number, spread
from etudes.reports.report import Report

if TYPE_CHECKING:
    import jinja2

FORMATS = ("md", "html", "ipynb")
Files = dict[Path, bytes]  # by their paths within a report's folder


def render(report: Report, format: str, drawn: Sequence[Drawing] | None = None) -> str:
    """The report as the text of one file: md, html or ipynb. `drawn` are its charts, where they are drawn already."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    drawn = drawings.draw(report) if drawn is None else drawn
    if format == "ipynb":
        import nbformat

        return nbformat.writes(notebook(report, _page("summary.html", report, drawn), drawn)) + "\n"
    return _markdown(report, drawn) if format == "md" else _page("report.html", report, drawn)


def write(report: Report, folder: Path) -> None:
    """Write all of a report into a folder of runs: what `keep` writes, and each chart as PNG, report.html and
    report.ipynb, which are made from that."""
    drawn = drawings.draw(report)
    files = _files(report, drawn)
    files |= {Path("charts", f"{each.name}.png"): drawings.png(each.svg) for each in drawn if each.svg}
    files |= {Path(f"report.{kind}"): render(report, kind, drawn).encode() for kind in ("html", "ipynb")}
    _replace(folder, files)


def keep(report: Report, folder: Path) -> None:
    """Write what is committed of a report: report.json, curves.json, and report.md with the charts (SVG) and files of
    runs that it shows.

    What else `write` leaves can be made from these in a second, and is removed.
    """
    _replace(folder, _files(report, drawings.draw(report)))


def _files(report: Report, drawn: Sequence[Drawing]) -> Files:
    files = {exhibit.path: exhibit.content for exhibit in report.exhibits if exhibit.content}
    files |= {Path("charts", f"{each.name}.svg"): each.svg.encode() for each in drawn if each.svg}
    if small := drawings.thumbnail(report):
        files[Path("charts", drawings.THUMBNAIL)] = small.encode()
    texts = {"curves.json": _json(report.curves_json()), "report.md": render(report, "md", drawn)}
    texts["report.json"] = _json(report.json())
    return files | {Path(name): text.encode() for name, text in texts.items()}


def _json(value: Mapping[str, Any]) -> str:
    """The JSON of a mapping, small, with a line for each entry of its lists, so that two of them can be compared."""
    dump = functools.partial(json.dumps, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    lines = []
    for name, held in value.items():
        rows = held if isinstance(held, list) and held and not isinstance(held[0], str) else None
        text = "[\n" + ",\n".join(map(dump, rows)) + "\n]" if rows else dump(held)
        lines.append(f"{dump(name)}:{text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _replace(folder: Path, files: Files) -> None:
    """Write the files; remove those that an earlier report left there and which are not among them."""
    for name in sorted(files, key=lambda name: name == Path("report.json")):  # last: with it the folder holds a report
        with appearing(folder / name) as draft:
            draft.write_bytes(files[name])
    own = {"charts": (".svg", ".png"), ".": (".html", ".ipynb")}
    own |= {kind: tuple(s for s, folder in FOLDERS.items() if folder == kind) for kind in FOLDERS.values()}
    for kind, suffixes in own.items():
        for path in (folder / kind).glob("report.*" if kind == "." else "*"):
            if path.suffix in suffixes and path.relative_to(folder) not in files:
                path.unlink()


def html(report: Report) -> str:
    """One page that needs nothing but itself: no script, no request, light and dark."""
    return render(report, "html")


def summary(report: Report) -> str:
    """The verdicts, the table and the charts, as Jupyter shows them."""
    return _page("summary.html", report, drawings.draw(report))


def exhibition(shown: Exhibition) -> str:
    """Pictures, texts or sounds under their title, as Jupyter shows them."""
    return str(_templates().get_template("parts.html").module.exhibition(shown))


def _page(template: str, report: Report, drawn: Sequence[Drawing]) -> str:
    import markupsafe

    return (
        _templates()
        .get_template(template)
        .render(
            **parts(report, lambda target: ""),
            report=report,
            charts=[{**vars(drawing), "svg": markupsafe.Markup(drawing.svg)} for drawing in drawn],
            runs=_runs(report),
            changed=_changes(report.changed),
            facts=_facts(report),
            link=address(report.study["paper"]["url"]),
            duration=_duration(report),
        )
    )


def parts(report: Report, link: cards.Link) -> dict[str, Any]:
    """What pages show of a report before and between its charts, by the names that their templates have for it.

    `link` makes addresses of the site into what leads there, or into "" where nothing does.
    """
    import markupsafe

    drawn = map(intervals.forest, report.verdicts, intervals.axes(report.verdicts))
    return {
        "mark": glossary.Marker(),
        "abstract": abstract.paragraphs(report),
        "reading": markupsafe.Markup(cards.page(cards.reading(report), link)),
        "going_on": terminal.going_on(report),
        "claims": [
            {**row, "forest": markupsafe.Markup(svg)} for row, svg in zip(report.verdict_rows(), drawn, strict=True)
        ],
        "drawings_key": intervals.KEY,
        "confidence": confidence(),
        "origins": origins(report),
        "compared": compare.table(report),
        "replicated": replication.rows(report.replication) if report.replication else ((), ()),
        "means_of_differences": compare.WORDS,
        "gist": ideas.gist(report.definition),
        "idea": ideas.idea(report.definition),
        "numbers": {
            "main": report.table_rows(report.main_metrics),
            "all": report.table_rows(),
            "constants": report.constant_sentences(),
        },
    }


@functools.cache
def _templates() -> "jinja2.Environment":
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def markdown(report: Report) -> str:
    """The report in the Markdown of GitHub; its charts are the files that `keep` puts beside it."""
    return render(report, "md")


def _markdown(report: Report, drawn: Sequence[Drawing]) -> str:
    card, paper = report.study, report.study["paper"]
    source = f"{paper['title']}. {paper['authors']}, {paper['year']}."
    found = address(paper["url"])
    link = f"[{_escape(source)}]({found})" if found else _escape(f"{source} {paper['url']}")
    lines = [f"# {_escape(report.title)}", _escape(card["question"]), _escape(ideas.gist(report.definition)), link]
    lines += [f"Changed for these runs: {_escape(_changes(report.changed))}."] if report.changed else []
    for label, found in abstract.paragraphs(report):
        listed = "\n".join(f"- {_escape(words)}" for words in found)
        lines += [f"**{label}**", listed] if label else [_escape(words) for words in found]
    if said := cards.reading(report):
        lines += [f"## {cards.READING}", cards.without_links(said)]
    lines += [f"> **Note.** {_escape(warning)}" for warning in report.cautions]
    for drawing in drawn[:1]:
        lines += _figure(drawing)
    lines += ["## Compared", _table(*compare.table(report)), compare.WORDS] if report.comparisons else []
    lines += _claims(report)
    if report.replication:
        lines += [
            "## Replicated",
            _table(*replication.rows(report.replication)),
            " ".join(report.replication.sentences),
        ]
    lines += _idea(report)
    head, body = report.table_rows()
    constants = " ".join(map(_escape, report.constant_sentences()))
    lines += ["## Numbers", _table(*report.table_rows(report.main_metrics))]
    lines += [f"Means over {report.seeds} ± one standard deviation. {constants}".strip()]
    lines += [
        f"<details><summary>All {len(head) - 1} numbers of each variant</summary>",
        _table(head, body),
        "</details>",
    ]
    lines += ["## Charts"] if drawn[1:] else []
    for drawing in drawn[1:]:
        lines += _figure(drawing)
    changes = [[v["name"], _changes(v["changes"]), v["says"]] for v in card["variants"]]
    lines += ["## Variants", _table(["variant", "changes", ""], changes)]
    if report.departures:
        lines += ["## Departures from the paper", _escape(report.departures).replace("\\`", "`")]
    if report.data:
        rows = [[str(entry.get(name, "")) for name in _DATA] for entry in report.data]
        lines += ["## Data", _table(list(_DATA), rows)]
    lines += ["## Machine", *map(_escape, report.notes), _table(["fact", ""], [list(fact) for fact in _facts(report)])]
    lines += ["## Again", "```\n" + "\n".join(report.commands) + "\n```", f"The runs took {_duration(report)} in all."]
    return "\n\n".join(filter(None, lines)) + "\n"


def _claims(report: Report) -> list[str]:
    rows = report.verdict_rows()
    claims = [
        [f"{row['claim']} ({row['where']})" if row["where"] else row["claim"], row["verdict"], row["number"],
         row["mean"], row["interval"], row["p"], row["expected"], row["agree"], row["paper"]]
        for row in rows
    ]  # fmt: skip
    names = ["claim", "verdict", "number", "mean", "interval", "p", "expected", "seeds agree", "paper"]
    lines = ["## Claims", _table(names, claims)]
    remarks = [f"- *{_escape(row['claim'])}*: {_escape(row['remark'])}" for row in rows if row["remark"]]
    lines += ["\n".join(remarks)] if remarks else []
    lines += [" ".join(further)] if (further := terminal.going_on(report)) else []
    lines += [confidence(), "\n".join(f"- {_escape(said)}" for said in origins(report))]
    met = glossary.Marker()
    met(" ".join([abstract.sentences(report), *(cell for row in rows for cell in row.values())]))
    said = "\n".join(f"- **{_escape(term.name)}**: {_escape(term.says)}" for term in met.met)
    return lines + (["<details><summary>What the words mean</summary>", said, "</details>"] if said else [])


def _idea(report: Report) -> list[str]:
    found = ideas.idea(report.definition)
    if found is None:
        return []
    said = [_verbatim(text) if verbatim else _escape(text) for text, verbatim in found.words]
    where = f"`{found.name}` in `{found.file}`" + (f", tested in `{found.test}`" if found.test else "")
    return ["## The idea in code", *said, f"{where}:", _verbatim(found.source, "python")]


def _figure(drawing: Drawing) -> list[str]:
    title = _escape(drawing.title)
    if drawing.problem:
        return [f"{title} is not drawn: {_escape(drawing.problem)}."]
    if drawing.svg:
        shown = [f"![{title}](charts/{drawing.name}.svg)"]
    else:
        shown = [f"**{title}**"]
        shown += [f"{_escape(exhibit.caption)}\n\n{_exhibit(exhibit, title)}" for exhibit in drawing.exhibits]
    return shown + ([_escape(drawing.says)] if drawing.says else [])


def _exhibit(exhibit: Exhibit, title: str) -> str:
    if exhibit.cards:
        return _table(*exhibit.cards)
    if exhibit.kind == ".txt":
        return _verbatim(exhibit.text)
    if exhibit.kind == ".wav":  # which GitHub plays from a page of its own
        return f"[{exhibit.path.name}]({exhibit.path.as_posix()})"
    return f"![{title}: {exhibit.variant}]({exhibit.path.as_posix()})"


def _verbatim(text: str, language: str = "text") -> str:
    """The text as a block of code, whatever it holds."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


_DATA = ("dataset", "kind", "says", "fingerprint")


def confidence() -> str:
    """What the intervals and verdicts mean, in a few sentences."""
    rate, three = f"{100 * ALPHA:g} %", f"{300 * ALPHA:g} %"
    return (
        "Each claim is tested over its seeds by one-sided t tests: that its number lies in the expected range "
        "(supported), outside of it (refuted), or, where the claim names a margin, so near to the range's end that the "
        f"difference is too small to matter (negligible). Each kind of false verdict is made in at most {rate} of "
        f"studies, and any of the three in at most {three}, however many claims and looks there are: over seeds, given "
        "the data, the test set and what the variants share. The interval is at the level of the claim's own test, so "
        "it says what the verdict says; p is corrected likewise. “Seeds agree” counts the seeds whose own number lies "
        "in the range. The paper's figure was not measured here. docs/verdicts.md derives the rule."
    )


def origins(report: Report) -> list[str]:
    """Whether the claims were written down before the runs, and what changed between revisions, in sentences."""
    made = report.registration
    first = (
        f"Registered {made['registered']}, before the first judged run: {made['hash']}." if made else "Not registered."
    )
    study = report.definition
    changes = (f"Revision {i} of {study.name}: {words.sentence(said)}" for i, said in enumerate(study.revisions, 2))
    return [first, *changes]


def _duration(report: Report) -> str:
    seconds = sum(trial["seconds"] or 0 for trial in report.trials)
    return f"{number(seconds / 60, 3)} minutes" if seconds >= 60 else f"{number(seconds, 3)} seconds"


def _runs(report: Report) -> tuple[list[str], list[list[str]]]:
    """The headings and cells of the table of single runs."""
    named = [words.of(report.definition, name) for name in report.metrics]
    head = ["variant", "seed", *named, "seconds", "run"]
    body = [
        [
            trial["variant"],
            str(trial["seed"]),
            *(spread(trial["metrics"].get(name), None) for name in report.metrics),
            number(trial["seconds"], 3),
            trial["key"].rpartition("/")[2],
        ]
        for trial in report.trials
    ]
    return head, body


def _facts(report: Report) -> list[tuple[str, str]]:
    """The environment in words, the libraries on one line."""
    found = []
    for name, value in report.environment.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        found.append((name.replace("_", " "), text or NONE))
    return found


def _changes(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in changes.items())


def address(url: str) -> str:
    """A paper's address on the web, "" where it has none."""
    if url.lower().startswith("arxiv:"):
        return f"https://arxiv.org/abs/{url[6:].strip()}"
    return url if url.startswith(("https://", "http://")) else ""


# Set here and not in their classes, as they are what this module reads.
Report._repr_html_ = summary  # type: ignore[attr-defined]
Exhibition._repr_html_ = exhibition  # type: ignore[attr-defined]
