"""What the documents say is so."""

import re
from pathlib import Path

import pytest

from etudes.cli import main
from etudes.core.catalogue import find
from etudes.core.run import execute

HOUSE = Path(__file__).parents[1]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]


def test_the_gallery_is_what_the_command_prints(capsys):
    assert main(["list", "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    text = (HOUSE / "README.md").read_text()
    shown = text.partition("<!-- etudes list --markdown -->")[2].partition("<!-- end -->")[0].strip()
    assert shown == table, "paste the output of `etudes list --markdown` into the README"


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
