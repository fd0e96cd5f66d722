import dataclasses
import html.parser
import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image

from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.spec import Study
from etudes.reports import drawings, render, terminal
from etudes.reports.build import build, read
from etudes.reports.charts import Chart, bars
from etudes.reports.numbers import estimate, spread
from etudes.reports.report import Report
from etudes.reports.svg import round_coordinates, svg

Make = Callable[..., Study]


class Cells(html.parser.HTMLParser):
    """The words of a page's table cells and definitions, its tags, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag in ("td", "dd"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "dd"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_whole_and_small(written: Path, report: Report) -> None:
    charts = [f"charts/{chart.name}.{kind}" for chart in report.definition.charts for kind in ("svg", "png")]
    names = {"report.json", "curves.json", "report.md", "report.html", "report.ipynb", *charts, "charts/thumbnail.svg"}
    assert files(written).keys() == names
    assert sum(map(len, files(written).values())) < 1_500_000  # ten variants, five seeds, three metrics, eight charts


def test_writing_again_gives_the_same_bytes_and_removes_charts_that_are_gone(
    report: Report, waves: Make, tmp_path: Path, written: Path
) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    kept = dataclasses.replace(report, definition=waves(charts=waves().charts[:1]))
    render.write(kept, tmp_path)
    charts = {"test-error.svg", "test-error.png", "thumbnail.svg"}
    assert {path.name for path in (tmp_path / "charts").iterdir()} == charts
    before = files(written)
    render.write(kept, tmp_path)
    render.write(report, tmp_path)
    assert files(tmp_path) == before


def test_numbers_agree_in_all_formats(written: Path, report: Report) -> None:
    saved = json.loads((written / "report.json").read_text())
    page = Cells((written / "report.html").read_text())
    lines = [line.split(" | ") for line in (written / "report.md").read_text().splitlines()]
    for row in saved["table"]:
        (line,) = [line for line in lines if line[0] == f"| {row['variant']}" and line[1] == "5"]
        for metric in row["metrics"].values():
            text = spread(metric["mean"], metric["deviation"])
            assert text in line
            assert text in page.cells
    for verdict, row in zip(saved["verdicts"], report.verdict_rows(), strict=True):
        (line,) = [line for line in lines if line[0].startswith(f"| {verdict['claim']} (")]
        ends = [end for end in verdict["expect"] if end is not None and math.isfinite(end)]
        told = estimate(verdict["mean"], verdict["low"], verdict["high"], ends)
        assert (row["mean"], row["interval"]) == told
        assert [line[1], *line[3:5]] == [verdict["verdict"], *told]
        assert {*told} <= set(page.cells)


def test_what_came_out_comes_first_and_the_tables_late(written: Path) -> None:
    heads = [line for line in (written / "report.md").read_text().splitlines() if line.startswith("## ")]
    assert heads[:3] == ["## Claims", "## Numbers", "## Charts"]
    text = (written / "report.md").read_text()
    assert (
        0 < text.index("laptop scale (waves, 5 seeds)") < text.index("charts/test-error.svg") < text.index("## Claims")
    )
    page = (written / "report.html").read_text()
    places = [page.index(part) for part in ('id="answer"', "<figure>", 'id="claims"', 'id="numbers"', 'id="charts"')]
    assert places == sorted(places)


def test_main_numbers_lead_and_constants_are_a_sentence(report: Report, waves: Make, root: Path) -> None:
    study = dataclasses.replace(waves(), words={"train/loss": "training loss"})
    named = build(study, study.plan("laptop"), load(study.plan("laptop"), root))
    assert named.table_rows(named.main_metrics)[0] == ["variant", "training loss"]
    assert named.table_rows()[0][:2] == ["variant", "seeds"]
    same = [{**trial, "metrics": trial["metrics"] | {"test/error": 0.9}} for trial in report.trials]
    constant = dataclasses.replace(report, trials=same)
    assert "test error" not in constant.table_rows()[0]
    assert constant.constant_sentences() == ["Test error: 0.9 in all variants."]
    assert "Test error: 0.9 in all variants." in render.markdown(constant)
    assert "Test error: 0.9 in all variants." in render.html(constant)


def test_code_and_machines_are_told_of_below(report: Report) -> None:
    below = "The runs differ in the machine: a (1 run), b (2 runs)."
    above = "Variant plain-0 misses seed 3."
    warned = dataclasses.replace(report, warnings=[below, above])
    assert (warned.cautions, warned.notes) == ([above], [below])
    text = render.markdown(warned)
    assert text.index(above) < text.index("## Claims") < text.index(below)


def test_the_papers_figure_stands_apart(written: Path, report: Report) -> None:
    page = (written / "report.html").read_text()
    assert page.count('<div class="paper"><dt>the paper\'s own figure</dt>') == 2  # of three claims
    assert "<dt>the paper's own figure</dt><dd>−0.014</dd></div>" in page
    head = next(line for line in (written / "report.md").read_text().splitlines() if line.startswith("| claim"))
    assert "| paper |" in head
    assert report.verdict_rows()[1]["paper"] == "–"


def test_what_the_verdicts_promise_is_said(written: Path) -> None:
    told = "Each kind of false verdict is made in at most 5 % of studies"
    for name in ("report.md", "report.html"):
        assert told in (written / name).read_text()


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = Cells(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    assert not {"src", "srcset", "onload", "onclick", "xlink:href"} & page.attributes.keys()
    assert page.attributes["href"] == ["https://example.org/waves"]  # a link, followed only when clicked
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text
    assert page.tags.count("svg") == 8 + 3 + 3  # charts, intervals, and a mark for each verdict
    assert "prefers-color-scheme: dark" in text


def test_words_of_a_study_stay_words(waves: Make, root: Path) -> None:
    evil = "<script>alert(1)</script>"
    claim = dataclasses.replace(next(iter(waves().claims.values())), where=evil)
    paper = dataclasses.replace(waves().paper, title=f"T {evil}", authors=evil, url="javascript:alert(1)")
    chart = dataclasses.replace(bars("test/error"), title=f"t {evil}", says=evil)
    study = waves(paper=paper, claims={f"c {evil} | *b*": claim}, charts=(chart,), question=f"Why {evil} | `x`?")
    plan = study.plan("laptop")
    report = build(study, plan, load(plan, root))
    for text in (render.html(report), render.summary(report), render.markdown(report)):
        assert "<script" not in text.lower()
        assert "alert(1)" in text
    assert not Cells(render.html(report)).attributes.get("href")
    (line,) = [line for line in render.markdown(report).splitlines() if line.startswith("| c ")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 10
    assert "<script" not in render.render(report, "ipynb")


def test_a_chart_that_cannot_be_drawn_says_why(waves: Make, root: Path, tmp_path: Path) -> None:
    study = waves(charts=(bars("test/error"), bars("test/accuracy")))
    plan = study.plan("laptop")
    report = build(study, plan, load(plan, root))
    render.write(report, tmp_path)
    assert {path.stem for path in (tmp_path / "charts").iterdir()} == {"test-error", "thumbnail"}
    sentence = "is not drawn: no number in the runs of waves, 'test/accuracy'"
    assert sentence in (tmp_path / "report.md").read_text()
    assert "not drawn: no number in the runs" in (tmp_path / "report.html").read_text()


def test_ids_of_two_pictures_do_not_meet(report: Report, waves: Make) -> None:
    def clipped(report: Report) -> object:
        import altair

        rows = altair.InlineData(values=[{"x": 1, "y": 2}, {"x": 3, "y": 4}])
        return altair.Chart(rows).mark_line(clip=True).encode(x="x:Q", y="y:Q")

    study = waves(charts=tuple(Chart(name, name, clipped) for name in ("one", "two")))
    one, two = (drawing.svg for drawing in drawings.draw(dataclasses.replace(report, definition=study)))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for text, own in zip((one, two), ids, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= own


def test_shortened_paths_stay_within_a_tenth_of_a_pixel() -> None:
    points = [(3.14159 * i, 100 * math.sin(i) + 0.04449) for i in range(50)]
    path = "M" + "L".join(f"{x},{y}" for x, y in points)
    short = round_coordinates(path)
    assert len(short) < 0.5 * len(path)
    start, _, rest = short[1:].partition("l")
    x, y = map(float, start.split(","))
    found = [(x, y)]
    for step in rest.split(" "):
        dx, dy = map(float, step.split(","))
        x, y = x + dx, y + dy
        found.append((x, y))
    assert max(abs(a - b) for p, q in zip(points, found, strict=True) for a, b in zip(p, q, strict=True)) < 0.0501


def test_an_unknown_format(report: Report) -> None:
    with pytest.raises(Problem, match="no format 'pdf'; "):
        render.render(report, "pdf")


def test_jupyter_shows_verdicts_table_and_charts(report: Report) -> None:
    page = Cells(report._repr_html_())
    assert page.tags.count("svg") == 8
    assert {"supported", "refuted", *report.table_rows(report.main_metrics)[1][0]} <= set(page.cells)


@pytest.mark.parametrize("width", [60, 80])
def test_verdicts_in_the_terminal_wrap_between_words(report: Report, waves: Make, root: Path, width: int) -> None:
    long = "with alpha, which lowers the floor a little more where there is noise, the error of the last step is lower"
    first, *others = waves().claims.items()
    study = waves(claims={long: first[1], **dict(others)})
    plan = study.plan("laptop")
    report = build(study, plan, load(plan, root))
    lines = terminal.verdict_list(report, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    rows = report.verdict_rows()
    text = " ".join(" ".join(lines).split())
    for row in rows:
        assert f"{row['claim']} ({row['where']}) {row['verdict']}" in text
        assert (
            f"mean {row['mean']}; interval {row['interval']}; p {row['p']}; expected {row['expected']}; seeds agree"
            in text
        )
    said = "mean interval p expected seeds agree the paper's figure"  # beside the words of the rows
    known = {word.strip("();") for row in rows for word in f"{' '.join(row.values())} {said}".split()}
    assert {word.strip("();") for word in text.split()} <= known
    assert lines.count("") == 0
    assert sum(not line.startswith(" ") for line in lines) >= len(rows)


def test_the_terminal_shows_the_papers_figure_where_there_is_one(report: Report) -> None:
    text = terminal.verdict_list(report, 200).plain
    assert text.count("the paper's figure") == 2
    assert "the paper's figure −0.014\n" in text
    assert "5 of 5" in text
    assert "–" not in text


def test_the_terminal_takes_no_orders_from_a_studys_words(waves: Make, root: Path) -> None:
    study = waves(claims={"[red]stop[/red]": next(iter(waves().claims.values()))})
    plan = study.plan("smoke")
    assert terminal.verdict_list(build(study, plan, load(plan, root)), 80).plain.startswith("[red]stop[/red] (")


def test_what_is_kept_makes_the_rest(written: Path, report: Report, waves: Make, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    render.keep(report, tmp_path)
    charts = {f"charts/{chart.name}.svg" for chart in report.definition.charts}
    whole = files(written)
    charts |= {"charts/thumbnail.svg"}
    assert files(tmp_path) == {n: whole[n] for n in {"report.json", "curves.json", "report.md", *charts}}
    again = read(tmp_path, waves())
    for kind in ("html", "ipynb", "md"):
        assert render.render(again, kind) == (written / f"report.{kind}").read_text()


def test_a_line_of_the_json_is_an_entry(written: Path, report: Report) -> None:
    lines = (written / "report.json").read_text().splitlines()
    trials = lines[lines.index('"trials":[') + 1 :][: len(report.trials)]
    assert [json.loads(line.removesuffix(",")) for line in trials] == json.loads(json.dumps(report.json()["trials"]))


def test_words_have_room_for_the_widest_font_and_keep_their_size(report: Report) -> None:
    import vl_convert

    spec = report.chart("test-error").to_dict()
    theirs, ours = vl_convert.vegalite_to_svg(spec), svg(spec, "x")
    sizes, widths = zip(
        *(
            (set(re.findall(r'font-size="([^"]*)"', text)), int(re.search(r'width="(\d+)"', text)[1]))
            for text in (theirs, ours)
        ),
        strict=True,
    )
    assert sizes[0] == sizes[1]
    assert widths[1] > widths[0] + 5


def test_the_smaller_drawing_looks_like_vegas(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    import vl_convert

    monkeypatch.setattr("etudes.reports.svg.WIDEST", 1)

    def pixels(text: str) -> numpy.ndarray:
        return numpy.asarray(Image.open(io.BytesIO(vl_convert.svg_to_png(text))).convert("RGB")).astype(int)

    for chart in report.definition.charts:
        spec = report.chart(chart.name).to_dict()
        theirs, ours = vl_convert.vegalite_to_svg(spec), svg(spec, "x")
        assert len(ours) < 0.6 * len(theirs)
        far = abs(pixels(theirs) - pixels(ours)).max(2) > 40
        assert far.mean() < 0.002, chart.name


def test_the_package_alone_lets_jupyter_show_a_report() -> None:
    code = "from etudes.reports.report import Report; from etudes.reports.left import Exhibition as E; E._repr_html_"
    done = subprocess.run([sys.executable, "-c", f"{code}; print(Report._repr_html_.__name__)"], capture_output=True)
    assert done.stdout == b"summary\n", done.stderr
