"""A real Ray cluster of this machine, on loopback."""

import os
import signal
import subprocess
import sys
import time

import pytest

from coins import make_study
from etudes.core.errors import Broken, Problem
from etudes.core.record import load
from etudes.sweep import local
from etudes.sweep.cluster import Cluster, perform

pytest.importorskip("ray")

STUDY_FILE = '''
import os, sys, time
sys.path.insert(0, {tests!r})
from coins import make_study

MARKS = {marks!r}

def live_dangerously(cfg, run):
    """Killed in its first life: the run is the task's, and only that run is done again."""
    first = os.path.join(MARKS, f"{{run.spec.variant}}-{{run.spec.seed}}")
    with open(first, "a") as lives:
        lives.write("x")
    if cfg.shift and os.path.getsize(first) == 1:
        os.kill(os.getpid(), 9)
    from danger_helper import ZERO

    run.log(1, score=cfg.shift)
    run.result(**{{"test/score": float(run.rng("score").normal()) + cfg.shift + ZERO}})

STUDY = make_study(name="dangerous", program=live_dangerously)
'''


def test_the_cluster_gives_the_same_records_and_a_lost_worker_costs_its_run_alone(tmp_path):
    """A worker killed under Ray: its run alone is done again, and all records are those of one process"""
    from etudes.core import catalogue

    (tmp_path / "marks").mkdir()
    (tmp_path / "danger_helper.py").write_text("ZERO = 0.0\n")
    (tmp_path / "json.py").write_text("")  # which hides no library, in workers either
    file = tmp_path / "dangerous.py"
    file.write_text(STUDY_FILE.format(tests=os.path.dirname(os.path.dirname(__file__)), marks=str(tmp_path / "marks")))
    study, heard = catalogue.find(str(file)), []
    plan = study.plan("laptop")
    outcomes = perform(study, plan, tmp_path / "ray", Cluster(), finish=heard.append)
    assert outcomes == heard
    assert sorted((o.spec.key, o.status, o.reason) for o in outcomes) == sorted((s.key, "done", "") for s in plan)
    lives = {path.name: path.stat().st_size for path in (tmp_path / "marks").iterdir()}
    assert lives == {f"{v}-{s}": 2 if v == "shifted" else 1 for v in ("plain", "shifted") for s in range(4)}

    local.perform(study, plan, tmp_path / "local")
    one, other = load(plan, tmp_path / "ray"), load(plan, tmp_path / "local")
    assert [(r.spec, r.metrics) for r in one] == [(r.spec, r.metrics) for r in other]
    assert [r.log for r in one] == [r.log for r in other]


def test_what_cannot_be_performed_is_one_sentence(tmp_path):
    study = make_study()
    with pytest.raises(Problem, match=r"no node has 1000 cores and 0 GPUs for a run; the nodes have \d+ and 0"):
        perform(study, study.plan("smoke", threads=1000), tmp_path, Cluster())
    with pytest.raises(Problem, match="cannot take -1 GPUs"):
        perform(study, study.plan("smoke"), tmp_path, Cluster(gpus=-1))


def test_a_plan_gives_the_bytes_of_one_process_and_an_error_of_the_program_its_traceback(tmp_path):
    from etudes.core import catalogue

    study = catalogue.find("mixup")
    plan = study.plan("smoke")
    assert {outcome.status for outcome in perform(study, plan, tmp_path / "ray", Cluster())} == {"done"}
    local.perform(study, plan, tmp_path / "local")
    one, other = (
        {
            path.relative_to(tmp_path / root): path.read_bytes()
            for name in ("log.jsonl", "result.json")
            for path in (tmp_path / root).rglob(name)
        }
        for root in ("ray", "local")
    )
    assert len(one) == 2 * 20
    assert one == other

    def mistaken(cfg, run):
        return {}["no such key"]

    study = make_study(program=mistaken)
    with pytest.raises(Broken, match="the program raised KeyError: 'no such key'") as caught:
        perform(study, study.plan("smoke"), tmp_path, Cluster())
    assert "in mistaken" in caught.value.trace


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_no_cluster_at_the_address_is_one_sentence(address, tmp_path):
    study = make_study()
    with pytest.raises(Problem, match=f"no Ray cluster answers at {address}"):
        perform(study, study.plan("smoke"), tmp_path, Cluster(address=address))


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_finished_and_the_command_goes_on(tmp_path):
    """Ctrl-C under Ray: finished runs stay, and the command goes on"""
    study = tmp_path / "slow.py"
    study.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})\n"
        "from coins import make_study, toss\n"
        "def slowly(cfg, run):\n"
        "    time.sleep(2 * run.spec.seed)\n"
        "    toss(cfg, run)\n"
        "STUDY = make_study(name='slow', program=slowly)\n"
    )
    command = [sys.executable, "-m", "etudes", "run", str(study), "--engine", "ray", "--root", str(tmp_path / "runs")]
    child = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for _ in range(1200):
        if list((tmp_path / "runs").rglob("result.json")):
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    told = child.communicate(timeout=120)[1]
    assert child.returncode == 130
    assert "the same command goes on" in told
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}
    assert 0 < len(finished) < 8
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{len(finished)} of 8 runs are finished already" in done.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
