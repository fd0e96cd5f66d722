"""How long a training takes, and how far one has come, by the runs of the committed reports."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.core.spec import Spec
from etudes.web.live import logged_step

START = 8.0  # seconds until the command has its libraries loaded


@dataclass(frozen=True)
class Pace:
    """The seconds of a whole run, and the share of them that had passed when it logged each of these steps."""

    seconds: float
    steps: tuple[float, ...]
    shares: tuple[float, ...]

    def share(self, step: float) -> float:
        """The share of the run's seconds that has passed at a step, in [0, 1]."""
        return float(np.interp(step, (0.0, *self.steps), (0.0, *self.shares)))


@functools.cache
def of(study: str, scale: str, variant: str) -> Pace:
    """Of a variant's committed runs, or, where there are none, by the minutes that the study promises."""
    found = catalogue.find(study)
    spec = found.plan(scale, variants=(variant,), seeds=1)[0]
    whole = len(found.scales[scale].variants or found.variants) * found.scales[scale].looks[0]
    promised = Pace(60 * found.scales[scale].minutes / whole, (spec.config.get("steps", 1),), (0.9,))
    folder = catalogue.committed_folder(study, scale)
    try:
        report = read_json(folder / "report.json", "report again")
        packed = read_json(folder / "curves.json", "report again")
    except (OSError, Problem):
        return promised
    trials = {t["seed"]: t["seconds"] for t in report["trials"] if t["variant"] == variant and t["seconds"]}
    if not trials:
        return promised
    mean = sum(trials.values()) / len(trials)
    for curve in packed["curves"]:
        if (curve["variant"], curve["metric"]) == (variant, "seconds") and curve["seed"] in trials:
            whole = trials[curve["seed"]]
            return Pace(mean, tuple(packed["steps"][curve["steps"]]), tuple(v / whole for v in curve["values"]))
    return Pace(mean, promised.steps, promised.shares)


def estimate(study: str, scale: str, variants: Sequence[str], together: int) -> float:
    """The seconds that it takes to train the variants, so many of them side by side."""
    return START + sum(of(study, scale, variant).seconds for variant in variants) / together


def progress(plan: Sequence[Spec], root: Path, begun: float, together: int) -> tuple[float, float]:
    """(share done in [0, 1), seconds left) of a training that performs `plan` since `begun`, a time of the clock.

    Each run is judged by its own speed as soon as it has logged some steps, before that by the committed runs.
    """
    runs = {spec.variant: spec for spec in plan}  # of the two with its own data and with what stands in, one begins
    runs |= {spec.variant: spec for spec in plan if (root / spec.key).exists()}
    seconds = [_run(spec, root, begun) for spec in runs.values()]
    worked, whole = (sum(part) for part in zip(*seconds, strict=True))
    started = min(START, time.time() - begun)
    done, total = started + worked / together, START + whole / together
    return min(0.99, done / total), max(1.0, total - done)


def _run(spec: Spec, root: Path, begun: float) -> tuple[float, float]:
    """(seconds that a run has worked, seconds that it will have worked in all)."""
    folder, usual = root / spec.key, of(spec.study, spec.scale, spec.variant)
    if (folder / "result.json").exists():
        seconds = _last(folder / "times.txt") or usual.seconds
        return seconds, seconds
    if not (folder / "spec.json").exists():
        return 0.0, usual.seconds
    times = folder / "times.txt"
    logged, step = _last(times), logged_step(folder / "log.jsonl", last=True)
    since = max(begun, (times if logged else folder / "spec.json").stat().st_mtime)
    share = usual.share(step)
    whole = logged / share if share > 0.02 else usual.seconds
    worked = logged + max(0.0, time.time() - since)
    # What takes longer than it ever did is nearly done, as far as anybody knows.
    return min(worked, 0.98 * max(whole, worked)), max(whole, worked)


def _last(path: Path) -> float:
    """The last whole line of a file as a number; 0 without one."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return float(whole[-1]) if whole else 0.0
