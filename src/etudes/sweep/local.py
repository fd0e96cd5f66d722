"""A plan performed on this machine, beside any other commands that work on the same plan."""

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from etudes.core.errors import Problem
from etudes.core.run import Watch, device
from etudes.core.spec import Spec, Study
from etudes.sweep import team
from etudes.sweep.plan import Outcome, attempt, in_time, pending

Start = Literal["fork", "spawn", "none"]


def perform(
    study: Study,
    plan: Sequence[Spec],
    root: Path,
    *,
    count: int = 1,
    start: Start | None = None,
    watch: Watch | None = None,
    finish: Callable[[Outcome], None] | None = None,
    deadline: float = math.inf,
) -> list[Outcome]:
    """What came of what was left of the plan; `finish` is called with each outcome as soon as it is there.

    `count` runs go side by side, each in a process of its own (0: as many as there is room for). `start` says how these
    begin: by what is safe unless named, and "none" performs all in this process. A run that another command holds is
    come back to until it is finished or free, so that every command ends with the whole plan done. Raises Problem,
    OSError or Broken as soon as a run cannot go on for another reason than divergence, and OutOfTime when
    `time.monotonic()` has passed the deadline.
    """
    left = pending(plan, root)
    count = min(len(left), count or room(left))
    start = "none" if count < 2 else start or safe_start(study, left)
    if start == "none":
        each = _one_by_one(study, left, root, watch, deadline)
    else:
        each = team.perform(study, left, root, count, start, watch, deadline)
    outcomes = []
    for outcome in each:
        outcomes.append(outcome)
        if finish:
            finish(outcome)
    return outcomes


def room(plan: Sequence[Spec]) -> int:
    """How many runs of the plan this machine's cores perform at once. A GPU is not shared."""
    if not plan or "WORLD_SIZE" in os.environ or device().type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // plan[0].threads)


def safe_start(study: Study, plan: Sequence[Spec]) -> Start:
    """How worker processes are begun.

    A fork has all that this process has, so that a study of a notebook needs no file. But it does not have its threads:
    a run that computes with several would wait for them for ever. Elsewhere than on Linux the system's own libraries
    have such threads. What cannot be forked is begun anew and finds the study by its name or file, where it has one.
    """
    if multiprocessing.current_process().daemon:  # which may have no processes of its own
        return "none"
    if sys.platform == "linux" and all(spec.threads == 1 for spec in plan):
        return "fork"
    return "spawn" if team.source(study) else "none"


def _one_by_one(
    study: Study, plan: Sequence[Spec], root: Path, watch: Watch | None, deadline: float
) -> Iterator[Outcome]:
    def look(key: str, done: int, steps: int) -> None:
        in_time(deadline)
        if watch:
            watch(key, done, steps)

    while plan:
        busy = []
        for spec in plan:
            in_time(deadline)
            outcome = attempt(study, spec, root, look)
            if outcome.status == "busy":
                busy.append(spec)
            else:
                yield outcome
        if busy and "WORLD_SIZE" in os.environ:
            raise Problem(f"{busy[0].key} is held by another process; a plan is shared by single processes alone")
        if len(busy) == len(plan):
            time.sleep(team.PAUSE)
        plan = busy
