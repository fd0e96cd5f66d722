"""A new study's files, which run as they are: label smoothing on digits, or another study's program without its claims.

A study of one's own is a file NAME.py in the present folder. One of the catalogue is a file in its family, its method
card and its test, written into the project's sources.
"""

import ast
import contextlib
import inspect
import sys
from pathlib import Path
from typing import Any

from etudes.core import catalogue
from etudes.core.claims import Claim
from etudes.core.errors import Problem, unknown
from etudes.core.files import write_text
from etudes.core.spec import SLUG, Study

PACKAGE = Path(__file__).parent
WIDTH = 120
SENTENCE = "TODO: one sentence that can be read alone: which two things, by what measure, on what condition"
CARD = """# {name}

**Paper.** {title}, {authors}, {year}, [{url}]({url}). TODO: the idea in two sentences.

**Run it.** `etudes run {name}`. The committed results: TODO.

## In short

TODO: once the laptop scale is judged: the answer to the question, in one sentence or two without markup.

## What was run

TODO: in some four sentences without markup: what learns what from which data, what is varied, what the main number is
and which way is better, and the words that a student lacks.

## What is compared

TODO: the variants, what they have in common (steps, data, tuning), and what was chosen on which split.

## Pitfalls, and what is done about them

TODO

## How to read what came out

TODO: once the laptop scale is judged.

## How it was settled

TODO: when the claims were written down, how the laptop scale was chosen, and what was changed afterwards.
"""
TEST = """import torch

from {module} import smooth


def test_smoothing_is_the_naive_loop():
    target = torch.eye(4)[torch.tensor([2, 0])]
    smoothed = smooth(target, 0.2)
    for i, label in enumerate((2, 0)):
        for k in range(4):
            wanted = 0.8 * (k == label) + 0.2 / 4
            assert torch.isclose(smoothed[i, k], torch.tensor(wanted))
"""


def write(name: str, like: str = "", family: str = "", *, house: Path = PACKAGE.parents[1]) -> list[Path]:
    """The files that were written for a new study. Raises Problem where one is there already, and writes none.

    `like` names the study whose Config and program it begins with. With a `family` the files go into the project's
    sources at `house`.
    """
    if not SLUG.fullmatch(name):
        raise Problem(f"study name '{name}' must be lower-case words joined by hyphens")
    if name in catalogue.names():
        raise Problem(f"there is a study '{name}' already; choose another name, or begin with it by --like {name}")
    file = f"{name.replace('-', '_')}.py"
    text, study = _begun(name, like, address=name if family else file)
    files = {Path(file): text}
    if family:
        home = house / "src" / "etudes" / "studies" / family
        _check_family(home)
        paper = vars(study.paper)
        files = {
            home / file: text,
            house / "docs" / "studies" / f"{name}.md": CARD.format(name=name, **paper),
            house / "tests" / "studies" / f"test_{file}": _test(like, house, f"etudes.studies.{family}.{file[:-3]}"),
        }
    for path in files:
        if path.exists():
            raise Problem(f"{path} is there already; choose another name, or move it away")
    for path, content in files.items():
        write_text(path, content)
    return list(files)


def _check_family(home: Path) -> None:
    if not (home.parents[3] / "pyproject.toml").is_file():
        raise Problem(
            "--family writes into the project's sources; clone it, `pip install -e .` there, and run it again"
        )
    if not home.is_dir():
        families = sorted(path.name for path in home.parent.iterdir() if (path / "__init__.py").exists())
        raise unknown("family", home.name, families)


def _begun(name: str, like: str, address: str) -> tuple[str, Study]:
    """The text of the new study's file, and the study that it was made from."""
    if not like:
        from etudes import template

        text = Path(template.__file__).read_text(encoding="utf-8")
        text = text.replace('"""smoothing:', f'"""{name}:').replace('name="smoothing"', f'name="{name}"')
        return text.replace("etudes run smoothing", f"etudes run {address}"), template.STUDY
    study = catalogue.find(like)
    file = _file(study)
    if file.name == "__init__.py":
        raise Problem(f"{like} is a folder of several files; name one that is a single file, or copy the folder")
    kind, call = _claim(study)
    changes = {
        "name": f'"{name}"',
        "question": '"TODO: the question that the claims answer?"',
        "claims": f'{{\n        "{SENTENCE}": (\n            {call}\n        ),\n    }}',
        "origin": '""',
        "revisions": "()",
    }
    text = _rewritten(file.read_text(encoding="utf-8"), _docstring(name, study, address), changes)
    return _with_imports(text, kind), study


