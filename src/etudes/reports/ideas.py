"""The function that a study is about, beside the words and the equation of its docstring."""

import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from etudes.core import catalogue
from etudes.core.spec import Study
from etudes.reports.words import capital


@dataclass(frozen=True)
class Idea:
    """`words` are paragraphs, each with whether it is set as it is, as an equation or a listing; `source` is the
    function, in `file`; `test` is the file that compares it with something independent, "" where none is known."""

    name: str
    words: tuple[tuple[str, bool], ...]
    source: str
    file: str
    test: str


def idea(study: Study) -> Idea | None:
    """The study's idea, None where it names none or where its source is not at hand."""
    if study.idea is None:
        return None
    try:
        source = textwrap.dedent(inspect.getsource(study.idea)).rstrip()
        file = Path(inspect.getsourcefile(study.idea) or "")
    except (OSError, TypeError):
        return None
    module = sys.modules.get(study.config.__module__)
    return Idea(study.idea.__qualname__, _paragraphs(inspect.getdoc(module) or ""), source, *_files(study, file))


def gist(study: Study) -> str:
    """What the study does, by the first paragraph of its docstring, which begins with its name; "" without one."""
    text = inspect.getdoc(sys.modules.get(study.config.__module__)) or ""
    words = _paragraphs(text)[:1]
    return words[0][0] if words and text.startswith(f"{study.name}: ") else ""


def _paragraphs(text: str) -> tuple[tuple[str, bool], ...]:
    """Those before the commands, without the study's name."""
    before = re.split(r"\n\n +etudes run ", text)[0]
    found = re.sub(r"^[^\n:]+: ", "", before, count=1)
    parts = [part for part in capital(found).split("\n\n") if part.strip()]
    return tuple(
        (textwrap.dedent(part), True) if part.startswith("    ") else (" ".join(part.split()), False) for part in parts
    )


def _files(study: Study, file: Path) -> tuple[str, str]:
    """The file of the idea and that of its test, as they are called in the project."""
    package = Path(catalogue.__file__).parents[1]
    if not file.is_relative_to(package):
        return file.name, ""
    inside, checkout = file.relative_to(package), package.parents[1]
    own = Path("tests", *inside.parts[:-1], f"test_{inside.name}")
    whole = Path("tests", "studies", f"test_{study.name.replace('-', '_')}.py")
    is_there = [test for test in (own, whole) if (checkout / test).is_file()]
    tests = is_there or ([] if (checkout / "src").is_dir() else [whole])
    return Path("src", "etudes", inside).as_posix(), tests[0].as_posix() if tests else ""
