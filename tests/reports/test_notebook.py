"""The notebook of a report: it shows what came out before anything is run, and does so again when it is run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from etudes.core import catalogue
from etudes.core.record import load
from etudes.core.run import execute
from etudes.core.spec import Study
from etudes.reports import abstract, render
from etudes.reports.build import build, read
from etudes.reports.charts import bars
from etudes.reports.markdown import escape
from etudes.reports.report import Report


def cells(report: Report, kind: str) -> list[Any]:
    book = nbformat.reads(render.render(report, "ipynb"), as_version=4)
    return [cell for cell in book.cells if cell.cell_type == kind]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """The report of a study that is a file here, with other settings than its own, and its runs below `runs`."""
    source = Path(__file__).with_name("conftest.py").read_text()
    (tmp_path / "waves.py").write_text(f"{source}\n\nSTUDY = study(charts=study().charts[:1])\n")
    monkeypatch.chdir(tmp_path)
    study = catalogue.find("waves.py")
    plan = study.plan("smoke", dataset="digits", rate=0.5)
    for spec in plan:
        execute(study, spec, tmp_path / "runs")
    return build(study, plan, load(plan, tmp_path / "runs"))


def test_it_is_valid_and_repeats_itself(report: Report) -> None:
    text = render.render(report, "ipynb")
    assert text == render.render(report, "ipynb")
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert [cell.execution_count for cell in cells(report, "code")] == list(range(1, 4 + len(report.definition.charts)))
    for cell in cells(report, "code"):
        compile(cell.source, "cell", "exec")


def test_the_results_are_in_it_before_anything_is_run(report: Report) -> None:
    told = "\n".join(cell.source for cell in cells(report, "markdown"))
    assert report.study["question"].partition(",")[0] in told
    for label, said in abstract.paragraphs(report):
        assert label in told
        assert all(escape(words) in told for words in said)
    _, first, again, *charts = cells(report, "code")
    assert first.outputs[0].data["text/html"] == render.summary(report)
    assert "etudes.run" not in first.source
    assert "RERUN = False" in again.source
    assert len(charts) == len(report.definition.charts)
    for cell in charts:
        assert cell.outputs[0].data["image/svg+xml"].startswith("<svg")


def test_it_says_how_to_install_what_it_needs_and_installs_nothing_unasked(report: Report) -> None:
    first = cells(report, "code")[0].source
    assert "%pip install" in first
    assert all(line.startswith("#") for line in first.splitlines())


def test_it_runs_to_its_end_and_shows_what_it_showed(own: Report) -> None:
    client = pytest.importorskip("nbclient")
    stored = nbformat.reads(render.render(own, "ipynb"), as_version=4)
    book = nbformat.from_dict(stored)
    for cell in book.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    client.NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    for before, after in zip(stored.cells, book.cells, strict=True):
        assert before.get("execution_count") == after.get("execution_count")
        shown, found = ([o.data for o in cell.get("outputs", [])] for cell in (before, after))
        assert [data.keys() for data in shown] == [data.keys() for data in found], before.source
        assert [data.get("text/html") for data in shown] == [data.get("text/html") for data in found]


def test_on_demand_it_performs_the_runs(own: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "waves.py").rename(tmp_path / "there" / "waves.py")
    monkeypatch.chdir(tmp_path / "there")
    names: dict[str, Any] = {"display": lambda shown: None}
    _, load_cell, again, _ = cells(own, "code")
    names["etudes"] = __import__("etudes")
    exec(load_cell.source.partition("report =")[0], names)
    exec(again.source.replace("RERUN = False", "RERUN = True"), names)
    found = names["report"]
    assert found.title == own.title
    assert found.changed == {"dataset": "digits", "rate": 0.5}
    assert [t["metrics"] for t in found.trials] == [t["metrics"] for t in own.trials]


@pytest.mark.parametrize(("name", "scale"), [("mixup", "laptop"), ("char-lstm", "dickinson")])
def test_it_finds_the_committed_report(name: str, scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = catalogue.committed_folder(name, scale)
    made = read(folder, catalogue.find(name))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    book = nbformat.reads(render.render(made, "ipynb", drawn=[]), as_version=4)
    exec([cell for cell in book.cells if cell.cell_type == "code"][1].source, names)
    assert names["report"].committed == folder


def test_a_chart_that_cannot_be_drawn_is_left_out(report: Report, waves: Callable[..., Study]) -> None:
    study = waves(charts=(bars("test/error"), bars("test/accuracy")))
    sources = [cell.source for cell in cells(dataclasses.replace(report, definition=study), "code")]
    assert sources[3:] == ["report.chart('test-error')"]
