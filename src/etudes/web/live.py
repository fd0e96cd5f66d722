"""The run folders below roots as they are now: which are finished, at work or stopped, and what they have logged."""

import functools
import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etudes.core.errors import unknown
from etudes.reports.numbers import number
from etudes.sweep.plan import PLAN

PAUSE = 1.0  # seconds for which a look at the folders is taken as the present
POINTS = 2048  # kept of a logged metric; past them every other one goes
TAIL = 4096  # bytes at a log's end among which its last line is
FRESH = 60.0  # seconds since the last log line that count as work where locks cannot be seen
LOGS = 64  # logs kept in memory
WIDTH, HEIGHT, LEFT, BOTTOM = 520, 200, 58, 22  # of a curve's drawing, in pixels


@dataclass(frozen=True)
class State:
    """A run's folder, below the root that `who` names ("" where there is one root).

    `state` is "finished", "running" or "stopped": neither finished nor at work, by interruption or by failure. `steps`
    is 0 where the config does not say how many there are. `seconds` are those that a finished run took, `left` those
    that one at work has probably before it; nan where that cannot be told.
    """

    key: str
    who: str
    folder: Path
    state: str
    done: int
    steps: int
    updated: float
    seconds: float
    left: float
    spec: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)

    @property
    def study(self) -> str:
        return str(self.spec["study"])

    @property
    def scale(self) -> str:
        return str(self.spec["scale"])

    @property
    def variant(self) -> str:
        return str(self.spec["variant"])

    @property
    def seed(self) -> int:
        return int(self.spec["seed"])

    @property
    def config(self) -> Mapping[str, Any]:
        return self.spec["config"]  # type: ignore[no-any-return]

    @property
    def is_shared(self) -> bool:
        """Whether it is something that runs share, and no run of the plan: see `Run.once`."""
        return self.folder.parents[1].name == "once"

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return 1.0 if self.state == "finished" else min(1.0, self.done / self.steps) if self.steps else 0.0


class Watch:
    """What is below the roots, looked at anew at most once a second; logs are read from where the last look ended."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = roots
        self._lock = threading.Lock()
        self._seen = -PAUSE
        self._runs: dict[str, State] = {}
        self._logs: dict[str, Log] = {}

    def runs(self) -> dict[str, State]:
        """{key: state}, the latest first."""
        with self._lock:
            if time.monotonic() - self._seen >= PAUSE:
                held = _locks()
                found = [
                    run
                    for who, root in self.roots.items()
                    for pattern in ("*/*/*/*/spec.json", "*/*/once/*/*/spec.json")
                    for path in root.glob(pattern)
                    if (run := _look(path.parent, who, root, held))
                ]
                self._runs = {run.key: run for run in sorted(found, key=lambda run: -run.updated)}
                self._seen = time.monotonic()
            return self._runs

    def run(self, key: str) -> State:
        """Raises Problem on a key that is none of the runs': keys are looked up, and never joined to a path."""
        runs = self.runs()
        if key not in runs:
            raise unknown("run", key, list(runs)[:8])
        return runs[key]

    def plan(self, who: str, study: str, scale: str) -> set[str]:
        """The keys of the runs of a scale that were asked for last; of no run where nothing tells."""
        path = self.roots[who] / study / scale / PLAN
        try:
            return {_key(who, key) for key in json.loads(path.read_text(encoding="utf-8"))["runs"]}
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def log(self, key: str) -> dict[str, tuple[list[float], list[float]]]:
        """{metric: (steps, values)} of what the run has logged so far."""
        run = self.run(key)
        with self._lock:
            log = self._logs.pop(key, None) or Log(run.folder / "log.jsonl")
            self._logs[key] = log  # at the end: the one that was wanted last
            if len(self._logs) > LOGS:
                del self._logs[next(iter(self._logs))]
            return log.read()


