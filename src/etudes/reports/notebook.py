"""A report as a notebook: what came out first, with its outputs stored; the runs again, on demand; chart by chart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etudes.reports import abstract, cards, facts
from etudes.reports.drawings import Drawing
from etudes.reports.left import Exhibition
from etudes.reports.markdown import escape
from etudes.reports.numbers import number
from etudes.reports.report import Report

if TYPE_CHECKING:
    import nbformat

INSTALLATION = """# Only where `import etudes` fails, as on Colab: put a clone of the project there, then
# %pip install -e path/to/the/clone"""
FIRST = """## The whole report

Nothing is trained here: this reads your runs in the folder `runs` or, where there are none, the results that came with
études."""
CHARTS = "## The charts, one by one\n\nEach is an Altair chart, which can be changed and saved."


def notebook(report: Report, page: str, drawn: Sequence[Drawing]) -> "nbformat.NotebookNode":
    """The notebook of the report, of which `page` is what Jupyter shows and `drawn` are the charts.

    Its outputs are those of a run from the top, but that charts are stored as they were drawn.
    """
    from nbformat import v4

    study, paper, charts = report.definition, report.study["paper"], [each for each in drawn if not each.problem]
    said = [f"# {escape(report.title)}", escape(study.question)]
    said += [escape(f"After {paper['title']}. {paper['authors']}, {paper['year']}. {paper['url']}")]
    for label, sentences in abstract.paragraphs(report):
        listed = "\n".join(f"- {escape(words)}" for words in sentences)
        said += [f"**{label}**", listed] if label else [escape(words) for words in sentences]
    if reading := cards.without_links(cards.reading(report)):
        said += [f"## {cards.READING}", reading]
    said += [f"**Note.** {escape(warning)}" for warning in report.cautions]
    again = f"study, {report.scale!r}{_call(report.choice)}"
    minutes = number(sum(trial["seconds"] or 0 for trial in report.trials) / 60, 2)
    cells = [
        v4.new_markdown_cell("\n\n".join(said)),
        v4.new_code_cell(INSTALLATION),
        v4.new_markdown_cell(FIRST),
        _code(
            "import altair\n\nimport etudes\n\n"
            'altair.renderers.enable("svg")  # charts as pictures, which need no network\n'
            f"study = etudes.study({facts.address(study)!r})\n"
            f"report = etudes.report(study, {report.scale!r}{_call(_fields(report))})\nreport",
            {"text/html": page, "text/plain": report.title},
        ),
        v4.new_markdown_cell("## Again"),
        v4.new_code_cell(
            f"RERUN = False  # True: perform the runs that are not in `runs` yet; all together took {minutes} minutes\n"
            f"if RERUN:\n    report = etudes.run({again})\n    display(report)"
        ),
        *([v4.new_markdown_cell(CHARTS)] if charts else []),
        *(_code(f"report.chart({each.name!r})", _output(each)) for each in charts),
    ]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same at each writing
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        for output in cell.outputs:
            output.execution_count = count
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _fields(report: Report) -> dict[str, Any]:
    """What of the choice `etudes.report` needs: not how many seeds there were, nor variants that are the scale's."""
    usual = {"variants": list(report.definition.scales[report.scale].variants)}
    return {
        name: value
        for name, value in report.choice.items()
        if name not in ("seeds", "until") and usual.get(name) != value
    }


def _call(arguments: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in arguments.items())


def _code(source: str, output: Mapping[str, str]) -> Any:
    from nbformat import v4

    return v4.new_code_cell(source, outputs=[v4.new_output("execute_result", data=dict(output))])


def _output(drawing: Drawing) -> dict[str, str]:
    if drawing.svg:
        return {"image/svg+xml": drawing.svg, "text/plain": drawing.name}
    shown: Any = Exhibition(drawing.title, drawing.exhibits)
    return {"text/html": shown._repr_html_(), "text/plain": drawing.name}
