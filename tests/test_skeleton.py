"""`etudes new`: what it writes runs as it is."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etudes import skeleton
from etudes.cli import main
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.run import execute

HOUSE = Path(__file__).parents[1]


def tidy(path):
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--config", "lint.isort.known-first-party = ['etudes']"], ["format", "--check"]):
        done = subprocess.run([*ruff, *command, str(path)], cwd=HOUSE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("like", ["", "mixup"])
def test_a_study_of_ones_own_runs_as_it_is_written(tmp_path, monkeypatch, capsys, like):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-idea", *(["--like", like] if like else [])]) == 0
    assert capsys.readouterr().out == "my_idea.py\n"
    study = catalogue.find("my_idea.py")
    assert study.name == "my-idea"
    assert study.origin == ""
    if like:
        ((sentence, claim),) = study.claims.items()
        assert sentence.startswith("TODO")
        assert claim.number == "test/error: mixup minus erm"
        assert study.config.__name__ == "Config"
        assert [v.name for v in study.variants] == [v.name for v in catalogue.find(like).variants]
    assert main(["check", "my_idea.py", "--variants", ",".join(v.name for v in study.variants[:2])]) == 0
    tidy(tmp_path / "my_idea.py")


@pytest.mark.parametrize("like", ["", "mixup"])
def test_a_study_of_the_catalogue_has_its_card_and_its_test(tmp_path, like):
    for part in ("src/etudes/studies/labels", "docs/studies", "tests/studies"):
        (tmp_path / part).mkdir(parents=True)
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    known = HOUSE / "tests" / "studies" / "test_mixup.py"
    shutil.copy(known, tmp_path / "tests" / "studies")
    (tmp_path / "src/etudes/studies/labels/__init__.py").touch()
    paths = skeleton.write("my-idea", like, "labels", house=tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "src/etudes/studies/labels/my_idea.py",
        "docs/studies/my-idea.md",
        "tests/studies/test_my_idea.py",
    ]
    study = catalogue.find(str(paths[0]))
    assert execute(study, study.plan("smoke")[0], tmp_path / "runs") == "done"
    assert paths[1].read_text().startswith("# my-idea\n")
    text = paths[2].read_text()
    assert "from etudes.studies.labels.my_idea import" in text
    tests = text.replace("etudes.studies.labels.my_idea", study.program.__module__)
    names = {"__name__": "copied"}
    exec(tests, names)
    names["test_mixing_is_the_naive_loop" if like else "test_smoothing_is_the_naive_loop"](*["batch"] * bool(like))
    for path in (paths[0], paths[2]):
        tidy(path)
    with pytest.raises(Problem, match="is there already"):
        skeleton.write("my-idea", like, "labels", house=tmp_path)


@pytest.mark.parametrize("like", ["", "mixup"])
def test_what_must_hold_for_every_study_holds_for_it_but_for_the_report(tmp_path, like):
    for part in ("src", "tests", "docs"):
        shutil.copytree(HOUSE / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(tmp_path / "tests")])}
    how = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": 300}
    new = [sys.executable, "-m", "etudes", "new", "my-idea", "--family", "labels", *(["--like", like] if like else [])]
    done = subprocess.run(new, **how)
    assert done.returncode == 0, done.stderr
    files = ["tests/test_every_study.py", "tests/studies/test_my_idea.py"]
    chosen = "(my-idea or my_idea) and not committed"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", *files, "-k", chosen], **how)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b1[0-9] passed", done.stdout), done.stdout


@pytest.mark.parametrize("like", ["", "mixup"])
def test_its_header_tells_the_scales_that_it_has(tmp_path, monkeypatch, like):
    monkeypatch.chdir(tmp_path)
    (path,) = skeleton.write("my-idea", like)
    study, said = catalogue.find(str(path)), ast.get_docstring(ast.parse(path.read_text()))
    assert f"etudes run {path}" in said
    for scale in study.scales.values():
        assert f"{scale.minutes:g} minutes" in said


def test_nothing_is_overwritten_and_wrong_names_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("precious")
    with pytest.raises(Problem, match=r"mine\.py is there already"):
        skeleton.write("mine")
    assert Path("mine.py").read_text() == "precious"
    for name, like, family, says in (
        ("My Idea", "", "", "must be lower-case words joined by hyphens"),
        ("mixup", "", "", "there is a study 'mixup' already"),
        ("new-one", "mixpu", "", "no study 'mixpu'; did you mean 'mixup'"),
        ("new-one", "", "lables", "no family 'lables'; did you mean 'labels'"),
    ):
        with pytest.raises(Problem, match=says):
            skeleton.write(name, like, family)
    with pytest.raises(Problem, match="clone it"):
        skeleton.write("new-one", "", "labels", house=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
