"""What a study in a user's own file may do, and what it is told, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from etudes.cli import main

HEAD = """
from dataclasses import dataclass, field
from typing import Annotated, Literal, Optional

from etudes.core import Claim, Paper, Scale, Study, Variant, below, lower

"""
CONFIG = """
@dataclass(frozen=True)
class Config:
    epsilon: float = 0.0  # how much
    {fields}

"""
STUDY = """

STUDY = Study(
    name="mine",
    question="Does it hold?",
    paper=Paper("A title", "Author", 2020, "https://arxiv.org/abs/1512.00567"),
    config=Config,
    program=train,
    variants=(Variant("plain"), Variant("other", {"epsilon": 0.1})),
    scales={"smoke": Scale({}, seeds=2, minutes=0.1, judges=False), "laptop": Scale({}, seeds=3, minutes=0.1)},
    claims={
        "other has a lower test error than plain": lower("other", "plain", "sec. 1"),
        "the measure of my own is below 0": Claim(lambda t: MEASURE, below(0), "sec. 2"),
    },
)
"""
PLAIN = """
def train(cfg, run):
    run.result(**{"test/error": 0.5 - cfg.epsilon * (1 + 0.01 * run.rng("y").random()) + 0.01 * run.rng("x").random()})
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a study: its program, the measure of a claim, and further fields."""
    monkeypatch.chdir(tmp_path)

    def write(program=PLAIN, measure='t["other"]["test/error"] - 1', fields=""):
        study = STUDY.replace("MEASURE", measure)
        Path("mine.py").write_text(HEAD + CONFIG.format(fields=fields) + program + study)

    return write


def etudes(*words, status=0):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-m", "etudes", *words], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stderr
    return done


def metrics(name="test/error"):
    """{variant/seed: number} of all runs."""
    return {
        "/".join(path.parts[-3:-1]).partition("-")[0]: json.loads(path.read_text())[name]
        for path in Path("runs").rglob("result.json")
    }


def report():
    (path,) = Path("runs").rglob("report.md")
    return path.read_text()


@pytest.mark.parametrize("way", ["sys.exit()", "sys.exit(0)", "exit(3)", "quit()", "raise SystemExit('enough')"])
def test_a_program_that_exits_is_an_error_that_is_said(write, way):
    write(f"def train(cfg, run):\n    import sys\n    {way}\n")
    for words in ((), ("--variants", "plain", "--seeds", "1")):  # side by side, and alone
        done = etudes("run", "mine.py", *words, status=2)
        assert "the program called exit(" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        ('t["other"]["test/error"] / 0', "ZeroDivisionError: float division by zero"),
        ('float("nan")', "its number is nan under seed 0"),
        ('float("inf")', "its number is inf under seed 0"),
        ("[][1]", "IndexError: list index out of range"),
        ('t["other"]["test/error"].nothing', "AttributeError"),
    ],
)
def test_a_claim_without_a_number_is_not_judged_for_a_reason_and_the_report_is_made(write, measure, reason):
    write(measure=measure)
    done = etudes("run", "mine.py")
    assert "not judged" in done.stdout
    assert "supported" in done.stdout  # the other claim
    assert reason in report()


def test_a_seed_without_effect_is_said(write):
    write('def train(cfg, run):\n    run.result(**{"test/error": 0.5 - cfg.epsilon})\n')
    assert "The seed has no effect" in etudes("run", "mine.py").stdout
    assert "The seed has no effect" in report()


@pytest.mark.parametrize("way", ["np.float32(1.0) * i", "torch.tensor(1.0, requires_grad=True) * i", "np.array([i])"])
def test_numbers_of_numpy_and_pytorch_are_logged(write, way):
    write(
        "def train(cfg, run):\n"
        "    import numpy as np\n"
        "    import torch\n"
        "    for i in range(3):\n"
        f"        run.log(i, **{{'train/loss': {way}}})\n"
        f"        last = {way}\n"
        "    run.result(**{'test/error': last - cfg.epsilon})\n"
    )
    assert main(["run", "mine.py", "--scale", "smoke", "--precision", "fp32"]) == 0
    assert metrics() == pytest.approx({"plain/0": 2, "plain/1": 2, "other/0": 1.9, "other/1": 1.9})


def test_global_generators_give_the_same_numbers_twice(write):
    write(
        "def train(cfg, run):\n"
        "    import random, numpy as np, torch\n"
        "    run.result(**{'test/error': random.random() + np.random.rand() + torch.rand(1).item() - cfg.epsilon})\n"
    )
    assert main(["run", "mine.py"]) == 0
    first = metrics()
    Path("runs").rename("earlier")
    assert main(["run", "mine.py", "--variants", "other", "--seeds", "2"]) == 0
    again = metrics()
    assert again == {name: first[name] for name in ("other/0", "other/1")}
    assert first["other/1"] == pytest.approx(first["plain/1"] - 0.1)
    assert first["plain/0"] != first["plain/1"]


@pytest.mark.parametrize(
    ("field", "words", "value"),
    [
        ("clip: float | None = None", ["--clip", "0.5"], 0.5),
        ("clip: float | None = 1.0", ["--clip", "None"], None),
        ("clip: float | None = None", [], None),
        ("clip: Optional[int] = None", ["--clip", "3"], 3),
        ("clip: Literal['a', 'b'] | None = None", ["--clip", "b"], "b"),
        ("clip: tuple[float, float] = (0.9, 0.999)", ["--clip", "0.8", "0.99"], [0.8, 0.99]),
        ("clip: tuple[float, float] = (0.9, 0.999)", [], [0.9, 0.999]),
        ("clip: tuple[int, ...] = (1, 2)", ["--clip", "1", "2", "3"], [1, 2, 3]),
        ("clip: tuple[str, ...] = ('a',)", ["--clip", "b", "c"], ["b", "c"]),
        ("clip: tuple[int, str] = (1, 'a')", ["--clip", "2", "b"], [2, "b"]),
        ("clip: tuple[float, float] | None = None", ["--clip", "1", "2"], [1.0, 2.0]),
        ("clip: bool = True", ["--no-clip"], False),
    ],
)
def test_fields_of_all_kinds_are_set_from_the_command_line_and_arrive_as_they_are(write, field, words, value):
    as_list = "list(cfg.clip) if isinstance(cfg.clip, tuple) else cfg.clip"
    write(
        f"def train(cfg, run):\n    assert ({as_list}) == {value!r}, cfg.clip\n"
        "    run.result(**{'test/error': 0.5 - cfg.epsilon})\n",
        fields=field,
    )
    for _ in range(2):  # done, and then found
        assert main(["run", "mine.py", "--scale", "smoke", *words]) == 0
    specs = [json.loads(path.read_text()) for path in Path("runs").rglob("spec.json")]
    assert len(specs) == 4
    assert all(spec["config"]["clip"] == value for spec in specs)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (
            "milestones: list[int] = field(default_factory=lambda: [1, 2])",
            "the field 'milestones' is of type list[int];",
        ),
        ("table: dict = field(default_factory=dict)", "the field 'table' is of type dict;"),
        ("width: int = field(default_factory=int)", "the field 'width' has no default; give it one"),
        ("root: str = '/data'", "the field 'root' has the name of an option; choose another name"),
        ("seeds: int = 4", "the field 'seeds' has the name of an option; choose another name"),
        ("precision: str = 'fp32'", "the field 'precision' has the name of an option; choose another name"),
        ("dry: bool = False", "the field 'dry' has the name of an option; choose another name"),
    ],
)
def test_a_field_that_cannot_be_set_is_refused_in_a_sentence(write, capsys, field, says):
    write(fields=field)
    for command in ("run", "show", "report"):
        assert main([command, "mine.py"]) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith(f"etudes: study 'mine': {says}")
        assert "\n" not in told


def test_a_field_without_default_is_refused_in_a_sentence(write, capsys):
    write()
    text = Path("mine.py").read_text()
    Path("mine.py").write_text(text.replace("    epsilon: float", "    width: int\n    epsilon: float"))
    assert main(["run", "mine.py"]) == 2
    assert "study 'mine': the field 'width' has no default; give it one" in capsys.readouterr().err


@pytest.mark.parametrize("nested", [False, True])
def test_modules_beside_the_file_are_imported_wherever_the_command_is_given(write, tmp_path, monkeypatch, nested):
    where = "tools.beside" if nested else "beside"
    write(
        f"from {where} import value\ndef train(cfg, run):\n    run.result(**{{'test/error': value() - cfg.epsilon}})\n"
    )
    path = tmp_path / f"{where.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("def value():\n    return 0.5\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    etudes("run", "../mine.py")
    assert set(metrics().values()) == {0.5, 0.4}


def test_what_a_program_prints_is_shown(write):
    write(
        "def train(cfg, run):\n"
        "    for i in range(3):\n"
        "        print('epoch', i)\n"
        "    run.result(**{'test/error': 0.5 - cfg.epsilon + run.seed('x') / 2**63})\n"
    )
    done = etudes("run", "mine.py")
    assert [line for line in done.stdout.splitlines() if line.startswith("epoch")].count("epoch 2") == 6


def test_a_result_that_is_not_a_number_is_named_and_the_run_is_kept(write):
    write(
        "def train(cfg, run):\n"
        "    odd = float('nan') if cfg.epsilon and run.spec.seed == 1 else 1.0\n"
        "    run.result(**{'test/error': 0.5 - cfg.epsilon + run.seed('x') / 2**63, 'test/odd': odd})\n",
        measure='t["other"]["test/odd"] - 2',
    )
    done = etudes("run", "mine.py")
    assert "test/odd is nan in the result; claims about it are not judged" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(metrics()) == 6
    assert metrics("test/odd")["other/1"] is None
    assert "test/odd of other is not finite under seed 1" in report()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_loader_with_workers_runs_whatever_the_threads(write, threads):
    write(
        "import torch\n"
        "from torch.utils.data import DataLoader, Dataset\n"
        "class Squares(Dataset):\n"
        "    def __len__(self): return 32\n"
        "    def __getitem__(self, i): return torch.randn(4), i % 2\n"
        "def train(cfg, run):\n"
        "    model = torch.nn.Linear(4, 2)\n"
        "    opt = torch.optim.SGD(model.parameters(), 0.1)\n"
        "    for epoch in range(2):\n"
        "        for x, y in DataLoader(Squares(), batch_size=8, shuffle=True, num_workers=2):\n"
        "            loss = torch.nn.functional.cross_entropy(model(x), y)\n"
        "            opt.zero_grad(); loss.backward(); opt.step()\n"
        "        run.log(epoch, **{'train/loss': loss})\n"
        "    run.result(**{'test/error': loss - cfg.epsilon})\n"
    )
    etudes("run", "mine.py", "--scale", "smoke", "--threads", threads)
    first = metrics()
    Path("runs").rename("earlier")
    etudes("run", "mine.py", "--scale", "smoke", "--threads", threads, "--variants", "other", "--seeds", "1")
    assert metrics() == {"other/0": first["other/0"]}
