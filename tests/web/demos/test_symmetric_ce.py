import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.web.demos import symmetric_ce as demo
from etudes.web.demos.running import read_log, train

RANDOM, NEXT = demo.KINDS


def log_of(errors, learnt=None):
    steps = [demo.STEPS * (i + 1) // len(errors) for i in range(len(errors))]
    lines = [{"step": step, "test/error": error} for step, error in zip(steps, errors, strict=True)]
    return [line | ({} if learnt is None else {"train/error-wrong-labels": 1 - learnt}) for line in lines]


def test_the_live_runs_are_runs_of_the_study_that_differ_in_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "STEPS", 32)
    specs = demo.plan_runs(40, RANDOM)
    assert list(specs) == ["ce", "sce"]
    assert {name for name in specs["ce"].config if specs["ce"].config[name] != specs["sce"].config[name]} == {
        "alpha",
        "beta",
    }
    *_, (log, problem) = train(specs["sce"], tmp_path / "live")
    execute(catalogue.find("symmetric-ce"), specs["sce"], tmp_path / "plain")
    assert problem == ""
    assert log == read_log(tmp_path / "plain" / specs["sce"].key / "log.jsonl")
    assert [line["step"] for line in log if "train/error-wrong-labels" in line] == [16, 32]


def test_the_slider_and_the_choice_reach_the_runs():
    spec = demo.plan_runs(60, NEXT)["ce"]
    assert (spec.config["noise"], spec.config["kind"], spec.config["dataset"]) == (0.6, "asymmetric", "digits")


@pytest.mark.parametrize(("percent", "kind"), [(-10, RANDOM), (90, RANDOM), (40, "none")])
def test_limits_hold_whatever_the_page_sends(percent, kind):
    with pytest.raises(Problem, match="take 0 to 80 %"):
        demo.plan_runs(percent, kind)


def test_the_charts_show_both_losses_and_reach_to_the_end_from_the_first_moment_on():
    error, learnt = demo.draw({"ce": log_of([0.5, 0.3], 0.8)[:1], "sce": log_of([0.4, 0.1], 0.1)})
    for html in (error, learnt):
        assert "cross entropy" in html
        assert "symmetric loss" in html
        assert html.count(">300</text>") == 2  # of the wide and of the narrow drawing
    assert demo.series(log_of([0.5], 0.8), "train/error-wrong-labels")[1] == [pytest.approx(0.8)]
    assert "nothing measured yet" in demo.draw({"ce": log_of([0.5])})[1]  # without wrong labels


def test_what_is_seen_is_told_once_both_have_ended():
    ce, sce = log_of([0.5, 0.3], 0.8), log_of([0.4, 0.1], 0.1)
    assert demo.finding({"ce": ce[:1]}, 40, "") == f"Training, cross entropy: step 160 of {demo.STEPS}."
    assert demo.finding({"ce": ce}, 40, "") == f"Training, the symmetric loss: step 0 of {demo.STEPS}."
    told = demo.finding({"ce": ce, "sce": sce}, 40, "")
    assert "cross entropy ends at a test error of 30.0%, with 80% of the wrong labels learnt by heart" in told
    assert "symmetric loss ends at a test error of 10.0%, with 10% of" in told
    assert "by heart" not in demo.finding({"ce": log_of([0.1]), "sce": log_of([0.1])}, 0, "")
    assert demo.finding({"ce": ce, "sce": sce}, 40, "stopped") == "stopped"