def _file(study: Study) -> Path:
    return Path(inspect.getsourcefile(sys.modules[study.program.__module__]) or "")


def _test(like: str, house: Path, module: str) -> str:
    """The text of the new study's test: that of the study it begins with, as the two have the same idea."""
    if not like:
        return TEST.format(module=module)
    study = catalogue.find(like)
    known = house / "tests" / "studies" / f"test_{study.name.replace('-', '_')}.py"
    if not known.is_file():
        raise Problem(f"{like} has no test {known} to begin with; leave out --family")
    return known.read_text(encoding="utf-8").replace(study.program.__module__, module)


def _docstring(name: str, study: Study, address: str) -> str:
    lines, wide = [], len(f"    etudes run {address} --scale ") + max(map(len, study.scales)) + 4
    for scale, s in study.scales.items():
        command = f"    etudes run {address}" + f" --scale {scale}" * (scale != "laptop")
        count = len(s.variants or study.variants)
        lines.append(f"{command:{wide}}{s.minutes:g} minutes, {count} variants, {s.looks[0]} seeds")
    begin = f'"""{name}: TODO: what is done, in a line.\n\nTODO: the idea, with its equation.\n'
    return "\n".join([begin, *lines, '\nTODO: what comes out.\n\nDepartures from the paper: TODO.\n"""'])


def _claim(study: Study) -> tuple[str, str]:
    """The function of a claim to begin with, and the call of it, on the numbers that a claim of the study reads."""
    read = next(filter(None, map(_read, study.claims.values())), None)
    if read is None:
        raise Problem(f"no claim of {study.name} reads a metric by its name; begin with another study")
    (a, metric), (b, _) = read[0], read[-1]
    if a != b:
        return "lower", f'lower("{a}", "{b}", "TODO: section", of="{metric}")'
    return "between", f'between("{a}", 0, 1, "TODO: section", of="{metric}")'


def _read(claim: Claim) -> list[tuple[str, str]]:
    """The (variant, metric)s that a claim's measure reads, in order, up to where numbers that mean nothing stop it."""
    met: list[tuple[str, str]] = []

    class Metrics(dict[str, float]):
        def __init__(self, variant: str) -> None:
            self.variant = variant

        def __missing__(self, metric: str) -> float:
            met.append((self.variant, metric))
            return float(len(met))

    class Variants(dict[str, Metrics]):
        def __missing__(self, variant: str) -> Metrics:
            return Metrics(variant)

    with contextlib.suppress(ArithmeticError, ValueError, TypeError):
        claim.measure(Variants())
    return met


def _rewritten(text: str, docstring: str, changes: dict[str, str]) -> str:
    """A study's file with another docstring, and with those keywords of its STUDY changed that it has."""
    module = ast.parse(text)
    call = next(
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.targets[0]) == "STUDY"
    )
    lines = text.splitlines(keepends=True)
    edits = [(_span(lines, k), f"{k.arg}={changes[k.arg]}") for k in call.keywords if k.arg in changes]
    edits.append((_span(lines, module.body[0]), docstring))
    whole = text.encode()
    for (begin, end), new in sorted(edits, reverse=True):
        whole = whole[:begin] + new.encode() + whole[end:]
    return whole.decode()


def _span(lines: list[str], node: Any) -> tuple[int, int]:
    """From which to which byte a node stands."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


def _with_imports(text: str, new: str) -> str:
    """The text with `new` imported from etudes.core, and without what the old claims alone took from there."""
    module = ast.parse(text)
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    lines = text.splitlines(keepends=True)
    for node in reversed(module.body):
        if isinstance(node, ast.ImportFrom) and node.module == "etudes.core":
            names = sorted(
                {new, *(alias.name for alias in node.names)} & used, key=lambda name: (name[0].islower(), name)
            )
            line = f"from etudes.core import {', '.join(names)}\n"
            if len(line) > WIDTH:
                line = "from etudes.core import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"
            lines[node.lineno - 1 : node.end_lineno] = [line]
    return "".join(lines)
