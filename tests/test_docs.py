"""What the documents say is so."""

import re
from pathlib import Path

import pytest

from etudes.cli import main
from etudes.core.catalogue import cards, find
from etudes.core.run import execute

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


def test_the_study_of_the_guide_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (HOUSE / "docs" / "adding-a-study.md").read_text(), flags=re.DOTALL)
    path = tmp_path / "smoothing.py"
    path.write_text(code)
    study = find(str(path))
    for spec in study.plan("smoke"):
        assert execute(study, spec, tmp_path) == "done"
    assert all(len(line) <= 120 for line in code.splitlines())


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
