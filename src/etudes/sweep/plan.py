"""A plan of runs: what is left of it, what comes of a run, and what a command would do."""

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from etudes.core.checkpoints import entries
from etudes.core.errors import Broken, Diverged, Problem, broken
from etudes.core.files import write_json
from etudes.core.record import DIVERGED, UNKNOWN, is_finished, other_code, read_spec
from etudes.core.run import Watch, execute, is_held
from etudes.core.spec import Spec, Study
from etudes.core.verdicts import Verdict


class OutOfTime(KeyboardInterrupt):
    """The time that a command may take is over. What its runs saved is kept, as when they are interrupted."""


PLAN = "plan.json"  # which runs were asked for last, beside those of their scale
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # errors of the disk, wherever they come up


@dataclass(frozen=True)
class Outcome:
    """What came of a run: it is finished ("done" now, or "kept" from before), or "busy" in another process, or it has
    no result: "diverged", or "lost" with its worker. `reason` says why."""

    spec: Spec
    status: Literal["done", "kept", "busy", "diverged", "lost"]
    reason: str = ""


def attempt(study: Study, spec: Spec, root: Path, watch: Watch | None = None) -> Outcome:
    """What came of performing one run.

    Raises what no run of the plan can go on from: Problem, OSError of the disk, or Broken where the program raised an
    error of its own.
    """
    try:
        return Outcome(spec, execute(study, spec, root, watch))
    except Diverged as problem:
        return Outcome(spec, "diverged", str(problem))
    except (Problem, Broken):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        if said := broken(spec.key, error):
            raise said from error
        raise


def in_time(deadline: float) -> None:
    """Raises OutOfTime where `time.monotonic()` has passed the deadline."""
    if time.monotonic() >= deadline:
        raise OutOfTime


def pending(plan: Sequence[Spec], root: Path) -> list[Spec]:
    """The runs without a result. Raises Problem where a result is not whole."""
    return [spec for spec in plan if not is_finished(root / spec.key)]


def note(plan: Sequence[Spec], root: Path) -> None:
    """Write down which runs were asked for last, beside those of their scale: who watches them can tell how many are
    left."""
    write_json(root / plan[0].study / plan[0].scale / PLAN, {"runs": [spec.key for spec in plan]})


def further(verdicts: Sequence[Verdict], make: Callable[[str, int], list[Spec]]) -> list[Spec]:
    """The runs that the open claims need for their next looks, seeds outermost; some may be finished.

    `make(variant, seeds)` is a plan of so many seeds of one variant.
    """
    wanted: dict[str, int] = {}
    for verdict in verdicts:
        for variant, _ in verdict.reads if verdict.is_open else ():
            wanted[variant] = max(wanted.get(variant, 0), verdict.next_look)
    return sorted((s for name, seeds in wanted.items() for s in make(name, seeds)), key=lambda spec: spec.seed)


def outlook(plan: Sequence[Spec], root: Path) -> Iterator[str]:
    """A line for each variant: its runs that are finished, interrupted, made by other code, or not run yet."""
    for variant in dict.fromkeys(spec.variant for spec in plan):
        states = Counter(state(spec, root) for spec in plan if spec.variant == variant)
        yield f"{variant}: {', '.join(f'{count} {words}' for words, count in states.items())}"


def state(spec: Spec, root: Path) -> str:
    """How far a run is, in words."""
    folder = root / spec.key
    if is_finished(folder):
        return "finished"
    if (folder / DIVERGED).exists():
        return "diverged"
    if is_held(folder):
        return "being run by another process"
    if checkpoints := entries(folder):
        last = max(checkpoints, key=lambda checkpoint: (checkpoint.phase, checkpoint.step))
        return f"interrupted at step {last.step}" + f" of phase {last.phase + 1}" * bool(last.phase)
    if (folder / "spec.json").exists():
        return "interrupted before the first checkpoint"
    if codes := [code for code in _codes(spec, root) if code != spec.code]:
        return f"made by other code ({', '.join(codes)}): will be run again"
    return "not run yet"


def _codes(spec: Spec, root: Path) -> list[str]:
    """Under which codes of the study this very run is finished."""
    found = []
    for path in sorted((root / spec.key).parent.glob(f"{spec.seed}-*/result.json")):
        other = read_spec(path.parent)
        if replace(other, code=spec.code) == spec:
            found.append(other.code or UNKNOWN)
    return found


def code_notes(plan: Sequence[Spec], root: Path, command: str) -> Iterator[str]:
    """A sentence for each code of the study that made runs of this plan which do not count now."""
    for code, count in other_code(plan, root).items():
        runs = "1 finished run was" if count == 1 else f"{count} finished runs were"
        yield f"{runs} made by other code of the study; `{command} --code {code or UNKNOWN}` shows them."
