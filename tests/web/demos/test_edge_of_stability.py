import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.web.demos import edge_of_stability as demo
from etudes.web.demos.running import read_log


def test_the_live_run_is_a_run_of_the_study(tmp_path):
    spec = demo.plan_run(4.0, 200)
    *_, (log, problem) = demo.train(spec, tmp_path / "live")
    execute(catalogue.find("edge-of-stability"), spec, tmp_path / "plain")
    assert problem == ""
    assert log == read_log(tmp_path / "plain" / spec.key / "log.jsonl")
    steps, values = demo.series(log, spec)["train/sharpness"]
    assert steps == list(range(0, 200, 25))
    assert f"times {demo.EDGE}" in demo.finding(log, spec, "")
    sharp, loss = demo.draw(log, spec, ["gd-x2"])
    assert f"{demo.EDGE}, now {2 / 0.4:.3g}" in sharp
    assert "committed gd-x2" in loss
    assert max(values) > values[0]


def test_the_committed_curves_are_there():
    assert set(demo.FAMILY) <= set(demo.committed_curves())


def test_a_reader_who_leaves_stops_the_training(tmp_path):
    spec = demo.plan_run(1.0, 4000)
    running = demo.train(spec, tmp_path)
    next(running)
    running.close()
    lines = len(read_log(tmp_path / spec.key / "log.jsonl"))
    assert lines < 4000 / 25


def test_half_a_line_is_not_read(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    path.write_text('{"step": 0}\n{"st')
    assert read_log(path) == [{"step": 0}]


@pytest.mark.parametrize(("multiple", "steps"), [(0.1, 1000), (60, 1000), (1, 10), (1, 10**9)])
def test_limits_hold_whatever_the_page_sends(multiple, steps):
    with pytest.raises(Problem, match="take a step size"):
        demo.plan_run(multiple, steps)


def test_both_charts_have_one_axis_of_steps_from_the_first_moment_on():
    """While it trains too, the axes reach to the last step that was asked for."""
    spec = demo.plan_run(4.0, 3000)
    log = [
        {"step": 0, "train/sharpness": 3.0, "train/loss": 0.5},
        {"step": 25, "train/sharpness": 3.1, "train/loss": 0.4},
    ]
    for html in demo.draw(log, spec, []):
        assert html.count(">3,000</text>") == 2  # of the wide and of the narrow drawing


def test_nothing_is_found_before_the_training_has_ended():
    spec = demo.plan_run(4.0, 200)
    log = [{"step": step, "train/sharpness": 9.0, "train/loss": 0.1} for step in range(0, 200, 25)]
    assert demo.finding(log[:3], spec, "") == "Training: step 50 of 200."
    assert demo.finding(log, spec, "").startswith("At the edge")


def test_the_threshold_stands_in_one_line_and_each_curve_has_its_own():
    sharp, loss = demo.draw([], demo.plan_run(3.0, 2000), ["gd-x2"])
    assert "2\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}step\N{NO-BREAK SPACE}size" in sharp
    assert sharp.split("</svg>")[0].count("stroke-dasharray") == 2
    assert "stroke-dasharray" not in loss
