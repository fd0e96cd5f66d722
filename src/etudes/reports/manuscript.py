"""A report as a folder of LaTeX: report.tex, the parts and figures that it reads in, and its references.

A template is LaTeX with places, such as \\VAR{title} or \\VAR{claims}. Words are put there as they are; a part is put
into parts/ and read in from there, so that what somebody writes around it survives when the numbers are renewed.
"""

import io
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.reports import abstract, compare, ideas, latex, render, replication, words
from etudes.reports.drawings import Drawing, draw
from etudes.reports.latex import escape, listing
from etudes.reports.left import Exhibit
from etudes.reports.numbers import NONE, number
from etudes.reports.report import Report

SKELETONS = Path(__file__).parent / "skeletons"
PLACE = re.compile(r"\\VAR\{([^{}]*)\}")
MAIN = "report.tex"
FEW = 4  # metrics that the body of a report shows of each variant, and its appendix of each run
FIGURE = r"width=\linewidth,height=.42\textheight,keepaspectratio"
PICTURE = r"width=.8\linewidth,height=.25\textheight,keepaspectratio"
LINES = 30  # of a text that a run left
RUNS = "The main numbers of each run; runs.csv has all of them."
MEANS = "Means over seeds, with one standard deviation."
Files = dict[str, bytes]  # by their paths within the folder


def templates() -> list[str]:
    """The names of the templates that études has."""
    return sorted(path.stem for path in SKELETONS.glob("*.tex"))


def template_text(template: str) -> str:
    """The text of a template of that name, or else of the file at that path. Raises Problem where there is neither."""
    if template in templates():
        return (SKELETONS / f"{template}.tex").read_text(encoding="utf-8")
    path = Path(template)
    if not path.is_file():
        raise unknown("template", template, [*templates(), "or the path of a LaTeX file"])
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Problem(f"{path} is no text in UTF-8; save it as that") from None


def files(report: Report, template: str = "article", drawn: Sequence[Drawing] | None = None) -> Files:
    """{path: content} of the folder. `drawn` are the report's charts, where they are drawn already.

    Raises Problem on a template that is not there, or that has a place which is not known.
    """
    text = template_text(template)
    drawn = draw(report) if drawn is None else drawn
    inline, parts = _words(report), _parts(report, drawn)
    known = {**inline, **{name: rf"\input{{parts/{name}}}" for name in parts}}
    for name in PLACE.findall(text):
        if name not in known:
            raise unknown(f"place in {template}", name, sorted(known))
    main = PLACE.sub(lambda place: known[place[1]], text)
    found = {MAIN: main, "references.bib": _references(report)}
    found |= {f"parts/{name}.tex": f"{part}\n\n" for name, part in parts.items()}
    return {name: content.encode() for name, content in found.items()} | _figures(drawn)


def _words(report: Report) -> dict[str, str]:
    """What stands within a line."""
    paper = report.study["paper"]
    return {
        "packages": latex.PACKAGES,
        "title": escape(report.title),
        "study": escape(report.definition.name),
        "scale": escape(report.scale),
        "question": escape(report.study["question"]),
        "paper": rf"{escape(paper['authors'])}: \emph{{{escape(paper['title'])}}}~\cite{{paper}}",
        "paper-title": escape(paper["title"]),
    }


def _parts(report: Report, drawn: Sequence[Drawing]) -> dict[str, str]:
    """What stands by itself; "" where the report has nothing of the kind."""
    rows, main = report.verdict_rows(), report.main_metrics[:FEW]
    variants = [[v["name"], _changes(v["changes"]), v["says"]] for v in report.study["variants"]]
    return {
        "abstract": _abstract(report),
        "notes": "\n\n".join(rf"\noindent\textbf{{Note.}} {escape(warning)}" for warning in report.cautions),
        "claims": _claims(rows),
        "claim-list": _items([f"{_claim(row)}. {row['number']}, expected {row['expected']}." for row in rows]),
        "verdicts": "\n\n".join(map(_verdict, rows)),
        "meaning": escape(render.confidence()),
        "registration": _items(render.origins(report)),
        "replication": _replication(report.replication) if report.replication else "",
        "comparisons": _comparisons(report) if report.comparisons else "",
        "numbers": _numbers(report),
        "all-numbers": "\n".join(latex.long_table(*part, MEANS) for part in latex.parts(*report.table_rows(), keep=2)),
        "runs": "\n".join(latex.long_table(*part, RUNS) for part in _runs(report, main)),
        "figure": "".join(map(_figure, drawn[:1])),
        "figures": "\n\n".join(map(_figure, drawn[1:])) or "There is no further chart.",
        "variants": latex.table(["variant", "changes", "what it is"], variants, "What is compared.", "variants"),
        "idea": _idea(report),
        "departures": rf"\paragraph{{Departures}} {escape(report.departures)}" if report.departures else "",
        "data": _data(report),
        "settings": _settings(report),
        "environment": _environment(report),
        "commands": listing("\n".join(report.commands)),
    }


