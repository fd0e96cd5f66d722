import io
import math
import multiprocessing
import os
import signal
import time

import pytest
import torch
from rich.console import Console

from coins import make_study
from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.sweep.local import perform, together, workers
from etudes.sweep.plan import pending
from etudes.sweep.progress import PlanProgress


def count(cfg, run):
    with open(run.folder.parents[3] / "performed", "a") as file:
        file.write(run.spec.key + "\n")
    for i in range(50):
        run.log(i, x=float(run.rng("x", i).random()))
    run.result(x=1.0)


def work(root):
    study = make_study(program=count)
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
    assert sorted(performed) == sorted(spec.key for spec in make_study().plan("laptop"))


def test_what_is_left_is_what_has_no_result(coins, tmp_path):
    plan = coins.plan("smoke")
    execute(coins, plan[1], tmp_path)
    assert pending(plan, tmp_path) == [plan[0], *plan[2:]]


def test_runs_that_diverge_are_told_and_the_others_go_on(tmp_path):
    def explode(cfg, run):
        run.log(1, loss=math.nan if cfg.shift else 1.0)
        run.result(x=1.0)

    study = make_study(program=explode)
    told = []
    diverged = perform(study, study.plan("smoke"), tmp_path, finish=lambda spec, status: told.append(status))
    assert told == ["done", "diverged"] * 2
    assert [str(problem).count("loss is nan") for problem in diverged] == [1, 1]
    assert [spec.variant for spec in pending(study.plan("smoke"), tmp_path)] == ["shifted"] * 2


def test_progress_is_a_line_a_run_where_nobody_watches(coins, tmp_path):
    plan, out = coins.plan("smoke"), io.StringIO()
    with PlanProgress(plan, Console(file=out, width=200)) as progress:
        for spec in plan:
            progress.watch(spec.key, 0, 2)
            progress.watch(spec.key, 1, 2)
            progress.finish(spec, "done")
    lines = out.getvalue().splitlines()
    assert [line.replace(",", "").split()[:3] for line in lines] == [
        [f"{i}/4", spec.key, "done"] for i, spec in enumerate(plan, start=1)
    ]
    assert all("left" in line for line in lines[:-1])


def test_progress_in_a_terminal_shows_the_run_and_the_plan(coins):
    plan, out = coins.plan("smoke"), io.StringIO()
    with PlanProgress(plan, Console(file=out, width=200, force_terminal=True)) as progress:
        progress.watch(plan[0].key, 0, 2)
        progress.watch(plan[0].key, 1, 2)
        progress.finish(plan[0], "done")
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
    study, told, watched = make_study(program=marked, threads=1), [], set()
    plan = study.plan("laptop")
    diverged = together(
        study,
        plan,
        tmp_path / "team",
        3,
        watch=lambda key, done, steps: watched.add(key),
        finish=lambda spec, status: told.append((spec.key, status)),
    )
    lines = [line.split() for line in (tmp_path / "team" / "performed").read_text().splitlines()]
    assert sorted(key for key, _, _ in lines) == sorted(spec.key for spec in plan) == sorted(watched)
    assert 1 < len({pid for _, pid, _ in lines} - {str(os.getpid())}) <= 3
    assert {threads for _, _, threads in lines} == {"1"}
    assert sorted(told) == sorted(
        (s.key, "diverged" if s.seed == 3 and s.variant == "shifted" else "done") for s in plan
    )
    assert ["loss is nan" in str(problem) for problem in diverged] == [True]
    perform(study, plan, tmp_path / "alone")
    pairs = [[(r.spec, r.metrics) for r in load(plan, tmp_path / name)] for name in ("team", "alone")]
    assert pairs[0] == pairs[1]


@pytest.mark.filterwarnings("ignore")
def test_what_keeps_one_process_from_going_on_is_told_and_the_rest_is_kept(tmp_path):
    def stumble(cfg, run):
        if run.spec.seed == 2:
            raise Problem("no such data")
        if run.spec.seed == 3:
            time.sleep(60)
        run.result(**{"test/score": 1.0})

    study = make_study(program=stumble, threads=1)
    begun = time.monotonic()
    with pytest.raises(Problem, match="no such data"):
        together(study, study.plan("laptop"), tmp_path, 2)
    assert time.monotonic() - begun < 30
    assert len(list(tmp_path.rglob("result.json"))) >= 3  # the fourth may have been at work
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told(tmp_path):
    def die(cfg, run):
        if run.spec.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        run.result(**{"test/score": 1.0})

    study = make_study(program=die, threads=1)
    with pytest.raises(Problem, match=r"a process ended before its work .*the same command goes on"):
        together(study, study.plan("laptop"), tmp_path, 1)


@pytest.mark.parametrize(
    ("threads", "room", "count"), [(0, "4", 1), (1, "1", 1), (1, "3", 3), (2, "5", 2), (1, "64", 4), (8, "4", 1)]
)
def test_as_many_processes_as_there_is_room_for(monkeypatch, threads, room, count):
    monkeypatch.setenv("OMP_NUM_THREADS", room)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    study = make_study(threads=threads)
    assert workers(study, study.plan("laptop")) == count
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert workers(study, study.plan("laptop")) == 1
