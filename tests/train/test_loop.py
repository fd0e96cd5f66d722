import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from etudes.core.catalogue import find
from etudes.core.errors import Diverged, Problem
from etudes.core.run import Run, execute
from etudes.train.loop import fit

STUDY = Path(__file__).with_name("study_to_kill.py")
CODE = """
import sys, torch
from pathlib import Path
from etudes.core.catalogue import find
from etudes.core.run import execute
torch.set_num_threads(1)
study = find({study!r})
for spec in study.plan("smoke", seeds=1, steps={steps}, dropout={dropout}):
    print(execute(study, spec, Path({root!r})), flush=True)
"""
FILES = ("log.jsonl", "result.json")


def command(root, steps=40, dropout=0.3):
    return [sys.executable, "-c", CODE.format(study=str(STUDY), root=str(root), steps=steps, dropout=dropout)]


def environment(**more):
    tests = str(Path(__file__).parents[1])
    return os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"} | more


def contents(root):
    (folder,) = root.glob("*/*/*/*/")
    return {name: (folder / name).read_bytes() for name in FILES}


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path):
    steps = 1500
    subprocess.run(command(tmp_path / "straight", steps), check=True, env=environment(), timeout=300)
    chance = random.Random(0)
    kills = 0
    for _ in range(200):
        process = subprocess.Popen(
            command(tmp_path / "killed", steps), env=environment(ETUDES_SAVE_SECONDS="0"), stdout=subprocess.PIPE
        )
        log = tmp_path / "killed"
        while process.poll() is None and not list(log.glob("*/*/*/*/progress.json")):
            time.sleep(0.01)  # until the first checkpoint: importing torch is no moment of the run
        if kills < 10:
            time.sleep(chance.uniform(0, 1.0))
        try:
            process.wait(timeout=0 if kills < 10 else 300)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 3
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


@pytest.fixture
def study():
    return find(str(STUDY))


def interrupted(study, at):
    """The study whose program is interrupted when line `at` of its log is written."""

    def program(cfg, run):
        plain, lines = run.log, iter(range(at))

        def log(step, **numbers):
            if next(lines, None) is None:
                raise KeyboardInterrupt
            plain(step, **numbers)

        run.log = log
        study.program(cfg, run)

    return replace(study, program=program)


@pytest.mark.parametrize("at", [0, 1, 5, 12, 13, 20, 25])
def test_interrupted_at_any_line_it_ends_with_the_same_bytes(study, tmp_path, monkeypatch, at):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    spec = study.plan("smoke", steps=40)[0]
    execute(study, spec, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        execute(interrupted(study, at), spec, tmp_path / "again")
    assert execute(study, spec, tmp_path / "again") == "done"
    assert contents(tmp_path / "again") == contents(tmp_path / "straight")


def test_a_truncated_checkpoint_costs_only_its_own_steps(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    spec = study.plan("smoke", steps=40)[0]
    execute(study, spec, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        execute(interrupted(study, 8), spec, tmp_path / "again")
    folder = tmp_path / "again" / spec.key
    older, newest = (c["file"] for c in json.loads((folder / "progress.json").read_text())["checkpoints"])
    path = folder / newest
    path.write_bytes(path.read_bytes()[:100])
    started = []
    watch = lambda key, done, steps: started.append(done)  # noqa: E731
    with pytest.warns(UserWarning, match=newest):
        execute(study, spec, tmp_path / "again", watch)
    assert started[0] == int(older.split("-")[2].split(".")[0])
    assert contents(tmp_path / "again") == contents(tmp_path / "straight")


def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_its_log(coins, tmp_path):
    def program(cfg, run):
        fit(run, {}, lambda i: {"loss": torch.tensor(float("nan") if i == 7 else 1.0)}, 20, log_every=5)

    study = replace(coins, program=program)
    spec = study.plan("smoke")[0]
    with pytest.raises(Diverged, match="loss is nan at step 8"):
        execute(study, spec, tmp_path)
    assert (tmp_path / spec.key / "log.jsonl").read_text() == '{"step": 5, "loss": 1.0}\n'


def test_the_log_averages_the_steps_and_evaluates_on_time(coins, tmp_path):
    run = Run(coins.plan("smoke")[0], tmp_path)
    found = fit(run, {}, lambda i: {"i": float(i)}, 7, evaluate=lambda: {"test/x": 2.0}, eval_every=3, log_every=2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert found == {"test/x": 2.0}
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 7]
    assert [line["i"] for line in lines] == [0.5, 2.0, 3.0, 4.5, 6.0]
    assert [line["step"] for line in lines if "test/x" in line] == [3, 6, 7]


def test_a_step_draws_by_its_index_alone(coins, tmp_path):
    def draws(folder, burn):
        folder.mkdir()
        run, seen = Run(coins.plan("smoke")[0], folder), []
        torch.rand(burn)
        fit(run, {}, lambda i: seen.append(torch.rand(1).item()) or {"x": 0.0}, 5)
        return seen

    assert draws(tmp_path / "a", 1) == draws(tmp_path / "b", 100)


def launched(root, processes, **env):
    script = root.parent / "launch.py"
    script.write_text(command(root, dropout=0.0)[2])
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "29517",
    ]
    return subprocess.run([*launch, str(script)], env=environment(**env), capture_output=True, text=True, timeout=300)


def test_two_processes_agree_with_one_and_resume(tmp_path):
    subprocess.run(command(tmp_path / "one", dropout=0.0), check=True, env=environment(), timeout=300)
    done = launched(tmp_path / "two", 2)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads(contents(tmp_path / name)["result.json"]) for name in ("one", "two"))
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5)
    assert json.loads(next((tmp_path / "two").rglob("env.json")).read_text())["processes"] == 2
    log = {n: [json.loads(x) for x in contents(tmp_path / n)["log.jsonl"].splitlines()] for n in ("one", "two")}
    assert [line["step"] for line in log["two"]] == [line["step"] for line in log["one"]]
    for mine, theirs in zip(log["two"], log["one"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    assert set(launched(tmp_path / "two", 2).stdout.split()) == {"kept"}


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    from etudes.train.distribute import part

    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(Problem, match="a batch of 8 cannot be split over 3 processes"):
        part(torch.zeros(8))