class Log:
    """A log.jsonl that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start()

    def _start(self) -> None:
        self.offset = 0
        self.series: dict[str, tuple[list[float], list[float]]] = {}
        self._strides: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def read(self) -> dict[str, tuple[list[float], list[float]]]:
        """All series, after what was added since the last call; from the start where the log became shorter."""
        if not self.path.exists():
            return {}
        if self.path.stat().st_size < self.offset:  # a resumed run cuts what it will repeat
            self._start()
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
                step = float(entry.pop("step"))
            except (ValueError, KeyError, AttributeError):
                continue
            for name, value in entry.items():
                if isinstance(value, (int, float)):
                    self._add(name, step, float(value))
        return self.series

    def _add(self, name: str, step: float, value: float) -> None:
        steps, values = self.series.setdefault(name, ([], []))
        stride, count = self._strides.get(name, 1), self._counts.get(name, 0)
        self._counts[name] = count + 1
        if count % stride:
            return
        steps.append(step)
        values.append(value)
        if len(steps) > POINTS:
            self.series[name] = (steps[::2], values[::2])
            self._strides[name] = 2 * stride


def _key(who: str, key: str) -> str:
    return f"{who}/{key}" if who else key


def _look(folder: Path, who: str, root: Path, held: set[tuple[int, int]] | None) -> State | None:
    """The state of a folder; None where it is gone meanwhile or is no run."""
    try:
        spec = _spec(folder / "spec.json", (folder / "spec.json").stat().st_mtime_ns)
        if spec is None:
            return None
        log, result, lock = folder / "log.jsonl", folder / "result.json", folder / "lock"
        finished = result.exists()
        updated = (result if finished else log if log.exists() else folder).stat().st_mtime
        metrics = _numbers(result, result.stat().st_mtime_ns) if finished else {}
        if finished:
            state = "finished"
        elif held is None:
            state = "running" if time.time() - updated < FRESH else "stopped"
        else:
            here = lock.stat() if lock.exists() else None
            state = "running" if here and (here.st_dev, here.st_ino) in held else "stopped"
        steps = spec["config"].get("steps", 0)
        steps = steps if type(steps) is int else 0
        done = steps if finished else logged_step(log, last=True)
        made = _numbers(folder / "env.json", result.stat().st_mtime_ns) if finished else {}
        left = _pace(folder) * (steps - done) if state == "running" and steps else math.nan
    except OSError:
        return None
    key = _key(who, folder.relative_to(root).as_posix())
    seconds = made.get("seconds", math.nan)
    return State(key, who, folder, state, done, steps, updated, seconds, left, spec, metrics)


@functools.lru_cache(20_000)
def _spec(path: Path, stamp: int) -> dict[str, Any] | None:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    kinds = {"study": str, "scale": str, "variant": str, "seed": int, "config": dict}
    whole = isinstance(spec, dict) and all(isinstance(spec.get(name), kind) for name, kind in kinds.items())
    return spec if whole else None


@functools.lru_cache(20_000)
def _numbers(path: Path, stamp: int) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")).items()
        return {name: float(value) for name, value in found if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError):
        return {}


def _pace(folder: Path) -> float:
    """The seconds that a run takes for a step, from the first and the last time that it logged; nan before that."""
    log, times = folder / "log.jsonl", folder / "times.txt"
    steps = logged_step(log, last=True) - logged_step(log, last=False)
    if steps <= 0 or not times.exists():
        return math.nan
    try:
        seconds = [float(line) for line in times.read_text().splitlines()]
        return (seconds[-1] - seconds[0]) / steps
    except (ValueError, IndexError):
        return math.nan


def logged_step(path: Path, *, last: bool) -> int:
    """The step of the log's first or last whole line, 0 without any."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL) if last else 0)
        lines = file.read(TAIL).rpartition(b"\n")[0].splitlines()
    try:
        return int(json.loads(lines[-1 if last else 0])["step"]) if lines else 0
    except (ValueError, KeyError, TypeError):
        return 0


def _locks() -> set[tuple[int, int]] | None:
    """(device, inode) of every locked file of this machine; None where the system does not tell.

    Trying the lock instead would hold it for a moment, and keep a run from starting.
    """
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    found = set()
    for line in lines:
        for word in line.split():
            if word.count(":") == 2:
                major, minor, inode = word.split(":")
                found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return found


def curve(title: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> dict[str, Any]:
    """What a template needs to draw lines {label: (steps, values)}: their paths, and the labels of both axes."""
    lines = {label: (steps, values) for label, (steps, values) in lines.items() if steps}
    if not lines:
        return {"title": title, "lines": [], "y": [], "x": []}
    every = [(x, y) for steps, values in lines.values() for x, y in zip(steps, values, strict=True)]
    low_x, high_x = min(x for x, _ in every), max(x for x, _ in every)
    low_y, high_y = min(y for _, y in every), max(y for _, y in every)
    room = (high_y - low_y or abs(high_y) or 1.0) * 0.06
    low_y, high_y = low_y - room, high_y + room

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - low_x) / (high_x - low_x) if high_x > low_x else 0.5  # a single step stands in the middle
        right = LEFT + share * (WIDTH - LEFT - 10)
        return round(right, 1), round((high_y - y) / (high_y - low_y) * (HEIGHT - BOTTOM - 8) + 6, 1)

    drawn = []
    for label, (steps, values) in lines.items():
        points = [place(x, y) for x, y in zip(steps, values, strict=True)]
        path = "M" + "L".join(f"{x},{y}" for x, y in points)
        drawn.append({"label": label, "path": path, "end": points[-1], "last": number(values[-1])})
    ticks = {number(tick, 3): tick for tick in (low_y + room, (low_y + high_y) / 2, high_y - room)}
    return {
        "title": title,
        "lines": drawn,
        "y": [(place(low_x, tick)[1], text) for text, tick in ticks.items()],
        "x": [(place(step, low_y)[0], number(step)) for step in dict.fromkeys((low_x, high_x))],
        "size": (WIDTH, HEIGHT, LEFT, BOTTOM),
    }