def _claim(row: Mapping[str, str]) -> str:
    return f"{row['claim']} ({row['where']})" if row["where"] else row["claim"]


def _abstract(report: Report) -> str:
    return "\n\n".join(
        rf"\textbf{{{escape(label)}.}} " * bool(label) + escape(" ".join(said))
        for label, said in abstract.paragraphs(report)
    )


def _idea(report: Report) -> str:
    """The words and equations of the study's docstring, and the function that does it."""
    found = ideas.idea(report.definition)
    if found is None:
        return ""
    said = [listing(text) if verbatim else escape(text) for text, verbatim in found.words]
    where = f"{found.name} in {found.file}" + (f", tested in {found.test}" if found.test else "")
    return "\n\n".join([*said, rf"\noindent {escape(where)}:", listing(found.source)])


def _claims(rows: Sequence[Mapping[str, str]]) -> str:
    body = [
        [_claim(row), *(row[name] for name in ("verdict", "mean", "interval", "expected", "paper"))] for row in rows
    ]
    said = "The claims and their verdicts: the mean over seeds, its interval, and the range where the claim puts it."
    return latex.table(["claim", "verdict", "mean", "interval", "expected", "the paper's figure"], body, said, "claims")


def _verdict(row: Mapping[str, str]) -> str:
    said = (
        f"{row['number']}: mean {row['mean']}, interval {row['interval']}, p {row['p']}; expected {row['expected']}; "
    )
    said += f"seeds agree: {row['agree']}. "
    said += f"The paper's own figure is {row['paper']}. " * (row["paper"] != NONE) + row["remark"]
    return rf"\paragraph{{{escape(_claim(row))}}} \emph{{{escape(row['verdict'])}}}. {escape(said)}"


def _items(sentences: Sequence[str]) -> str:
    return "\n".join(
        [r"\begin{itemize}\raggedright", *(rf"\item {escape(said)}" for said in sentences), r"\end{itemize}"]
    )


def _replication(found: replication.Replication) -> str:
    table = latex.table(*replication.rows(found), "The same claims under seeds that nobody had judged.", "replication")
    return f"{table}\n{escape(' '.join(found.sentences))}"


def _comparisons(report: Report) -> str:
    table = latex.table(*compare.table(report), "Variants of our own beside those of the study.", "comparisons")
    return f"{table}\n{escape(compare.WORDS)}"


def _numbers(report: Report) -> str:
    parts = latex.parts(*report.table_rows(report.main_metrics[:FEW]))
    tables = [latex.table(*part, MEANS, f"numbers-{i}") for i, part in enumerate(parts, 1)]
    return "\n".join([*tables, *map(escape, report.constant_sentences())])


def _runs(report: Report, metrics: Sequence[str]) -> list[latex.Table]:
    body = [
        [trial["variant"], str(trial["seed"]), *(number(trial["metrics"].get(name)) for name in metrics)]
        for trial in report.trials
    ]
    return latex.parts(["variant", "seed", *(words.of(report.definition, name) for name in metrics)], body, keep=2)


def _settings(report: Report) -> str:
    """A row for each field of the Config: its value where the variants share it, and what it is."""
    configs, said = [row["config"] for row in report.table], catalogue.comments(report.definition.config)
    rows = []
    for name, value in configs[0].items():
        shared = all(config[name] == value for config in configs)
        rows.append([name, str(value) if shared else "by variant", said.get(name, "")])
    return latex.long_table(["setting", "value", "what it is"], rows, "The settings of all runs.")


def _data(report: Report) -> str:
    rows = [[str(entry.get(name, "")) for name in ("dataset", "kind", "says")] for entry in report.data]
    return latex.table(["data", "kind", "what it is"], rows, "The data that the runs used.", "data") if rows else ""


