"""A plan performed on this machine, beside any other commands that work on the same plan."""

import contextlib
import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from etudes.core.errors import Diverged, Problem
from etudes.core.run import Watch, execute
from etudes.core.spec import Spec, Study
from etudes.sweep.plan import pending

Finished = Callable[[Spec, str], None]  # (run, "done" | "kept" | "diverged")


def perform(
    study: Study, plan: Sequence[Spec], root: Path, *, watch: Watch | None = None, finish: Finished | None = None
) -> list[Diverged]:
    """Execute what is left of the plan, one run after the other; the runs that diverged, as Problems.

    A run that another process holds is come back to until it is finished or free, so that every process ends with the
    whole plan done. Raises Problem as soon as a run cannot go on for another reason than divergence.
    """
    diverged = []
    left = pending(plan, root)
    while left:
        busy = []
        for spec in left:
            try:
                status: str = execute(study, spec, root, watch)
            except Diverged as problem:
                diverged.append(problem)
                status = "diverged"
            if status == "busy":
                busy.append(spec)
            elif finish:
                finish(spec, status)
        if busy and "WORLD_SIZE" in os.environ:
            raise Problem(f"{busy[0].key} is held by another process; a plan is shared by single processes alone")
        if len(busy) == len(left):
            time.sleep(1.0)
        left = busy
    return diverged


MOST = 4  # processes of one command: each holds the data


def workers(study: Study, plan: Sequence[Spec]) -> int:
    """How many processes should perform the plan at once.

    One, unless the study says that its runs cannot use more than a few threads: then as many as cores have room for, up
    to 4. $OMP_NUM_THREADS, where it is set, is the room. A GPU is not shared.
    """
    if not plan or sys.platform != "linux" or "WORLD_SIZE" in os.environ:
        return 1
    import torch

    if torch.cuda.is_available():
        return 1
    room = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(room) if room.isdigit() else len(os.sched_getaffinity(0))
    return max(1, min(cores // plan[0].threads, len(plan), MOST))


def together(
    study: Study,
    plan: Sequence[Spec],
    root: Path,
    count: int,
    *,
    watch: Watch | None = None,
    finish: Finished | None = None,
) -> list[Diverged]:
    """As `perform`, by `count` processes of `study.threads` threads each.

    They are forks of this one, so that a study of a notebook needs no file. Raises Problem where one of them cannot go
    on, or ends before its work: what it did since its last checkpoint is lost, and the same command goes on.
    """
    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe(duplex=False)
    todo, turn = context.SimpleQueue(), context.Lock()
    sys.stdout.flush()  # else each fork would write what waits there again
    sys.stderr.flush()
    team = [context.Process(target=_work, args=(study, root, todo, tell, turn), daemon=True) for _ in range(count)]
    for member in team:
        member.start()
    tell.close()
    for item in [*plan, *[None] * count]:
        todo.put(item)
    diverged: list[Diverged] = []
    try:
        with contextlib.suppress(EOFError):  # all have ended
            while True:
                kind, *rest = told.recv()
                if kind == "watch" and watch:
                    watch(*rest)
                if kind == "problem":
                    raise Problem(rest[0])
                if kind == "finish":
                    spec, status, words = rest
                    diverged += [Diverged(words)] if words else []
                    if finish:
                        finish(spec, status)
        for member in team:
            member.join()
        if any(member.exitcode for member in team):
            codes = ", ".join(str(member.exitcode) for member in team if member.exitcode)
            raise Problem(f"a process ended before its work (exit status {codes}); the same command goes on")
        return diverged
    finally:
        for member in team:
            member.terminate()
            member.join()


def _keep(statuses: list[str], spec: Spec, status: str) -> None:
    statuses.append(status)


def _work(study: Study, root: Path, todo: Any, pipe: Any, turn: Any) -> None:
    """What each of the processes does: performs runs until there are none."""

    def tell(*message: Any) -> None:
        with turn:
            pipe.send(message)

    try:
        while (spec := todo.get()) is not None:
            statuses = ["kept"]  # where another command has finished it meanwhile
            watch, finish = functools.partial(tell, "watch"), functools.partial(_keep, statuses)
            problems = perform(study, [spec], root, watch=watch, finish=finish)
            tell("finish", spec, statuses[-1], str(problems[0]) if problems else "")
    except Problem as problem:
        tell("problem", str(problem))
    except (KeyboardInterrupt, BrokenPipeError):  # the command was interrupted, or is gone
        pass
