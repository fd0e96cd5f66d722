"""Worker processes that perform runs side by side.

The leader hands each worker one run at a time, over a pipe that the two alone share: there is no queue and no lock that
a process which dies could keep. A worker ends with its leader, however that ends: while it waits, as its pipe closes,
and while it computes, by a thread that watches the leader. Workers are no daemons, so that a program may have processes
of its own, such as those of a DataLoader.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, Literal

import psutil

from etudes.core import catalogue
from etudes.core.errors import Broken, Problem
from etudes.core.run import Watch
from etudes.core.spec import Spec, Study
from etudes.sweep.plan import Outcome, attempt, in_time

Source = Study | str  # a study, or the name or file by which it is found again
PAUSE = 1.0  # seconds before a run that another command holds is tried again
TICK = 0.2  # seconds between two looks at what waits, and between two messages on a run's progress


def source(study: Study) -> str:
    """The name or the file by which another process finds this very study; "" where there is none.

    Of one with variants of a user's own it is the study's as its author wrote it: a run needs its program and Config.
    """
    study = study.base or study
    homes = {
        module.__name__: Path(module.__file__).resolve()
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) and getattr(module, "__dict__", {}).get("STUDY") is study
    }
    homes.pop("__main__", None)
    if any(name.startswith("etudes.studies.") for name in homes):
        return study.name
    # Others may have imported it from the file that defines it.
    return str(homes.get(study.program.__module__) or next(iter(homes.values()), ""))


def perform(
    study: Study,
    plan: Sequence[Spec],
    root: Path,
    count: int,
    start: Literal["fork", "spawn"],
    watch: Watch | None,
    deadline: float,
) -> Iterator[Outcome]:
    """What comes of the plan's runs, as they end, performed by `count` processes.

    Raises what `attempt` raises in one of them, Problem where a worker ends before its run, or OutOfTime; the others
    are ended.
    """
    with _team(study, root, count, start) as team:
        todo, tried = deque(plan), dict[str, float]()
        while todo or any(worker.spec for worker in team):
            in_time(deadline)
            for worker in team:
                rested = todo and time.monotonic() - tried.get(todo[0].key, -PAUSE) >= PAUSE
                if rested and not worker.spec and worker.has_room(team):
                    worker.hand(todo.popleft())
            for outcome in _outcomes(team, watch):
                if outcome.status == "busy":
                    tried[outcome.spec.key] = time.monotonic()
                    todo.append(outcome.spec)
                else:
                    yield outcome


def _outcomes(team: Sequence["_Worker"], watch: Watch | None) -> Iterator[Outcome]:
    """What the workers end within a tick. Raises what one of them raised, and Problem where one has ended."""
    for end in connection.wait([worker.pipe for worker in team], timeout=TICK):
        worker = next(worker for worker in team if worker.pipe is end)
        try:
            kind, *content = worker.pipe.recv()
        except (EOFError, OSError):
            raise worker.loss() from None
        if kind == "watch" and watch:
            watch(*content)
        elif kind == "print":
            print(content[1], end="", file=getattr(sys, content[0]), flush=True)
        elif kind == "warn":
            warnings.warn(content[0], stacklevel=2)
        elif kind == "error":
            raise content[0]
        elif kind == "outcome":
            worker.spec = None
            yield content[0]
    for worker in team:
        worker.look()


class _Worker:
    """The leader's side of a worker: its process, its pipe, the run that it performs, and the memory that it took."""

    def __init__(self, context: Any, source: Source, root: Path, inherited: Sequence[connection.Connection]) -> None:
        self.pipe, theirs = context.Pipe()
        # A fork has a copy of every open end, and a pipe closes when all copies are closed.
        ends = [self.pipe, *inherited] if context.get_start_method() == "fork" else []
        self.process = context.Process(target=_work, args=(source, root, theirs, ends))
        self.process.start()
        theirs.close()
        self.spec: Spec | None = None
        self.memory = self.peak = 0
        self._looked = 0.0

    def hand(self, spec: Spec) -> None:
        self.spec = spec
        with contextlib.suppress(OSError):  # it has ended, and the next look finds that out
            self.pipe.send(spec)

    def look(self) -> None:
        """Measure its memory, once a tick. Raises Problem where it has ended."""
        if time.monotonic() - self._looked < TICK:
            return
        self._looked = time.monotonic()
        if self.process.exitcode is not None and not self.pipe.poll():
            raise self.loss()
        with contextlib.suppress(psutil.Error):
            self.memory = psutil.Process(self.process.pid).memory_info().rss
            self.peak = max(self.peak, self.memory)

    def has_room(self, team: Sequence["_Worker"]) -> bool:
        """Whether it and all that are at work may grow to the largest peak so far. One at least always works."""
        others = [worker for worker in team if worker.spec]
        most = max(worker.peak for worker in team)
        growth = sum(most - worker.memory for worker in (self, *others))
        return not others or growth <= psutil.virtual_memory().available

    def loss(self) -> Problem:
        self.process.join(5)
        code = self.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
        which = f" {self.spec.key}" if self.spec else ""
        return Problem(f"a process ended before its work{which} ({how}); the same command goes on")


