"""What runs share by `once`, and what a run may read of its own log."""

import random

import numpy
import pytest
import torch

from coins import make_study
from etudes.core.record import load
from etudes.core.run import execute


def run_all(study, root):
    for spec in study.plan("smoke"):
        assert execute(study, spec, root) == "done"


def test_what_runs_share_is_made_once_a_seed_or_under_the_seed_that_is_named(tmp_path):
    made = []

    def teach(run):
        made.append((run.spec.variant, run.spec.seed))
        run.path("teacher.txt").write_text(str(run.seed("teacher")))
        run.result(quality=run.spec.seed + 0.5)

    def learn(cfg, run):
        own = run.once("teacher", {"size": 3}, teach)
        common = run.once("school", {"size": 3}, teach, seed=7)
        assert (own.spec.variant, own.spec.seed, own.spec.config) == ("teacher", run.spec.seed, {"size": 3})
        run.result(
            lesson=float((own.folder / "teacher.txt").read_text()),
            quality=own.metrics["quality"],
            shared=common.metrics["quality"],
        )

    study = make_study(program=learn)
    run_all(study, tmp_path)
    assert made == [("teacher", 0), ("school", 7), ("teacher", 1)]
    records = load(study.plan("smoke"), tmp_path)
    assert [r.metrics["quality"] for r in records] == [0.5, 0.5, 1.5, 1.5]
    assert {r.metrics["shared"] for r in records} == {7.5}
    assert len({r.metrics["lesson"] for r in records}) == 2


def test_what_is_shared_is_made_anew_where_its_config_is_another(tmp_path):
    made = []

    def learn(cfg, run):
        for size in (1, 2, 1):
            run.once("teacher", {"size": size}, lambda own, size=size: (made.append(size), own.result(x=size)))
        run.result(y=1.0)

    run_all(make_study(program=learn), tmp_path)
    assert made == [1, 2] * 2  # for two seeds


def test_whether_something_shared_is_made_now_changes_no_draw(tmp_path):
    def draw():
        return random.random() + numpy.random.rand() + torch.rand(1).item()

    def learn(cfg, run):
        before = draw()
        run.once("teacher", {}, lambda own: own.result(x=draw()))
        run.result(**{"before": before, "test/score": draw()})

    study = make_study(program=learn)
    run_all(study, tmp_path)
    numbers = {}
    for record in load(study.plan("smoke"), tmp_path):
        numbers.setdefault(record.spec.seed, []).append(dict(record.metrics))
    for made, found in numbers.values():
        assert made == found
    assert numbers[0] != numbers[1]


def test_what_was_logged_so_far_is_given_back_also_before_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    met = []

    def program(cfg, run, dies=False):
        last = run.checkpoint()
        met.append(run.logged("x"))
        for i in range(last.step if last else 0, 6):
            run.log(i + 1, x=i / 4, **({"y": 1.0} if i % 2 else {}))
            if i == 3:
                run.save(i + 1, lambda path: path.write_text("state"))
            if dies and i == 4:
                raise KeyboardInterrupt
        run.result(x=sum(run.logged("x")), y=len(run.logged("y")), absent=len(run.logged("z")))

    (spec, *_) = make_study().plan("smoke")
    with pytest.raises(KeyboardInterrupt):
        execute(make_study(program=lambda cfg, run: program(cfg, run, dies=True)), spec, tmp_path)
    assert execute(make_study(program=program), spec, tmp_path) == "done"
    assert met == [[], [0.0, 0.25, 0.5, 0.75]]  # what came after the checkpoint is repeated
    (record,) = load([spec], tmp_path)
    assert record.metrics == {"x": 15 / 4, "y": 3, "absent": 0}


def test_what_is_shared_resumes_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    begun = []

    def teach(own, dies):
        last = own.checkpoint()
        begun.append(last.step if last else 0)
        for i in range(begun[-1], 4):
            own.log(i + 1, x=i)
            own.save(i + 1, lambda path: path.write_text("state"))
            if dies and i == 1:
                raise KeyboardInterrupt
        own.result(x=sum(own.logged("x")))

    def program(dies):
        return lambda cfg, run: run.result(x=run.once("teacher", {}, lambda own: teach(own, dies)).metrics["x"])

    (spec, *_) = make_study().plan("smoke")
    with pytest.raises(KeyboardInterrupt):
        execute(make_study(program=program(True)), spec, tmp_path)
    assert execute(make_study(program=program(False)), spec, tmp_path) == "done"
    assert begun == [0, 2]
    (record,) = load([spec], tmp_path)
    assert record.metrics == {"x": 6}
