import io
import itertools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings

import psutil
import pytest
import torch
from rich.console import Console

import coins as coins_file
from coins import make_study
from etudes.core import catalogue
from etudes.core.errors import Broken, Problem
from etudes.core.record import load, read
from etudes.core.run import execute
from etudes.sweep import local, team
from etudes.sweep.local import perform
from etudes.sweep.plan import Outcome, pending
from etudes.sweep.progress import PlanProgress


def draw(cfg, run):
    with open(run.folder.parents[3] / "performed", "a") as file:
        file.write(run.spec.key + "\n")
    for i in range(50):
        run.log(i, x=float(run.rng("x", i).random()))
    run.result(x=1.0)


def work(root):
    study = make_study(program=draw)
    perform(study, study.plan("laptop"), root)
    assert not pending(study.plan("laptop"), root)


def test_every_process_ends_with_the_whole_plan_and_nothing_is_done_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    performed = (tmp_path / "performed").read_text().split()
    assert sorted(performed) == sorted(spec.key for spec in make_study(program=draw).plan("laptop"))


def test_what_is_left_is_what_has_no_result(coins, tmp_path):
    plan = coins.plan("smoke")
    execute(coins, plan[1], tmp_path)
    assert pending(plan, tmp_path) == [plan[0], *plan[2:]]


def test_runs_that_diverge_are_told_and_the_others_go_on(tmp_path):
    def explode(cfg, run):
        run.log(1, loss=math.nan if cfg.shift else 1.0)
        run.result(x=1.0)

    study = make_study(program=explode)
    heard = []
    outcomes = perform(study, study.plan("smoke"), tmp_path, finish=heard.append)
    assert outcomes == heard
    assert [outcome.status for outcome in outcomes] == ["done", "diverged"] * 2
    assert [outcome.reason.count("loss is nan") for outcome in outcomes] == [0, 1, 0, 1]
    assert [spec.variant for spec in pending(study.plan("smoke"), tmp_path)] == ["shifted"] * 2


def test_progress_is_a_line_a_run_where_nobody_watches(coins, tmp_path):
    plan, out = coins.plan("smoke"), io.StringIO()
    with PlanProgress(plan, Console(file=out, width=200)) as progress:
        for spec in plan:
            progress.watch(spec.key, 0, 2)
            progress.watch(spec.key, 1, 2)
            progress.finish(Outcome(spec, "done"))
    lines = out.getvalue().splitlines()
    assert [line.replace(",", "").split()[:3] for line in lines] == [
        [f"{i}/4", spec.key, "done"] for i, spec in enumerate(plan, start=1)
    ]
    assert all("left" in line for line in lines[:-1])


def test_progress_in_a_terminal_shows_the_plan_and_the_runs_at_work(coins):
    plan, out = coins.plan("smoke"), io.StringIO()
    with PlanProgress(plan, Console(file=out, width=200, force_terminal=True)) as progress:
        progress.watch(plan[0].key, 0, 2)
        progress.watch(plan[1].key, 0, 2)
        progress.watch(plan[0].key, 1, 2)
        assert [task.description for task in progress._bars.tasks] == [
            "all runs",
            plan[0].key.partition("/")[2],
            plan[1].key.partition("/")[2],
        ]
        progress._bars.refresh()
        progress.finish(Outcome(plan[0], "done"))
    text = out.getvalue()
    assert "all runs" in text
    assert "1/4" in text
    assert "step 1/2" in text


def marked(cfg, run):
    with open(run.folder.parents[3] / "performed", "a") as file:
        file.write(f"{run.spec.key} {os.getpid()} {torch.get_num_threads()}\n")
    for i in range(20):
        run.progress(i, 20)
        time.sleep(0.005)
    if run.spec.seed == 3 and cfg.shift:
        run.log(1, loss=math.nan)
    run.result(**{"test/score": float(run.rng("score").normal()) + cfg.shift})