def _environment(report: Report) -> str:
    rows = []
    for name, value in report.environment.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        rows.append([name.replace("_", " "), text])
    minutes = number(sum(trial["seconds"] or 0 for trial in report.trials) / 60, 3)
    rows.append(["all runs", f"{len(report.trials)} runs, {minutes} minutes one after the other"])
    return latex.table(["fact", "value"], rows, "What the runs were made by.", "environment")


def _changes(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in changes.items())


def _figure(drawing: Drawing) -> str:
    """A chart that floats, or pictures, texts and sounds one below the other."""
    title = escape(drawing.title)
    if drawing.problem:
        return rf"{title} is not drawn: {escape(drawing.problem)}."
    if not drawing.svg:
        lines = [rf"\paragraph{{{title}}} {escape(drawing.says)}"]
        return "\n\n".join([*lines, *map(_exhibit, drawing.exhibits)])
    lines = [
        r"\begin{figure}[htbp]",
        rf"\centering\includegraphics[{FIGURE}]{{figures/{drawing.name}.pdf}}",
        rf"\caption{{{title}. {escape(drawing.says)}}}\label{{fig:{drawing.name}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines)


def _exhibit(exhibit: Exhibit) -> str:
    caption = rf"\noindent\emph{{{escape(exhibit.caption)}}}"
    if exhibit.problem:
        return f"{caption}: {escape(exhibit.problem)}."
    if exhibit.kind == ".txt":
        lines = exhibit.text.splitlines()
        more = f", the first {LINES} of {len(lines)} lines" if len(lines) > LINES else ""
        return f"{caption}{more}\n\n" + listing("\n".join(lines[:LINES]))
    if exhibit.kind == ".wav":
        return rf"{caption}: a sound, \texttt{{{escape(_file(exhibit))}}}"
    return f"{caption}\\nopagebreak\n\n\\noindent\\includegraphics[{PICTURE}]{{{_file(exhibit)}}}"


def _file(exhibit: Exhibit) -> str:
    """Where an exhibit stands in the folder: films as their first picture. LaTeX wants one dot in a name."""
    stem = exhibit.path.stem.replace(".", "-")
    return f"figures/{stem}{'.png' if exhibit.kind == '.gif' else exhibit.kind}"


def _figures(drawn: Sequence[Drawing]) -> Files:
    import vl_convert

    found = {f"figures/{each.name}.pdf": bytes(vl_convert.svg_to_pdf(each.svg)) for each in drawn if each.svg}
    for exhibit in (exhibit for each in drawn for exhibit in each.exhibits):
        if exhibit.content and exhibit.kind != ".txt":
            found[_file(exhibit)] = _still(exhibit.content) if exhibit.kind == ".gif" else exhibit.content
    return found


def _still(film: bytes) -> bytes:
    from PIL import Image

    picture = io.BytesIO()
    with Image.open(io.BytesIO(film)) as frames:
        frames.convert("RGB").save(picture, "png")
    return picture.getvalue()


def _references(report: Report) -> str:
    """BibTeX of the paper, and of études as CITATION.cff has it."""
    import yaml

    paper, package = report.study["paper"], Path(catalogue.__file__).parents[1]
    checkout = package.parents[1] / "CITATION.cff"
    own = yaml.safe_load((checkout if checkout.is_file() else package / "CITATION.cff").read_text(encoding="utf-8"))
    commit = report.environment.get("commit")
    address = render.address(paper["url"])
    return "\n".join(
        [
            _entry("paper", paper["title"], _authors(paper["authors"]), {"year": str(paper["year"])}, address),
            _entry(
                "etudes",
                own["title"],
                " and ".join(f"{{{escape(author['name'])}}}" for author in own["authors"]),
                {"note": escape(f"Version {own['version']}" + (f", commit {commit}" if commit else ""))},
                str(own.get("repository-code", "")),
            ),
        ]
    )


def _entry(key: str, title: str, authors: str, further: Mapping[str, str], url: str) -> str:
    fields = {"title": f"{{{escape(title)}}}", "author": authors, **further}
    fields |= {"url": urllib.parse.quote(url, safe=":/?#[]@!$&'()*+,;=%~-._")} if url else {}
    return "\n".join([f"@misc{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}\n"])


def _authors(text: str) -> str:
    """BibTeX's list of the names that a study gives: "Mnih, Silver and 16 others", "Touvron et al."."""
    names = [name for name in re.split(r",\s*|\s+and\s+|\s+(?=et al\.)", text) if name]
    return " and ".join("others" if re.fullmatch(r"et al\.|(\d+ )?others", n) else f"{{{escape(n)}}}" for n in names)