@contextlib.contextmanager
def _team(study: Study, root: Path, count: int, start: str) -> Iterator[list[_Worker]]:
    """So many workers, who have ended when the block has."""
    context = multiprocessing.get_context(start)
    team: list[_Worker] = []
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else each fork would write what waits there again
    try:
        with _deaf(), contextlib.nullcontext() if start == "fork" else _nameless():
            for _ in range(count):
                ends = [worker.pipe for worker in team]
                team.append(_Worker(context, study if start == "fork" else source(study), root, ends))
        yield team
        for worker in team:
            worker.pipe.close()
            worker.process.join(5)
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.process.join(5)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """The block starts processes that do not hear Ctrl-C before they say how to take it: the leader alone does."""
    if os.name == "nt":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    """The block starts processes that do not perform the user's script again, which spawning does by itself."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(source: Source, root: Path, pipe: connection.Connection, inherited: Sequence[connection.Connection]) -> None:
    """What a worker does: performs what it is handed until its leader closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name != "nt":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for end in inherited:
        end.close()
    multiprocessing.set_start_method(None, force=True)  # the program's own begin as they do anywhere else
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    voice = _Voice(pipe)
    sys.stdout, sys.stderr = _Stream(voice, "stdout"), _Stream(voice, "stderr")
    warnings.showwarning = lambda message, *_: voice.say("warn", str(message))
    with contextlib.suppress(EOFError, OSError):  # the leader has what it wanted, or is gone
        try:
            study = catalogue.find(source) if isinstance(source, str) else source
            while True:
                outcome = attempt(study, pipe.recv(), root, voice.watch)
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                voice.say("outcome", outcome)
        except (EOFError, BrokenPipeError):
            pass
        except (Problem, Broken, OSError) as error:
            voice.say("error", error)


def _end_with_the_leader() -> None:
    leader = multiprocessing.parent_process()
    assert leader is not None
    while os.name == "nt" or os.getppid() == leader.pid:
        if connection.wait([leader.sentinel], timeout=TICK):
            break
    os._exit(1)


class _Voice:
    """How a worker speaks to its leader, from whichever of its threads."""

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe, self._turn, self._process = pipe, threading.Lock(), os.getpid()
        self._last = ("", 0.0)  # the run of which it told the progress, and when

    def say(self, *message: Any) -> bool:
        """Whether it was said: processes of the program's own have no part in the pipe."""
        if os.getpid() != self._process:
            return False
        with self._turn:
            self._pipe.send(message)
        return True

    def watch(self, key: str, done: int, steps: int) -> None:
        now = time.monotonic()
        if key != self._last[0] or now - self._last[1] >= TICK:
            self._last = key, now
            self.say("watch", key, done, steps)


class _Stream(io.TextIOBase):
    """What a program prints, shown line by line where the leader's own output stands."""

    def __init__(self, voice: _Voice, name: str) -> None:
        self._voice, self._name, self._rest = voice, name, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        self._show(lines + newline)
        return len(text)

    def flush(self) -> None:
        text, self._rest = self._rest, ""
        self._show(text)

    def _show(self, text: str) -> None:
        plain = getattr(sys, f"__{self._name}__")
        if text and not self._voice.say("print", self._name, text) and plain:
            plain.write(text)
            plain.flush()

    def fileno(self) -> int:
        return int(getattr(sys, f"__{self._name}__").fileno())