def test_processes_side_by_side_give_the_records_of_one(tmp_path):
    study, heard, watched = make_study(program=marked), [], set()
    plan = study.plan("laptop")
    outcomes = perform(
        study,
        plan,
        tmp_path / "team",
        count=3,
        start="fork",
        watch=lambda key, done, steps: watched.add(key),
        finish=heard.append,
    )
    lines = [line.split() for line in (tmp_path / "team" / "performed").read_text().splitlines()]
    assert sorted(key for key, _, _ in lines) == sorted(spec.key for spec in plan) == sorted(watched)
    assert 1 < len({pid for _, pid, _ in lines} - {str(os.getpid())}) <= 3
    assert {threads for _, _, threads in lines} == {"1"}
    assert outcomes == heard
    assert {o.spec.key: o.status for o in outcomes} == {
        s.key: "diverged" if s.seed == 3 and s.variant == "shifted" else "done" for s in plan
    }
    assert ["loss is nan" in outcome.reason for outcome in outcomes if outcome.reason] == [True]
    perform(study, plan, tmp_path / "alone")
    pairs = [[(r.spec, r.metrics) for r in load(plan, tmp_path / name)] for name in ("team", "alone")]
    assert pairs[0] == pairs[1]


def numbers(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for name in ("log.jsonl", "result.json")
        for path in root.rglob(name)
    }


def test_a_plan_gives_the_same_bytes_however_it_is_performed(tmp_path):
    study = catalogue.find("mixup")
    plan = study.plan("smoke")
    assert {o.status for o in perform(study, plan, tmp_path / "one")} == {"done"}
    assert {o.status for o in perform(study, plan, tmp_path / "fork", count=2, start="fork")} == {"done"}
    assert {o.status for o in perform(study, plan, tmp_path / "spawn", count=2, start="spawn")} == {"done"}
    assert len(numbers(tmp_path / "one")) == 2 * 20
    assert numbers(tmp_path / "fork") == numbers(tmp_path / "one")
    assert numbers(tmp_path / "spawn") == numbers(tmp_path / "one")
    for how in ("one", "fork", "spawn"):
        assert {read(tmp_path / how / spec.key).env["threads"] for spec in plan} == {1}


def test_what_keeps_one_process_from_going_on_is_said_and_the_rest_is_kept(tmp_path):
    def stumble(cfg, run):
        if run.spec.seed == 2:
            raise Problem("no such data")
        if run.spec.seed == 3:
            time.sleep(60)
        run.result(**{"test/score": 1.0})

    study = make_study(program=stumble)
    begun = time.monotonic()
    with pytest.raises(Problem, match="no such data"):
        perform(study, study.plan("laptop"), tmp_path, count=2, start="fork")
    assert time.monotonic() - begun < 30
    assert len(list(tmp_path.rglob("result.json"))) >= 3  # the fourth may have been at work
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("status", [0, 1, -signal.SIGKILL])
def test_a_process_that_ends_before_its_run_is_named(tmp_path, status):
    def die(cfg, run):
        if run.spec.seed == 1:
            os._exit(status) if status >= 0 else os.kill(os.getpid(), -status)
        run.result(**{"test/score": 1.0})

    study = make_study(program=die)
    how = f"exit status {status}" if status >= 0 else "signal SIGKILL"
    with pytest.raises(Problem, match=rf"ended before its work coins/laptop/\w+/1-\w+ \({how}\); the same command"):
        perform(study, study.plan("laptop"), tmp_path, count=2, start="fork")


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_the_program_reaches_its_author_with_the_programs_frames_alone(tmp_path, count):
    def mistaken(cfg, run):
        return {}["no such key"]

    study = make_study(program=mistaken)
    with pytest.raises(Broken) as caught:
        perform(study, study.plan("laptop"), tmp_path, count=count, start="fork")
    assert "coins/laptop/" in caught.value.sentence
    assert caught.value.sentence.endswith("the program raised KeyError: 'no such key'; finished runs are kept")
    frames = [line for line in caught.value.trace.splitlines() if line.startswith("  File")]
    assert len(frames) == 1
    assert "in mistaken" in frames[0]


def test_what_a_program_prints_and_warns_of_is_heard_line_by_line(tmp_path, capsys):
    def talk(cfg, run):
        for i in range(20):
            print("epoch", i, run.spec.variant)
        print("no newline", end="")
        print("an aside", file=sys.stderr)
        warnings.warn(f"beware of seed {run.spec.seed}", stacklevel=1)
        run.result(**{"test/score": math.nan})

    study = make_study(program=talk)
    plan = study.plan("laptop")
    with pytest.warns(UserWarning, match="seed|test/score is nan in the result") as caught:
        perform(study, plan, tmp_path, count=2, start="fork")
    heard = capsys.readouterr()
    lines = [line.replace("no newline", "") for line in heard.out.splitlines()]
    assert sorted(filter(None, lines)) == sorted(f"epoch {i} {spec.variant}" for spec in plan for i in range(20))
    assert heard.err.count("an aside\n") == len(plan)
    assert {str(w.message) for w in caught} >= {f"beware of seed {seed}" for seed in range(4)}


