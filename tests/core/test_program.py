"""The hash of a study's own program: what changes it and what does not."""

import ast
import linecache
import subprocess
import sys
import textwrap
import types

import pytest

from etudes.core import catalogue, program

STUDY = '''
"""A study."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from coins import PAPER
from etudes.core import Scale, Study, Variant, lower
from mine_helper import halve
from mine_package import deep
from mine_package.far import reach

SIZE = 3  # a constant that the step reads
UNUSED = 4


@dataclass(frozen=True)
class Config:
    """Its fields."""

    shift: float = 0.0  # what it is


def area(r):
    """The area of a circle."""
    return math.pi * r**2


def elsewhere():
    return UNUSED


class Base:
    def size(self):
        return SIZE


class Part(Base):
    def double(self):
        return 2 * self.size()


def train(cfg: Config, run) -> None:
    """Trains."""
    score = area(Part().double()) + halve(1) + deep() + reach() + cfg.shift
    run.result(**{"test/score": score})


STUDY = Study(
    name="mine",
    question="Does it?",
    paper=PAPER,
    config=Config,
    program=train,
    variants=(Variant("plain"), Variant("shifted", {"shift": -1.0}, "one lower")),
    scales={"smoke": Scale({}, seeds=1, minutes=0.1, judges=False)},
    claims={"shifted is lower": lower("shifted", "plain", "sec. 1", of="test/score")},
)
'''
HELPER = '''
"""A helper."""
SHARE = 0.5
OTHER = 1

def halve(x):
    """Half of it."""
    return SHARE * x

def unused():
    return OTHER
'''
PACKAGE = {
    "mine_package/__init__.py": "from .near import deep\n",
    "mine_package/near.py": "from . import far\n\n\ndef deep():\n    return far.reach() + 1\n",
    "mine_package/far.py": "def reach():\n    return 1\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, "mine.py", STUDY)
    write(tmp_path, "mine_helper.py", HELPER)
    for name, text in PACKAGE.items():
        write(tmp_path, name, text)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine")]:
        del sys.modules[name]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def edit(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def code(folder):
    return catalogue.find(str(folder / "mine.py")).code


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", '"""A study."""', '"""Another word."""'),
        ("mine.py", '"""Its fields."""', '"""The fields."""'),
        ("mine.py", '    """The area of a circle."""\n', ""),
        ("mine.py", '"""Trains."""', '"""Trains a network."""'),
        ("mine.py", "# a constant that the step reads", "# another comment"),
        ("mine.py", "\n\n\ndef area", "\n\n\n\n\n\ndef area"),
        ("mine.py", "math.pi * r**2", "(math.pi * (r ** 2))"),
        ("mine.py", "UNUSED = 4", "UNUSED = 5"),
        ("mine.py", "return UNUSED", "return UNUSED + 1"),
        ("mine.py", "Does it?", "Does it so?"),
        ("mine.py", '"shifted is lower": lower(', '"shifted scores lower": lower('),
        ("mine.py", '"sec. 1"', '"sec. 2"'),
        ("mine.py", "minutes=0.1", "minutes=2"),
        ("mine.py", "seeds=1", "seeds=2"),
        ("mine.py", '"one lower"', '"lower by one"'),
        ("mine.py", "import numpy as np\n", ""),
        ("mine_helper.py", '"""Half of it."""', '"""A half."""'),
        ("mine_helper.py", "OTHER = 1", "OTHER = 2"),
        ("mine_helper.py", "return OTHER", "return -OTHER"),
    ],
)
def test_words_claims_and_what_is_not_reached_leave_the_code(folder, name, old, new):
    before = code(folder)
    edit(folder, name, old, new)
    assert code(folder) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", "+ cfg.shift", "- cfg.shift"),
        ("mine.py", "r**2", "r**3"),
        ("mine.py", "SIZE = 3", "SIZE = 4"),
        ("mine.py", "SIZE = 3", "SIZE = 3\nSIZE += 1"),
        ("mine.py", "SIZE = 3", "SIZE = 3\nmath.mine = 3"),
        ("mine.py", "return 2 * self.size()", "return 3 * self.size()"),
        ("mine.py", "        return SIZE", "        return 9"),
        ("mine.py", "import math\n", "import cmath as math\n"),
        ("mine.py", "shift: float = 0.0", "shift: float = 0.5"),
        ("mine.py", "from mine_helper import halve", "from mine_helper import unused as halve"),
        ("mine_helper.py", "SHARE = 0.5", "SHARE = 0.25"),
        ("mine_helper.py", "SHARE * x", "SHARE * x * x"),
        ("mine_package/near.py", "+ 1", "+ 2"),
        ("mine_package/far.py", "return 1", "return 2"),
    ],
)  # fmt: skip
def test_what_the_program_reaches_changes_the_code(folder, name, old, new):
    before = code(folder)
    edit(folder, name, old, new)
    assert code(folder) != before


def test_the_order_in_which_statements_stand_is_part_of_it_where_they_are_reached(folder):
    text = (folder / "mine.py").read_text()
    area = text[text.index("def area") : text.index("def elsewhere")]
    before = code(folder)
    edit(folder, "mine.py", area, "")
    edit(folder, "mine.py", "@dataclass", f"{area}@dataclass")  # a function more above: still the same statements
    assert len(code(folder)) == 8
    edit(folder, "mine.py", area, "")
    edit(folder, "mine.py", "def elsewhere", f"{area}def elsewhere")
    assert code(folder) == before


def test_the_code_is_that_of_the_file_wherever_it_lies_and_in_any_process(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    for path in folder.rglob("*.py"):
        write(other, path.relative_to(folder).as_posix(), path.read_text())
    say = (
        "import sys; sys.path.insert(0, sys.argv[1]); from etudes.core import catalogue;"
        "print(catalogue.find(sys.argv[1] + '/mine.py').code)"
    )
    paths = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    told = {
        subprocess.run(
            [sys.executable, "-c", say, place], env=paths | {"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout.strip()
        for place, seed in ((folder, "1"), (other, "2"))
    }  # fmt: skip
    assert told == {code(folder)}


def test_the_syntax_holds_nothing_that_only_some_versions_of_python_write():
    tree = ast.parse("def f(x: int = 1) -> int:\n    'doc'\n    return x\n\nclass C:\n    y = u'text'\n")
    plain = program._tree(tree)
    for node in ast.walk(tree):  # as Python 3.12 and 3.13 write them: lists of parameters of types
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.type_params = []
            node._fields = (*node._fields, "type_params")
    assert program._tree(tree) == plain
    assert "doc" not in str(plain)
    assert "ctx" not in str(plain)
    assert program._tree(ast.parse("y = u'text'")) == program._tree(ast.parse("y = 'text'"))


def test_known_programs_keep_their_code():
    """A digest that were to move with the version of Python, or with this module, would run all studies again."""
    source = textwrap.dedent(
        """
        def train(cfg, run):
            total = [x ** 2 for x in range(3) if x]
            match total:
                case [1, *rest]:
                    run.log(1, **{"a": -1.5, "b": f"{rest!r:>3}" == ""})
            run.result(x=sum(total))
        """
    )
    assert program._sha256(program._tree(ast.parse(source))) == KNOWN


KNOWN = "31edc7ae"


CELLS = """
SIZE = 3
OTHER = 4
def halve(x):
    'Half of it.'
    return x / 2
class Part:
    def size(self):
        return SIZE
def train(cfg, run):
    return halve(Part().size())
"""


@pytest.mark.parametrize("source", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("halve(Part", "1 + halve(Part", False),
        ("OTHER = 4", "OTHER = 5", True),
        ("x / 2", "x / 3", False),
        ("SIZE = 3", "SIZE = 4", False),
        ("Half of it", "A half", True),
    ],
)
def test_a_program_of_a_notebook_has_the_code_of_the_cells_that_it_reaches(old, new, same, source):
    first, second = (notebook(text, source) for text in (CELLS, CELLS.replace(old, new)))
    assert len(first) == 8
    if source:
        assert (first == second) == same
    elif "halve(Part" in old:  # without the sources the program alone is seen
        assert first != second


def notebook(text, source):
    """The code of the program in a namespace without a file; with `source` its text is known, as IPython does it."""
    name = f"<cell {abs(hash(text))}>"
    main = sys.modules["a_notebook"] = types.ModuleType("a_notebook")
    if source:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        main.__file__ = name
    exec(compile(text, name, "exec"), vars(main))
    try:
        return program.digest(main.train)
    finally:
        del sys.modules["a_notebook"]
        linecache.cache.pop(name, None)


def test_a_study_of_the_catalogue_that_is_one_file_reaches_no_other_study():
    study = catalogue.find("mixup")
    reached = program._Reached(program._file(study.program), study.program.__qualname__)
    assert [path.name for path in reached.files] == ["mixup.py"]


def test_a_study_that_is_a_folder_reaches_its_own_modules():
    home = program.PACKAGE / "studies/extreme/label_trees"
    reached = program._Reached(home / "__init__.py", "STUDY")
    assert set(reached.files) == {home / "__init__.py", home / "findings.py"}


def test_the_library_is_what_the_study_imports_and_no_pages_or_reports(folder):
    mixup = catalogue.find("mixup")
    assert len(program.library(mixup.program)) == 8
    used = {path.relative_to(program.PACKAGE).as_posix() for path in reachable(program._file(mixup.program))}
    assert {"train/loop.py", "train/pictures.py", "data/images.py"} <= used
    assert not {path.partition("/")[0] for path in used} & {"core", "reports", "web", "sweep", "studies"}
    alone = catalogue.find(str(folder / "mine.py"))
    assert reachable(program._file(alone.program)) == set()


def reachable(file):
    found, waiting = set(), [file]
    while waiting:
        for path in program._used(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.append(path)
    return found
