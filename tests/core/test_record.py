import json
import math
import multiprocessing
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
    assert len(env["code"]) == 8


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
    assert load(replace(coins, revision=2).plan("smoke"), tmp_path) == []


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
    study = make_study(program=lambda cfg, run: run.result(x=math.nan))
    with pytest.raises(Diverged, match="x is nan in the result"):
        execute(study, spec, tmp_path)


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
        folder = run.once("teacher", {"size": 3}, teach)
        run.result(lesson=float((folder / "teacher.txt").read_text()))

    study = make_study(program=learn)
    run_all(study, tmp_path)
    assert made == [0, 1]
    assert len({r.metrics["lesson"] for r in load(study.plan("smoke"), tmp_path)}) == 2


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
    assert sorted(performed) == sorted(spec.key for spec in make_study().plan("smoke"))


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


def test_a_run_that_other_code_began_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    straight, broken = (make_study(program=phases(10, die_at=at)) for at in (None, 8))
    spec = straight.plan("smoke")[0]
    with pytest.raises(KeyboardInterrupt):
        execute(broken, spec, tmp_path)
    path = tmp_path / spec.key / "progress.json"
    told = json.loads(path.read_text())
    code = told["checkpoints"][-1]["code"]
    told["checkpoints"][-1]["code"] = "0ld0ld0l"
    path.write_text(json.dumps(told))
    execute(straight, spec, tmp_path)
    assert json.loads((tmp_path / spec.key / "env.json").read_text())["code"] == f"0ld0ld0l then {code}"


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
