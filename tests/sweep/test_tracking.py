import importlib.util
import os
import subprocess
import sys

import pytest

from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.core.run import execute
from etudes.sweep import tracking


@pytest.fixture
def record(coins, tmp_path):
    spec = coins.plan("laptop")[1]
    execute(coins, spec, tmp_path / "runs")
    return read(tmp_path / "runs" / spec.key)


def test_tensorboard_shows_curves_and_result(record, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracking.show("tensorboard", record, tmp_path)
    found = events.EventAccumulator(str(tmp_path / "tensorboard" / record.spec.key)).Reload()
    assert [(e.step, pytest.approx(e.value)) for e in found.Scalars("score")] == [
        (line["step"], line["score"]) for line in record.log
    ]
    assert found.Scalars("result/test-score")[0].value == pytest.approx(record.metrics["test/score"])


def test_mlflow_shows_config_curves_and_result(record, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    tracking.show("mlflow", record, tmp_path)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("coins").experiment_id])
    assert run.data.params["shift"] == "-1.0"
    assert run.data.params["seed"] == "0"
    assert run.data.metrics["result/test-score"] == pytest.approx(record.metrics["test/score"])
    curve = client.get_metric_history(run.info.run_id, "score")
    assert [(m.step, m.value) for m in curve] == [(line["step"], line["score"]) for line in record.log]


@pytest.mark.skipif(not importlib.util.find_spec("trackio"), reason="trackio is not installed")
def test_trackio_keeps_the_run_on_this_machine(record, tmp_path):
    code = (
        "import sys; from pathlib import Path; from etudes.core.record import read; from etudes.sweep import tracking\n"
        "tracking.show('trackio', read(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    own = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code, record.folder, tmp_path], env=own, check=True, timeout=300)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "trackio").rglob("*") if path.is_file())
    assert b"score" in kept
    assert b"shifted" in kept


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")
def test_wandb_works_offline(record, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking.show("wandb", record, tmp_path)
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    for word in (b"shift", b"score", b"result/test-score"):
        assert word in kept.read_bytes()


def test_unknown_and_missing_trackers_are_told_before_anything_runs(monkeypatch):
    with pytest.raises(Problem, match="tensorbord"):
        tracking.check("tensorbord")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Problem, match="mlflow is not installed"):
        tracking.check("mlflow")


def test_a_tracker_that_fails_is_one_sentence(record, tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    pytest.importorskip("tensorboard")
    with pytest.raises(Problem, match="tensorboard did not take coins/laptop/shifted"):
        tracking.show("tensorboard", record, tmp_path)
