"""`etudes check`: kills, comparison, first steps."""

import os
import re
from dataclasses import replace

import pytest
import torch

from etudes.cli import main
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.sweep import check, first_step

HEAD = """
from dataclasses import dataclass
import torch
from torch.utils.data import DataLoader, TensorDataset
from etudes.core import Paper, Scale, Study, Variant, lower
from etudes.train import fit

@dataclass(frozen=True)
class Config:
    steps: int = 40  # optimiser steps
    batch: int = 16  # examples a step
    other: bool = False  # whether it is the other

"""
TAIL = """
STUDY = Study(
    name="tried", question="Does it hold?", paper=Paper("A title", "Author", 2020, "https://example.org"),
    config=Config, program=train, variants=(Variant("plain"), Variant("other", {"other": True})),
    scales={
        "smoke": Scale({}, seeds=1, minutes=0.1, judges=False),
        "paper": Scale({"steps": 9000, "batch": 64}, seeds=1, minutes=0.1, judges=False),
    },
    claims={"the other is lower than plain": lower("other", "plain", "sec. 1")},
)
"""
LOOP = """
def train(cfg, run):
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(1))
    y = (x.sum(1) > 0).long()
    model = torch.nn.Linear(8, 2)
    opt = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    batches = iter(loader)
    seen = []

    def step(i):
        nonlocal batches
        {next}
        loss = torch.nn.functional.cross_entropy(model(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
        {after}
        return {{"train/loss": loss.detach()}}

    def evaluate():
        seen.append(1)
        return {{"test/error": {error}}}

    run.result(**fit(run, {{"model": model, "opt": opt}}, step, cfg.steps, evaluate=evaluate, eval_every=10))
"""
ITERATOR = """try:
            a, b = next(batches)
        except StopIteration:
            batches = iter(loader)
            a, b = next(batches)"""
BY_INDEX = "rows = torch.from_numpy(run.rng('order', i).integers(256, size=16)); a, b = x[rows], y[rows]"


def written(tmp_path, program):
    path = tmp_path / "tried.py"
    path.write_text(HEAD + program + TAIL)
    return str(path)


def loop(next=BY_INDEX, after="", error="0.5"):
    return LOOP.format(next=next, after=after, error=error)


def test_what_resumes_exactly_is_said_to(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "17")
    assert main(["check", written(tmp_path, loop())]) == 0
    places = "killed before step 21, in the evaluation after step 30 and before step 34, and resumed"
    assert capsys.readouterr().out.splitlines() == [
        f"{variant}: {places}, it ends with the same bytes" for variant in ("plain", "other")
    ]
    assert os.environ["ETUDES_SAVE_SECONDS"] == "17"


