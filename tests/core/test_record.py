import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coins import make_study
from etudes.core.errors import Diverged, Problem
from etudes.core.record import load
from etudes.core.run import Run, execute


def run_all(study, root, scale="smoke"):
    return [execute(study, spec, root) for spec in study.plan(scale)]


def test_a_run_is_done_once_and_then_kept(coins, tmp_path):
    assert run_all(coins, tmp_path) == ["done"] * 4
    assert run_all(coins, tmp_path) == ["kept"] * 4
    spec = coins.plan("smoke")[0]
    folder = tmp_path / spec.key
    names = ["env.json", "lock", "log.jsonl", "result.json", "spec.json", "times.txt"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert json.loads((folder / "spec.json").read_text())["config"]["steps"] == 2
    env = json.loads((folder / "env.json").read_text())
    assert env["precision"] == "fp32"
    assert env["seconds"] >= 0
    assert len(env["library"]) == 8
    assert env["threads"] == 1
    assert {words.partition(",")[0] for words in env["pools"].values()} == {"1"}


def test_records_are_loaded_by_seed_and_variant(coins, tmp_path):
    run_all(coins, tmp_path)
    records = load(coins.plan("smoke"), tmp_path)
    assert [(r.spec.seed, r.spec.variant) for r in records] == [
        (0, "plain"),
        (0, "shifted"),
        (1, "plain"),
        (1, "shifted"),
    ]
    assert [line["step"] for line in records[0].log] == [1, 2]


def test_variants_of_a_seed_are_paired_and_seeds_are_not(coins, tmp_path):
    run_all(coins, tmp_path)
    scores = {(r.spec.seed, r.spec.variant): r.metrics["test/score"] for r in load(coins.plan("smoke"), tmp_path)}
    assert scores[0, "shifted"] == pytest.approx(scores[0, "plain"] - 1)
    assert scores[0, "plain"] != scores[1, "plain"]


def test_only_the_asked_config_is_loaded(coins, tmp_path):
    run_all(coins, tmp_path)
    for spec in coins.plan("smoke", steps=3):
        execute(coins, spec, tmp_path)
    assert {r.spec.config["steps"] for r in load(coins.plan("smoke"), tmp_path)} == {2}
    assert {r.spec.config["steps"] for r in load(coins.plan("smoke", steps=3), tmp_path)} == {3}
    assert load(replace(coins, revisions=("one",)).plan("smoke"), tmp_path) == []


def test_more_seeds_than_planned_and_another_precision_are_loaded(coins, tmp_path):
    for spec in coins.plan("smoke", seeds=3):
        execute(coins, spec, tmp_path)
    execute(coins, coins.plan("smoke", precision="bf16")[0], tmp_path)
    records = load(coins.plan("smoke"), tmp_path)
    assert len(records) == 6
    assert {r.spec.precision for r in records} == {"fp32"}
    execute(coins, coins.plan("smoke", precision="bf16", seeds=4)[-1], tmp_path)
    assert [r.spec.precision for r in load(coins.plan("smoke"), tmp_path)] == ["fp32"] * 6 + ["bf16"]


@pytest.mark.parametrize("name", ["result.json", "spec.json", "env.json"])
def test_a_half_written_file_is_named_and_kept(coins, tmp_path, name):
    run_all(coins, tmp_path)
    path = tmp_path / coins.plan("smoke")[0].key / name
    path.write_text(path.read_text()[:7])
    with pytest.raises(Problem, match=r"is not whole; delete .* and run the same command again"):
        load(coins.plan("smoke"), tmp_path)
    if name == "result.json":
        with pytest.raises(Problem, match=str(path)):
            run_all(coins, tmp_path)
    assert path.exists()


def test_a_number_that_is_not_finite_stops_the_run_and_keeps_its_log(tmp_path):
    def explode(cfg, run):
        run.log(1, loss=3.0)
        run.log(2, loss=math.inf)

    study = make_study(program=explode)
    spec = study.plan("smoke")[0]
    with pytest.raises(Diverged, match="loss is inf at step 2"):
        execute(study, spec, tmp_path)
    assert (tmp_path / spec.key / "log.jsonl").read_text() == '{"step": 1, "loss": 3.0}\n'
    assert not (tmp_path / spec.key / "result.json").exists()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_result_that_is_not_finite_is_named_and_the_run_is_kept(tmp_path, number):
    study = make_study(program=lambda cfg, run: run.result(x=number, y=1.0))
    spec = study.plan("smoke")[0]
    with pytest.warns(UserWarning, match=rf"{spec.key}: x is {number} in the result; claims about it are not judged"):
        assert execute(study, spec, tmp_path) == "done"
    (record,) = load([spec], tmp_path)
    assert (record.metrics, record.absent) == ({"y": 1.0}, ["x"])
    assert json.loads((record.folder / "result.json").read_text()) == {"x": None, "y": 1.0}


def test_numbers_of_every_kind_are_logged(tmp_path):
    import numpy
    import torch

    def mixed(cfg, run):
        run.log(1, a=1, b=2.5, c=numpy.float32(0.5), d=torch.tensor(3.0, requires_grad=True), e=numpy.int64(4))
        run.log(2, a=torch.tensor([7]), b=True, c=numpy.array([[0.25]]))
        run.result(x=torch.tensor(0.5, dtype=torch.bfloat16), y=numpy.float64(2), z=numpy.bool_(True))

    study = make_study(program=mixed)
    (spec, *_) = study.plan("smoke")
    execute(study, spec, tmp_path)
    (record,) = load([spec], tmp_path)
    assert record.log == [
        {"step": 1, "a": 1, "b": 2.5, "c": 0.5, "d": 3.0, "e": 4},
        {"step": 2, "a": 7, "b": True, "c": 0.25},
    ]
    assert record.metrics == {"x": 0.5, "y": 2.0, "z": 1.0}


@pytest.mark.parametrize("value", ["1.0", None, [1.0], {"a": 1}, 1j, "tensor", "array"])
def test_what_is_no_single_number_is_named(tmp_path, value):
    import numpy
    import torch

    value = {"tensor": torch.ones(2), "array": numpy.ones(3)}.get(value, value) if isinstance(value, str) else value
    ways = (lambda cfg, run: run.log(1, odd=value), lambda cfg, run: run.result(odd=value))
    for study in (make_study(program=way) for way in ways):
        with pytest.raises(Problem, match=r"'odd' is .*; a run logs and ends with single numbers"):
            execute(study, study.plan("smoke")[0], tmp_path)


@pytest.mark.parametrize("code", [0, 3, None, "a word"])
def test_a_program_that_calls_exit_is_an_error(tmp_path, code):
    study = make_study(program=lambda cfg, run: sys.exit(code))
    spec = study.plan("smoke")[0]
    with pytest.raises(Problem, match=rf"{spec.key}: the program called exit\({code}\); let it return, or raise"):
        execute(study, spec, tmp_path)
    assert not list(tmp_path.rglob("result.json"))


def test_what_was_logged_so_far_is_there_also_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    seen = []

    def program(die_at):
        def count(cfg, run):
            last = run.checkpoint()
            for i in range(last.step if last else 0, 6):
                if i == die_at:
                    raise KeyboardInterrupt
                run.log(i + 1, square=i * i)
                if i == 2:
                    run.save(i + 1, lambda path: path.write_text("x"))
            run.end_phase()
            seen.append(run.logged("square"))
            run.result(x=1.0)

        return make_study(program=count)

    spec = program(None).plan("smoke")[0]
    with pytest.raises(KeyboardInterrupt):
        execute(program(5), spec, tmp_path)
    execute(program(None), spec, tmp_path)
    assert seen == [[0, 1, 4, 9, 16, 25]]


DRAWS = "random", "numpy", "torch"


def test_the_global_generators_are_seeded_by_the_seed_and_not_by_the_variant(tmp_path):
    import random

    import numpy
    import torch

    def draw(cfg, run):
        run.result(random=random.random(), numpy=numpy.random.rand(), torch=torch.rand(1))

    study = make_study(program=draw)
    random.seed(7), numpy.random.seed(7), torch.manual_seed(7)
    own = (random.random(), numpy.random.rand(), torch.rand(1).item())
    for root in ("one", "other"):
        random.seed(7), numpy.random.seed(7), torch.manual_seed(7)
        run_all(study, tmp_path / root)
        assert (random.random(), numpy.random.rand(), torch.rand(1).item()) == own  # as if nothing had been run
    one, other = (load(study.plan("smoke"), tmp_path / root) for root in ("one", "other"))
    assert [r.metrics for r in one] == [r.metrics for r in other]
    of = {(r.spec.seed, r.spec.variant): [r.metrics[name] for name in DRAWS] for r in one}
    assert of[0, "plain"] == of[0, "shifted"]
    assert all(a != b for a, b in zip(of[0, "plain"], of[1, "plain"], strict=True))


PRODUCTS = """
import sys
from pathlib import Path
import numpy, scipy.linalg, scipy.sparse, torch
from coins import make_study
from etudes.core.record import read
from etudes.core.run import execute

def multiply(cfg, run):
    import sklearn.cluster
    draw = run.rng("x")
    a, b = draw.normal(size=(700, 900)), draw.normal(size=(900, 500))
    x = scipy.sparse.random(2000, 900, 0.02, random_state=1, format="csr")
    w = torch.from_numpy(a).float() @ torch.from_numpy(b).float()
    groups = sklearn.cluster.KMeans(3, n_init=1, random_state=0).fit(a[:, :20])
    run.result(
        dense=(a @ b).sum(), single=(a.astype("f") @ b.astype("f")).sum(), sparse=(x @ b).sum(),
        solved=scipy.linalg.solve(a.T @ a + numpy.eye(900), a.T @ a[:, 0]).sum(), torch=w.sum(),
        convolved=torch.conv1d(w[None], torch.ones(4, 700, 9)).sum(), kmeans=groups.inertia_,
    )

study = make_study(program=multiply)
spec = study.plan("smoke", threads=int(sys.argv[2]))[0]
execute(study, spec, Path(sys.argv[1]))
env = read(Path(sys.argv[1]) / spec.key).env
print(env["threads"], sorted(env["pools"].items()))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_matrices_end_in_the_same_bytes_whatever_the_environment_says(tmp_path, threads):
    said, results = [], []
    for outer in ("1", "2", ""):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {name: value for name, value in os.environ.items() if name not in names}
        env |= dict.fromkeys(names, outer) if outer else {}
        root = tmp_path / f"threads-{outer or 'unset'}"
        command = [sys.executable, "-c", PRODUCTS, str(root), str(threads)]
        path = os.pathsep.join(sys.path)
        done = subprocess.run(command, env=env | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        results.append(next(root.rglob("result.json")).read_bytes())
    assert results[0] == results[1] == results[2]
    assert said[0] == said[1] == said[2]
    assert said[0].startswith(f"{threads} ")
    assert "openblas" in said[0]


def test_a_program_without_result_is_a_mistake(tmp_path):
    study = make_study(program=lambda cfg, run: None)
    with pytest.raises(Problem, match="ended without a result"):
        execute(study, study.plan("smoke")[0], tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "result.json", "lock", "checkpoint-0-1.safetensors", "", ".hidden"])
def test_files_of_a_run_stay_in_its_folder(coins, tmp_path, name):
    with pytest.raises(Problem, match="cannot be named"):
        Run(coins.plan("smoke")[0], tmp_path).path(name)
    assert Run(coins.plan("smoke")[0], tmp_path).path("samples.png").parent == tmp_path


@given(st.integers(0, 99), st.integers(0, 99), st.text("ab/", max_size=4), st.text("ab/", max_size=4))
def test_seeds_differ_by_stream_and_index_but_not_by_variant(i, j, stream, other):
    study = make_study()
    plain, shifted = (object.__new__(Run) for _ in range(2))
    plain.spec, shifted.spec = study.plan("smoke")[:2]
    assert plain.seed(stream, i) == shifted.seed(stream, i)
    assert 0 <= plain.seed(stream, i) < 2**63
    if (stream, i) != (other, j):
        assert plain.seed(stream, i) != plain.seed(other, j)


def test_what_variants_share_is_made_once(tmp_path):
    made = []

    def teach(run):
        made.append(run.spec.seed)
        run.path("teacher.txt").write_text(str(run.seed("teacher")))
        run.result(quality=1.0)

    def learn(cfg, run):
        teacher = run.once("teacher", {"size": 3}, teach)
        assert teacher.metrics == {"quality": 1.0}
        run.result(lesson=float((teacher.folder / "teacher.txt").read_text()))

    study = make_study(program=learn)
    run_all(study, tmp_path)
    assert made == [0, 1]
    assert len({r.metrics["lesson"] for r in load(study.plan("smoke"), tmp_path)}) == 2


def test_what_all_seeds_share_is_made_once(tmp_path):
    made = []

    def teach(run):
        made.append(run.spec.seed)
        run.result(quality=run.seed("teacher") / 2**63)

    def learn(cfg, run):
        run.result(lesson=run.once("teacher", {"size": 3}, teach, seed=7).metrics["quality"])

    study = make_study(program=learn)
    run_all(study, tmp_path)
    assert made == [7]
    assert len({r.metrics["lesson"] for r in load(study.plan("smoke"), tmp_path)}) == 1


def _work(root, started):
    study = make_study(program=slow)
    started.wait()
    while "busy" in [execute(study, spec, root) for spec in study.plan("smoke")]:
        time.sleep(0.05)


def slow(cfg, run):
    with open(run.folder.parents[3] / "performed", "a") as file:
        file.write(run.spec.key + "\n")
    time.sleep(0.2)
    run.result(x=1.0)


def test_two_processes_share_a_plan_without_doing_anything_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    workers = [context.Process(target=_work, args=(tmp_path, started)) for _ in range(2)]
    for worker in workers:
        worker.start()
    started.set()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    performed = (tmp_path / "performed").read_text().split()
    assert sorted(performed) == sorted(spec.key for spec in make_study(program=slow).plan("smoke"))


# Checkpoints, without tensors: two phases that count.


def phases(*lengths, die_at=None):
    """A program of phases that add the step's draw to a sum; at die_at, counted over all phases, it raises."""

    def program(cfg, run):
        total, seen = 0.0, 0
        for length in lengths:
            last = run.checkpoint()
            start = last.step if last else 0
            if last:
                total = float((run.folder / last.file).read_text())
            for i in range(start, length):
                if seen + i == die_at:
                    raise KeyboardInterrupt
                total += float(run.rng("draw", i).normal())
                run.log(i + 1, total=total)
                if (i + 1) % 3 == 0 and run.due():
                    text = repr(total)
                    run.save(i + 1, lambda path, text=text: path.write_text(text))
            seen += length
            run.end_phase()
            run.log(length, between=total)
        run.result(total=total)

    return program


@pytest.mark.parametrize("die_at", range(17))
def test_a_run_of_two_phases_resumes_to_the_same_bytes(tmp_path, monkeypatch, die_at):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    straight, broken = (make_study(program=phases(10, 7, die_at=at)) for at in (None, die_at))
    spec = straight.plan("smoke")[0]
    execute(straight, spec, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        execute(broken, spec, tmp_path / "broken")
    with open(tmp_path / "broken" / spec.key / "log.jsonl", "a") as log:
        log.write('{"step": 99, "to')  # a line that the crash tore
    execute(straight, spec, tmp_path / "broken")
    for name in ("log.jsonl", "result.json"):
        assert (tmp_path / "broken" / spec.key / name).read_bytes() == (
            tmp_path / "straight" / spec.key / name
        ).read_bytes()
    for root in ("straight", "broken"):
        (record,) = load([spec], tmp_path / root)
        assert len(record.times) == len(record.log) == 19
        assert record.times == sorted(record.times)
        assert record.times[-1] <= record.env["seconds"]


def test_a_run_that_another_library_began_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    straight, broken = (make_study(program=phases(10, die_at=at)) for at in (None, 8))
    spec = straight.plan("smoke")[0]
    with pytest.raises(KeyboardInterrupt):
        execute(broken, spec, tmp_path)
    path = tmp_path / spec.key / "progress.json"
    told = json.loads(path.read_text())
    library = told["checkpoints"][-1]["library"]
    told["checkpoints"][-1]["library"] = "0ld0ld0l"
    path.write_text(json.dumps(told))
    execute(straight, spec, tmp_path)
    assert json.loads((tmp_path / spec.key / "env.json").read_text())["library"] == f"0ld0ld0l then {library}"


@pytest.mark.parametrize("text", ["[1]", '{"checkpoints": [{"step": 3}]}', '{"check'])
def test_a_progress_file_of_another_kind_is_named(tmp_path, text):
    study = make_study()
    spec = study.plan("smoke")[0]
    path = tmp_path / spec.key / "progress.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Problem, match=r"progress\.json .*; delete it to start this run again"):
        execute(study, spec, tmp_path)


def test_a_damaged_checkpoint_is_passed_over_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    straight, broken = (make_study(program=phases(10, 7, die_at=at)) for at in (None, 8))
    spec = straight.plan("smoke")[0]
    execute(straight, spec, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        execute(broken, spec, tmp_path / "broken")
    folder = tmp_path / "broken" / spec.key
    newest = folder / "checkpoint-0-6.safetensors"
    newest.write_text(newest.read_text()[:3])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = Run(spec, folder)
        assert run.checkpoint().step == 3
        run.close()
    assert "checkpoint-0-6.safetensors" in str(caught[0].message)
    with pytest.warns(UserWarning, match="damaged"):
        execute(straight, spec, tmp_path / "broken")
    assert (folder / "log.jsonl").read_bytes() == (tmp_path / "straight" / spec.key / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ETUDES_SAVE_SECONDS", "abc", "must be a number of seconds, at least 0"),
        ("ETUDES_SAVE_SECONDS", "-1", "must be a number of seconds, at least 0"),
        ("ETUDES_SAVE_SECONDS", "nan", "must be a number of seconds, at least 0"),
        ("ETUDES_DEVICE", "foo", "which this machine does not have; unset it to use"),
        ("ETUDES_DEVICE", "cuda:99", "which this machine does not have; unset it to use"),
    ],
)
def test_a_variable_that_no_run_can_use_is_told_before_any_begins(tmp_path, monkeypatch, variable, value, says):
    from etudes import api

    monkeypatch.setenv(variable, value)
    with pytest.raises(Problem, match=f"^{variable} is '{value}'[;,] (it )?{says}"):
        api.run(make_study(), "smoke", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [2**46, 2**62])  # more than there is, and more than can be counted
def test_a_network_that_does_not_fit_into_memory_is_told(tmp_path, size):
    import torch

    study = make_study(program=lambda cfg, run: torch.empty(size, 8))
    (spec, *_) = study.plan("smoke")
    with pytest.raises(Problem, match="the memory does not suffice; try a smaller network or less data"):
        execute(study, spec, tmp_path)


def test_an_error_of_the_program_is_not_taken_for_a_lack_of_memory(tmp_path):
    def wrong(cfg, run):
        raise RuntimeError("shapes do not match")

    study = make_study(program=wrong)
    (spec, *_) = study.plan("smoke")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        execute(study, spec, tmp_path)
