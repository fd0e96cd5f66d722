"""The rules of the house that machines can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
FILES = sorted((HOUSE / "src" / "etudes").rglob("*.py"))


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("importlinter.cli",),
    ],
    ids=" ".join,
)
def test_the_tools_agree(command):
    if command == ("importlinter.cli",):
        run = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    else:
        run = [sys.executable, "-m", *command]
    done = subprocess.run(run, cwd=HOUSE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE / "src")))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= (300 if "studies" in path.parts else 400)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


# Participles that do not end in -ed, as far as they were ever met here; and names that are the field's, or fixed.
IRREGULAR = {
    "told", "given", "shown", "found", "made", "known", "seen", "kept", "begun", "learnt", "written", "drawn", "chosen",
    "built", "held", "met", "lost", "spent", "thrown", "driven", "risen", "fallen", "caught", "thought", "taught",
    "brought", "bought", "laid", "grown", "blown",
}  # fmt: skip
FIXED = {
    "opened", "shown", "fitted", "seeded", "scheduled", "logged", "pretrained", "scaled", "seed", "embed", "shard",
    "feed", "named",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE / "src")))
def test_public_functions_are_nouns_or_verbs(path):
    tree = ast.parse(path.read_text())
    places = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for node in [node for place in places for node in place.body if isinstance(node, ast.FunctionDef)]:
        bare = "_" not in node.name and (node.name.endswith("ed") or node.name in IRREGULAR)
        assert not bare or node.name in FIXED, f"line {node.lineno}: {node.name}"
