"""A report as Markdown, as one HTML file, as a notebook, and as a folder with all of them."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core.errors import unknown
from etudes.core.files import appearing, write_json, write_text
from etudes.core.verdicts import ALPHA

from . import facts, pictures
from .build import Report
from .numbers import NONE, number, spread
from .pictures import Drawing
from .sheets import Sheet

if TYPE_CHECKING:
    import jinja2
    import nbformat

FORMATS = ("md", "html", "ipynb")


def render(report: Report, format: str) -> str:
    """The report as the text of one file: md, html or ipynb."""
    if format == "md":
        return markdown(report)
    if format == "html":
        return html(report)
    if format == "ipynb":
        import nbformat

        return nbformat.writes(notebook(report)) + "\n"
    raise unknown("format", format, FORMATS)


def write(report: Report, folder: Path) -> None:
    """Write report.json, curves.json, report.md, report.html, report.ipynb, charts/, pictures/ and texts/; remove
    charts, pictures and texts that are gone."""
    drawings = pictures.drawings(report)
    files = {picture.path: picture.content for picture in report.pictures if picture.content}
    for drawing in drawings:
        if drawing.svg:
            files[Path("charts") / f"{drawing.name}.svg"] = drawing.svg.encode()
            files[Path("charts") / f"{drawing.name}.png"] = pictures.png(drawing.svg)
    for name, content in files.items():
        with appearing(folder / name) as draft:
            draft.write_bytes(content)
    for kind, suffixes in {"charts": (".svg", ".png"), "pictures": (".png", ".gif"), "texts": (".txt",)}.items():
        for path in (folder / kind).glob("*"):
            if path.suffix in suffixes and path.relative_to(folder) not in files:
                path.unlink()
    write_text(folder / "curves.json", json.dumps(report.packed(), separators=(",", ":"), allow_nan=False) + "\n")
    write_text(folder / "report.md", _markdown(report, drawings))
    write_text(folder / "report.html", _page("report.html", report, drawings))
    write_text(folder / "report.ipynb", render(report, "ipynb"))
    write_json(folder / "report.json", report.json())  # last: with it the folder holds a report


def html(report: Report) -> str:
    """One page that needs nothing but itself: no script, no request, light and dark."""
    return _page("report.html", report, pictures.drawings(report))


def summary(report: Report) -> str:
    """The verdicts, the table and the charts, as Jupyter shows them."""
    return _page("summary.html", report, pictures.drawings(report))


def sheet(sheet: Sheet) -> str:
    """Pictures, or texts, under their title, as Jupyter shows them."""
    return str(_templates().get_template("parts.html").module.sheet(sheet))


def _page(template: str, report: Report, drawings: Sequence[Drawing]) -> str:
    import markupsafe

    head, body = report.table_rows()
    return (
        _templates()
        .get_template(template)
        .render(
            report=report,
            claims=[
                {**row, "forest": markupsafe.Markup(pictures.forest(verdict))}
                for row, verdict in zip(report.verdict_rows(), report.verdicts, strict=True)
            ],
            confidence=confidence(),
            head=head,
            body=body,
            charts=[{**vars(drawing), "svg": markupsafe.Markup(drawing.svg)} for drawing in drawings],
            runs=_runs(report),
            changed=_changes(report.changed),
            facts=_facts(report),
            link=address(report.study["paper"]["url"]),
            seeds=_seeds(report),
            duration=_duration(report),
        )
    )


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
    """The report in the Markdown of GitHub; its charts are the files that `write` puts beside it."""
    return _markdown(report, pictures.drawings(report))


def _markdown(report: Report, drawings: Sequence[Drawing]) -> str:
    card, paper = report.study, report.study["paper"]
    source = f"{paper['title']}. {paper['authors']}, {paper['year']}."
    found = address(paper["url"])
    link = f"[{_escaped(source)}]({found})" if found else _escaped(f"{source} {paper['url']}")
    lines = [f"# {_escaped(report.title)}", _escaped(card["question"]), link]
    lines += [f"Changed for these runs: {_escaped(_changes(report.changed))}."] if report.changed else []
    lines += [f"> **Note.** {_escaped(warning)}" for warning in report.warnings]
    claims = [
        [row["claim"], row["verdict"], row["mean"], row["interval"], row["expected"], row["agree"], row["paper"],
         f"{row['says']} ({row['where']})"]
        for row in report.verdict_rows()
    ]  # fmt: skip
    names = ["claim", "verdict", "mean", "interval", "expected", "seeds agree", "paper", "which says"]
    lines += ["## Claims", _table(names, claims), confidence()]
    head, body = report.table_rows()
    lines += ["## Numbers", _table(head, body), f"Means over {_seeds(report)} ± one standard deviation."]
    lines += ["## Charts"] if drawings else []
    for drawing in drawings:
        lines += _figure(drawing)
    changes = [[v["name"], _changes(v["changes"]), v["says"]] for v in card["variants"]]
    lines += ["## Variants", _table(["variant", "changes", ""], changes)]
    if report.departures:
        lines += ["## Departures from the paper", _escaped(report.departures)]
    if report.data:
        rows = [[str(entry.get(name, "")) for name in _DATA] for entry in report.data]
        lines += ["## Data", _table(list(_DATA), rows)]
    lines += ["## Environment", _table(["fact", ""], [list(fact) for fact in _facts(report)])]
    lines += ["## Again", "```\n" + "\n".join(report.commands) + "\n```", f"The runs took {_duration(report)} in all."]
    return "\n\n".join(lines) + "\n"


def _figure(drawing: Drawing) -> list[str]:
    title = _escaped(drawing.title)
    if drawing.problem:
        return [f"{title} is not drawn: {_escaped(drawing.problem)}."]
    if drawing.svg:
        shown = [f"![{title}](charts/{drawing.name}.svg)"]
    else:
        shown = [f"**{title}**"]
        for p in drawing.pictures:
            page = _verbatim(p.text) if p.text else f"![{title}: {p.variant}]({p.path})"
            shown.append(f"{_escaped(p.caption)}\n\n{page}")
    return shown + ([_escaped(drawing.says)] if drawing.says else [])


def _verbatim(text: str) -> str:
    """The text as a block of code, whatever it holds."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