def test_an_iterator_outside_of_the_parts_is_caught_with_its_step(tmp_path, capsys):
    assert main(["check", written(tmp_path, loop(next=ITERATOR)), "--variants", "plain"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"plain: killed .*, it differs first at step 21: train/loss is [\d.]+ and not [\d.]+", said)
    assert said.count("Usually something that changes during training is not among the parts of fit") == 1


def test_what_an_evaluation_counts_outside_of_the_parts_is_caught(tmp_path, capsys):
    assert main(["check", written(tmp_path, loop(error="len(seen)")), "--variants", "plain"]) == 1
    assert "it differs first at step 30: test/error is 1 and not 3" in capsys.readouterr().out


def test_a_program_without_fit_is_run_twice(tmp_path, capsys):
    same = "def train(cfg, run):\n    run.result(**{'test/error': torch.rand(1)})\n"
    assert main(["check", written(tmp_path, same)]) == 0
    assert "plain: run twice, it ends with the same bytes" in capsys.readouterr().out
    clock = "def train(cfg, run):\n    import time\n    run.result(**{'test/error': time.perf_counter()})\n"
    assert main(["check", written(tmp_path, clock)]) == 1
    said = capsys.readouterr().out
    assert "plain: run twice, its log is the same and its result is not: test/error is" in said
    assert "draws from a generator that no seed of the run sets" in said


def test_a_program_that_logs_without_fit_is_killed_at_lines_and_begins_again(tmp_path, capsys):
    program = """
def train(cfg, run):
    for i in range(8):
        run.log(i + 1, x=run.rng("x", i).normal())
    run.result(**{"test/error": 0.1})
"""
    assert main(["check", written(tmp_path, program), "--variants", "plain"]) == 0
    assert "killed before the line of step 3, before the line of step 5 and before the line" in capsys.readouterr().out


def test_runs_that_differ_without_a_kill_are_told_from_those_that_resume_wrongly(tmp_path, capsys):
    clock = loop(after="model.bias.data += __import__('time').perf_counter() % 1 * 1e-3")
    assert main(["check", written(tmp_path, clock), "--variants", "plain"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"plain: run twice, it differs first at step \d+: train/loss", said)
    assert "Without any kill two runs of one seed differ" in said


def test_a_file_that_a_kill_leaves_behind_is_no_excuse(tmp_path):
    """A program that appends to a file of its run in evaluate, and reads it, is caught: the kill is at its end."""
    program = (
        loop(error="appended(run)")
        + """
def appended(run):
    with open(run.path("seen.txt"), "a") as file:
        file.write("x")
    return len(run.path("seen.txt").read_text())
"""
    )
    study = catalogue.find(written(tmp_path, program))
    (found, _) = check.findings(study, tmp_path / "runs")
    assert found.difference == "it differs first at step 30: test/error is 4 and not 3"


def test_three_kills_are_chosen_apart_and_one_in_an_evaluation():
    steps = [("before step", 0, i + 1) for i in range(12)]
    evaluations = [("in the evaluation after step", 0, 6), ("in the evaluation after step", 0, 12)]
    moments = [*steps[:6], evaluations[0], *steps[6:], evaluations[1]]
    assert check.kills(moments) == (steps[6], steps[10], evaluations[1])
    assert check.kills(steps) == (steps[3], steps[6], steps[10])
    assert check.kills(steps[:1]) == (steps[0],)
    assert check.kills([]) == ()


def test_a_run_is_killed_at_each_moment_once(coins, tmp_path):
    begun = []

    def program(cfg, run):
        begun.append(run.spec.variant)
        coins.program(cfg, run)

    study, spec = replace(coins, program=program), coins.plan("laptop", seeds=1)[0]
    at = check.kills(check.straight(study, spec, tmp_path / "straight"))
    check.resume(study, spec, tmp_path / "resumed", at)
    assert len(at) == 3
    assert len(begun) == 1 + 4
    assert check.difference(tmp_path / "straight" / spec.key, tmp_path / "resumed" / spec.key) == ""


# The first step of a scale


def test_a_step_of_a_scale_is_taken_and_measured(tmp_path, capsys):
    assert main(["check", written(tmp_path, loop()), "--variants", "plain", "--scale", "paper"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("plain: one step of the scale paper, a batch of 64: 18 parameters, 1.0 kFLOP, ")


def test_its_numbers_are_those_counted_by_hand(tmp_path):
    study = catalogue.find(written(tmp_path, loop()))
    step = first_step.take(study, "paper", "plain", {})
    assert step.parameters == 8 * 2 + 2
    assert step.operations == 2 * (2 * 16 * 8 * 2)  # forwards, and backwards to the weights: x needs no gradient
    assert step.memory > 2**20
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_step_of_what_variants_share_is_measured_too(tmp_path):
    shared = loop().replace("def train(cfg, run):", "def make(cfg, run):")
    study = catalogue.find(
        written(tmp_path, shared + "\n\ndef train(cfg, run):\n    run.once('shared', {}, lambda own: make(cfg, own))\n")
    )
    assert first_step.take(study, "paper", "plain", {}).parameters == 8 * 2 + 2


def test_what_a_step_took_is_told_in_units():
    assert str(first_step.Step(11_172_170, 426_100_000_000, 2**30)) == (
        "11,172,170 parameters, 426.1 GFLOP, 1,024 MiB at most"
    )
    assert str(first_step.Step(0, 1_250_000_000_000, 2**20)) == "1.2 TFLOP, 1 MiB at most"
    assert str(first_step.Step(7, 0, 2**20)) == "7 parameters, 1 MiB at most"
    assert str(first_step.Step(7, 999, 2**20)) == "7 parameters, 999.0 FLOP, 1 MiB at most"


def test_a_moment_of_a_later_phase_says_so():
    at = (("before step", 0, 3), ("before step", 1, 1), ("in the evaluation after step", 1, 4))
    assert str(check.Finding("plain", at)) == (
        "plain: killed before step 3, before step 1 of phase 2 and in the evaluation after step 4 of phase 2, "
        "and resumed, it ends with the same bytes"
    )


def test_a_batch_that_does_not_fit_is_halved(tmp_path, capsys):
    greedy = loop(after="torch.empty(2**46 if cfg.batch > 16 else 1)")
    assert main(["check", written(tmp_path, greedy), "--variants", "plain", "--scale", "paper"]) == 0
    assert "a batch of 16 of 64, as more does not fit into memory" in capsys.readouterr().out
    killed = loop(after="cfg.batch > 32 and __import__('os').kill(__import__('os').getpid(), 9)")
    ((said, works),) = first_step.lines(written(tmp_path, killed), "paper", ("plain",))
    assert works
    assert "a batch of 32 of 64" in said
    ((said, works),) = first_step.lines(written(tmp_path, loop(after="torch.empty(2**46)")), "paper", ("plain",))
    assert not works
    assert "its memory does not suffice for a step, even of one example" in said


def test_a_scale_that_cannot_be_started_says_why(tmp_path, capsys):
    wrong = "def train(cfg, run):\n    raise ValueError('there is\\nno such thing')\n"
    ((said, works),) = first_step.lines(written(tmp_path, wrong), "paper", ("plain",))
    assert (said, works) == (
        "plain: the scale paper cannot be started on this machine: ValueError: there is no such thing",
        False,
    )
    ended = "def train(cfg, run):\n    import os\n    os._exit(3)\n"
    ((said, works),) = first_step.lines(written(tmp_path, ended), "paper", ("plain",))
    assert not works
    assert "its process ended before the first step, with exit status 3" in said
    stepless = "def train(cfg, run):\n    run.result(**{'test/error': 0.5})\n"
    assert list(first_step.lines(written(tmp_path, stepless), "paper", ("plain",))) == [
        ("plain: the scale paper starts, a batch of 64; no step by fit could be measured", True)
    ]


def test_without_its_data_a_step_is_taken_on_what_stands_in(tmp_path, monkeypatch):
    nowhere = {"HF_HUB_OFFLINE": "1", "ETUDES_CACHE": str(tmp_path / "cache"), "ETUDES_MIRROR": ""}
    for name, value in (nowhere | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}).items():
        monkeypatch.setenv(name, value)
    ((said, works),) = first_step.lines("mixup", "laptop", ("erm",))
    assert works
    assert "with dataset = digits (" in said
    ((said, works),) = first_step.lines("mixup", "paper", ("erm",))
    assert not works
    assert "cannot be started on this machine: " in said
    assert "cifar10" in said
    ((said, works),) = first_step.lines("mixup", "laptop", ("erm",), "digits")
    assert works


def test_wrong_names_are_told_before_anything_runs(tmp_path):
    with pytest.raises(Problem, match="no scale of mixup 'papre'; did you mean 'paper'"):
        check.main("mixup", "papre")
    with pytest.raises(Problem, match="no variant of mixup 'emr'"):
        check.main("mixup", variants="emr")