def test_memory_that_does_not_suffice_keeps_runs_one_after_the_other(tmp_path, monkeypatch):
    def linger(cfg, run):
        path = run.folder.parents[3] / "performed"
        with open(path, "a") as file:
            file.write("begins\n")
        time.sleep(0.3)
        with open(path, "a") as file:
            file.write("ends\n")
        run.result(**{"test/score": 1.0})

    class Little:
        available = -1  # less than any run needs

    study = make_study(program=linger)
    perform(study, study.plan("smoke"), tmp_path / "much", count=2, start="fork")
    much = (tmp_path / "much" / "performed").read_text().split()
    assert ("begins", "begins") in itertools.pairwise(much)
    monkeypatch.setattr(psutil, "virtual_memory", Little)
    perform(study, study.plan("smoke"), tmp_path / "little", count=2, start="fork")
    assert (tmp_path / "little" / "performed").read_text().split() == ["begins", "ends"] * 4


@pytest.mark.parametrize(("threads", "cores", "count"), [(1, 1, 1), (1, 3, 3), (2, 5, 2), (1, 64, 64), (8, 4, 1)])
def test_as_many_processes_as_there_are_cores_for(monkeypatch, threads, cores, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(cores), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which says nothing of cores
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ETUDES_DEVICE", "cpu")
    plan = make_study().plan("laptop", threads=threads)
    assert local.room(plan) == count
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert local.room(plan) == 1
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("ETUDES_DEVICE", "meta")  # not the processor: it is not shared
    assert local.room(plan) == 1


def test_a_fork_is_made_only_where_it_is_safe_and_spawning_needs_a_name_or_a_file(monkeypatch):
    mine, named, filed = make_study(), catalogue.find("mixup"), catalogue.find(coins_file.__file__)
    one, two = ([*study.plan("smoke")] for study in (mine, named))
    monkeypatch.setattr(local.sys, "platform", "linux")
    assert local.safe_start(mine, one) == "fork"
    assert local.safe_start(named, named.plan("smoke", threads=2)) == "spawn"
    assert local.safe_start(mine, mine.plan("smoke", threads=2)) == "none"
    monkeypatch.setattr(local.sys, "platform", "darwin")
    assert local.safe_start(named, two) == "spawn"
    assert local.safe_start(mine, one) == "none"
    assert local.safe_start(filed, one) == "spawn"
    assert team.source(named) == "mixup"
    assert team.source(filed) == coins_file.__file__


def test_a_script_is_not_performed_again_by_the_processes_that_it_starts(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from pathlib import Path\n"
        "from etudes.core import catalogue\n"
        "from etudes.sweep.local import perform\n"
        f"study = catalogue.find({coins_file.__file__!r})\n"
        "found = perform(study, study.plan('smoke'), Path('runs'), count=2, start='spawn')\n"
        "print([outcome.status for outcome in found])\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["once", "['done', 'done', 'done', 'done']"], done.stderr


LOADER = """
import torch
from coins import make_study
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self):
        return 32
    def __getitem__(self, i):
        return torch.randn(4) + i

def train(cfg, run):
    loader = DataLoader(Squares(), batch_size=8, shuffle=True, num_workers=2)
    run.result(**{"test/score": sum(x.sum() for x in loader)})

STUDY = make_study(name="loader", program=train)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("start", ["fork", "spawn", "none"])
def test_a_program_may_have_processes_of_its_own(tmp_path, start, threads):
    (tmp_path / "loader.py").write_text(LOADER)
    study = catalogue.find(str(tmp_path / "loader.py"))
    if start == "fork" and threads == 2:
        pytest.skip("is never chosen")
    plan = study.plan("smoke", threads=threads)
    assert {o.status for o in perform(study, plan, tmp_path / start, count=2, start=start)} == {"done"}
    assert {o.status for o in perform(study, plan, tmp_path / "again")} == {"done"}
    assert numbers(tmp_path / start) == numbers(tmp_path / "again")