_DATA = ("dataset", "kind", "says", "fingerprint")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """The text as Markdown that shows it: no tag, no table cell, no second line begins inside it."""
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("`", "\\`")):
        text = text.replace(sign, name)
    return " ".join(text.split())


def notebook(report: Report) -> "nbformat.NotebookNode":
    """A notebook that performs the study through the Python interface and shows its report, chart by chart."""
    from nbformat import v4

    call = "".join(f", {name}={value!r}" for name, value in report.choice.items())
    name, scale = facts.address(report.definition), report.scale
    cells: list[Any] = [
        v4.new_markdown_cell(f"# {_escaped(report.title)}\n\n{_escaped(report.study['question'])}"),
        v4.new_code_cell(f"import etudes\n\nstudy = etudes.study({name!r})\netudes.run(study, scale={scale!r}{call})"),
        v4.new_code_cell(f"report = etudes.report(study, {scale!r}{call})\nreport"),
        *(v4.new_code_cell(f"report.chart({chart.name!r})") for chart in report.definition.charts),
    ]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same at each writing
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def confidence() -> str:
    """What the intervals and verdicts mean, in a few sentences."""
    return (
        f"Intervals are Student t intervals over seeds; all of them hold together with {100 * (1 - ALPHA):g} % "
        "confidence (Bonferroni). A claim is supported where its interval lies inside the expected range, refuted "
        "where it lies outside, and else undecided. An interval without width comes from seeds that gave the same "
        "number, and says nothing about chance. “Seeds agree” counts the seeds whose own number lies in the range, "
        "with the p of an exact two-sided sign test. The paper's figure was not measured here."
    )


def _seeds(report: Report) -> str:
    counts = sorted({row["seeds"] for row in report.table})
    return f"{counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} {'seed' if counts[-1] == 1 else 'seeds'}"


def _duration(report: Report) -> str:
    seconds = sum(trial["seconds"] or 0 for trial in report.trials)
    return f"{number(seconds / 60, 3)} minutes" if seconds >= 60 else f"{number(seconds, 3)} seconds"


def _runs(report: Report) -> tuple[list[str], list[list[str]]]:
    """The headings and cells of the table of single runs."""
    head = ["variant", "seed", *report.metrics, "seconds", "run"]
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
