"""What the documents say is so."""

import re
from pathlib import Path

import pytest

import imports
from etudes import api
from etudes.cli import main
from etudes.core.catalogue import cards, find
from etudes.core.record import load
from etudes.core.run import execute
from etudes.reports import manuscript, render
from etudes.reports.build import build
from etudes.reports.drawings import draw
from etudes.sweep import check

HOUSE = Path(__file__).parents[1]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]


def test_the_gallery_is_what_the_command_prints(capsys):
    assert main(["list", "--markdown"]) == 0
    page = HOUSE / "docs" / "studies" / "README.md"
    assert page.read_text() == capsys.readouterr().out, "etudes list --markdown > docs/studies/README.md"


def test_the_readme_names_every_study_in_its_family_and_course():
    rows = [line for line in (HOUSE / "README.md").read_text().splitlines() if line.startswith("| ")]
    for card in cards():
        siblings = "cifar-ladder and its siblings" if card["name"].startswith("cifar-") else card["name"]
        family = next(row for row in rows if row.startswith(f"| {card['family']} |"))
        course = next(row for row in rows if row.startswith(f"| {card['origin'][0]}: "))
        assert re.search(rf"\b{card['name']}\b", family)
        assert card["name"] in course or siblings in course


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def codes(page):
    return re.findall(r"```python\n(.*?)```", (HOUSE / "docs" / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("at", "name"), [(0, "smoothing"), (1, "ridge")])
def test_the_studies_of_the_guide_run_and_resume(tmp_path, at, name):
    path = tmp_path / f"{name}.py"
    path.write_text(codes("adding-a-study.md")[at])
    study = find(str(path))
    assert study.name == name
    assert all(len(line) <= 120 for line in path.read_text().splitlines())
    for spec in study.plan("smoke"):
        assert execute(study, spec, tmp_path / "runs") == "done"
    records = load(study.plan("smoke"), tmp_path / "runs")
    report = build(study, study.plan("smoke"), records)
    assert [verdict.reason for verdict in report.verdicts] == ["", ""]
    assert [drawing.problem for drawing in draw(report)] == [""] * len(study.charts)
    render.write(report, tmp_path / "report")
    assert [found.difference for found in check.findings(study, tmp_path / "checked")] == [""] * len(study.variants)


def test_the_penalty_of_the_guide_is_the_minimum_of_its_loss(tmp_path):
    import numpy

    names: dict = {"__name__": "ridge"}
    exec(codes("adding-a-study.md")[1].partition("def measure")[0].replace("@dataclass(frozen=True)\n", ""), names)
    rng = numpy.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=20)
    for penalty in (0.0, 0.3):
        w = names["ridge"](x, y, penalty)
        slope = 2 * x.T @ (x @ w - y) / len(y) + 2 * penalty * w
        assert abs(slope).max() < 1e-12


def test_the_first_study_of_the_guide_is_what_the_command_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "smoothing"]) == 0
    assert Path("smoothing.py").read_text() == codes("adding-a-study.md")[0]


def test_the_places_of_a_template_are_all_described(tmp_path):
    text = " ".join(re.findall(r"\\VAR\{[a-z-]+\}", (HOUSE / "docs" / "reports.md").read_text()))
    (tmp_path / "own.tex").write_text(text)
    folder = manuscript.files(api.report("mixup"), str(tmp_path / "own.tex"), drawn=[])  # each of them is there
    parts = {Path(name).stem for name in folder if name.startswith("parts/")}
    assert parts < {*re.findall(r"\{([a-z-]+)\}", text)}


def test_the_map_of_imports_is_current():
    assert imports.PAGE.read_text() == imports.page(), "python tests/imports.py"


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (HOUSE / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["report"].scale == "smoke"


def test_the_readmes_flags_exist():
    text = (HOUSE / "README.md").read_text()
    study = find("mixup")
    assert study.plan("smoke", variants=["mixup"], alpha=0.4, seeds=3)
    assert "--variants mixup --alpha 0.4 --seeds 3" in text
