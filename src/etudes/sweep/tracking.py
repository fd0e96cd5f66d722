"""Finished runs shown to an experiment tracker, through accelerate: config, curves and result.

A run is shown when it is finished, from its folder. So nothing of a tracker can slow or stop a run, and runs that a
cluster performed appear like others.
"""

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem, unknown
from etudes.core.record import Record

KINDS = ("tensorboard", "wandb", "mlflow", "trackio")


def check(kind: str) -> None:
    """Raises Problem where the tracker is not known or not installed: better now than after an hour."""
    if kind not in KINDS:
        raise unknown("tracker", kind, KINDS)
    if not importlib.util.find_spec(kind):
        raise Problem(f"the tracker {kind} is not installed; install {kind}, or etudes[trackers]")


def show(kind: str, record: Record, root: Path) -> None:
    """Show one finished run. TensorBoard's files are in root/tensorboard; the others go where they are told to.

    The project is the study, the run's name the rest of its key. $MLFLOW_TRACKING_URI, $WANDB_MODE=offline,
    $TRACKIO_DIR and the like are the trackers' own. Raises Problem where the tracker fails; the run itself is kept.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # trackio greets on it
            _fill(_tracker(kind, record, root), record)
            if kind == "wandb":  # whose own process writes on after the run's end
                importlib.import_module(kind).teardown()
    except Exception as error:  # each tracker has errors of its own
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(
            f"{kind} did not take {record.spec.key} ({words}); the run is kept, and --track shows runs when they end"
        ) from None


def _fill(tracker: Any, record: Record) -> None:
    tracker.start()
    tracker.store_init_configuration({**record.spec.config, "seed": record.spec.seed, "scale": record.spec.scale})
    last = 0
    for line in record.log:
        last = int(line["step"])
        tracker.log({name: value for name, value in line.items() if name != "step"}, step=last)
    tracker.log({f"result/{name.replace('/', '-')}": value for name, value in record.metrics.items()}, step=last)
    tracker.finish()


def _tracker(kind: str, record: Record, root: Path) -> Any:
    from accelerate import PartialState, tracking

    PartialState(cpu=True)  # the trackers ask it which process they are in
    study, name = record.spec.study, record.spec.key.partition("/")[2]
    if kind == "tensorboard":
        return tracking.TensorBoardTracker(record.spec.key, logging_dir=root / "tensorboard")
    if kind == "mlflow":
        return tracking.MLflowTracker(study, run_name=name)
    if kind == "wandb":
        return tracking.WandBTracker(study, name=name, dir=root)
    return tracking.TrackioTracker(study, name=name.replace("/", "-"))
