"""Whether a study resumes exactly: its smoke scale straight, and again killed three times, compared byte for byte.

A run is killed before steps and at the end of an evaluation, when that has done all it does and nothing of it is kept.
A program without `fit` is killed before lines of its log; one without a log either is run twice.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.core import catalogue
from etudes.core.record import Record
from etudes.core.run import Run, execute
from etudes.core.spec import Spec, Study

Moment = tuple[str, int, int]  # (kind, phase, step); the kinds are those of `with_moments`
RESUMES = (
    "Usually something that changes during training is not among the parts of fit, such as a DataLoader's iterator, a "
    "counter or a running mean. Address it by the step, as in Batches(n, size, run.seed('order')).at(i) or "
    "run.rng('noise', i), or give fit a part that keeps it: anything with state_dict and load_state_dict."
)
REPEATS = (
    "Without any kill two runs of one seed differ. Usually something draws from a generator that no seed of the run "
    "sets, goes by the clock, or goes through a set in its order; draw from run.rng('a name') instead."
)


class Killed(BaseException):
    """What ends a run in the middle. No program catches it, as none outlives a kill."""


@dataclass(frozen=True)
class Finding:
    """What came of one variant: `difference` says where the runs differ first, "" where they do not.

    `repeats` is False where two straight runs differ already.
    """

    variant: str
    kills: tuple[Moment, ...]
    difference: str = ""
    repeats: bool = True

    def __str__(self) -> str:
        *places, last = [_place(*moment) for moment in self.kills] or [""]
        several = f"{', '.join(places)} and {last}" if places else last
        done = f"killed {several}, and resumed" if self.repeats and last else "run twice"
        return f"{self.variant}: {done}, {self.difference or 'it ends with the same bytes'}"

    @property
    def advice(self) -> str:
        """What is usually wrong where the runs differ, and what to do."""
        return (RESUMES if self.repeats else REPEATS) if self.difference else ""


def _place(kind: str, phase: int, step: int) -> str:
    return f"{kind} {step}" + (f" of phase {phase + 1}" if phase else "")


def with_moments(study: Study, meet: Callable[[Moment], None], *, shared: bool = False) -> Study:
    """The study whose runs call `meet` at each of their moments.

    These are "before step", "before the evaluation after step", "in the evaluation after step" (at its end) and "before
    the line of step". What a run shares with others by `once` has them only with `shared`.
    """

    def watch(run: Run) -> None:
        seed, autocast, log, once = run.seed, run.autocast, run.log, run.once
        evaluated: list[int] = []

        def watched_seed(stream: str, *index: int) -> int:  # the first that fit asks for, of a step and an evaluation
            if stream == "torch":
                meet(("before step", run.phase, index[0] + 1))
            if stream == "evaluate":
                meet(("before the evaluation after step", run.phase, *index))
                evaluated.extend(index)
            return seed(stream, *index)

        @contextlib.contextmanager
        def watched_autocast() -> Iterator[None]:
            step = evaluated.pop() if evaluated else None
            with autocast():
                yield
            if step is not None:
                meet(("in the evaluation after step", run.phase, step))

        def watched_log(step: int, **numbers: Any) -> None:
            meet(("before the line of step", run.phase, step))
            log(step, **numbers)

        def watched_once(name: str, config: Mapping[str, Any], make: Callable[[Run], None], **how: Any) -> Record:
            def watched_make(own: Run) -> None:
                watch(own)
                make(own)

            return once(name, config, watched_make, **how)

        run.seed, run.autocast, run.log = watched_seed, watched_autocast, watched_log  # type: ignore[method-assign]
        if shared:
            run.once = watched_once  # type: ignore[method-assign]

    def program(cfg: Any, run: Run) -> None:
        watch(run)
        study.program(cfg, run)

    return dataclasses.replace(study, program=program)


def straight(study: Study, spec: Spec, root: Path) -> list[Moment]:
    """Perform a run without a kill; its moments in order."""
    met: list[Moment] = []
    execute(with_moments(study, met.append), spec, root)
    return met


def kills(moments: list[Moment]) -> tuple[Moment, ...]:
    """Three moments to kill a run at, in order: of evaluations the middle one, and of steps those that leave one
    another the longest way. Fewer where there are fewer."""
    evaluations = [m for m in moments if m[0] == "in the evaluation after step"]
    steps = [m for m in moments if m[0] == "before step"] or [m for m in moments if m[0] == "before the line of step"]
    middle = evaluations[len(evaluations) // 2 :][:1]
    shares = (1 / 2, 5 / 6) if middle else (1 / 4, 1 / 2, 5 / 6)
    chosen = {*middle, *(steps[int(share * len(steps))] for share in shares if steps)}
    return tuple(m for m in moments if m in chosen)


def resume(study: Study, spec: Spec, root: Path, at: tuple[Moment, ...]) -> None:
    """Perform a run that saves whenever it can, is killed when it first meets each of the moments, and is resumed."""
    left = list(at)

    def meet(moment: Moment) -> None:
        if moment in left:
            left.remove(moment)
            raise Killed

    with _saving_always():
        for _ in range(len(at) + 1):
            with contextlib.suppress(Killed):
                execute(with_moments(study, meet), spec, root)
                return


def difference(one: Path, other: Path) -> str:
    """In words where the second run's log, or then its result, differs first from the first run's; "" where neither
    does to the last byte."""
    for name in ("log.jsonl", "result.json"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            break
    else:
        return ""
    logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (one, other)]
    for mine, its in zip(*logs, strict=False):
        if found := _first(mine, its):
            return f"it differs first at step {mine['step']}: {found}"
    if len(logs[0]) != len(logs[1]):
        return f"its log has {len(logs[1])} lines and not {len(logs[0])}"
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    return f"its log is the same and its result is not: {_first(*results) or 'in its bytes'}"


def _first(mine: Mapping[str, Any], its: Mapping[str, Any]) -> str:
    for name in [*mine, *(name for name in its if name not in mine)]:
        if mine.get(name) != its.get(name) or (name in mine) != (name in its):
            return f"{name} is {its.get(name, 'absent')} and not {mine.get(name, 'absent')}"
    return ""


def findings(study: Study, root: Path, variants: Sequence[str] = ()) -> Iterator[Finding]:
    """What comes of the first seed of these variants of the smoke scale (by default all), run below `root`."""
    for spec in study.plan("smoke", variants=variants, seeds=1):
        at = kills(straight(study, spec, root / "straight"))
        resume(study, spec, root / "resumed", at)
        found = difference(root / "straight" / spec.key, root / "resumed" / spec.key)
        if found and at:  # is that the kills' doing?
            execute(study, spec, root / "again")
            again = difference(root / "straight" / spec.key, root / "again" / spec.key)
            yield Finding(spec.variant, at, again or found, repeats=not again)
        else:
            yield Finding(spec.variant, at, found, repeats=not found)


def main(name: str, scale: str = "", variants: str = "", dataset: str = "") -> int:
    """Check a study and tell what holds; 0, or 1 where something does not. With a scale it also takes a step there.

    `variants` are those to check, as a,b (by default all); `dataset` stands in for the scale's own.
    """
    from etudes.sweep import first_step

    study, failed, advice = catalogue.find(name), False, []
    chosen = tuple(filter(None, variants.split(",")))
    study.plan(scale or "smoke", variants=chosen)  # a wrong name is told at once
    with tempfile.TemporaryDirectory() as folder:
        for found in findings(study, Path(folder), chosen):
            print(found, flush=True)
            advice += [found.advice] if found.advice not in ("", *advice) else []
    for said, works in first_step.lines(name, scale, chosen, dataset) if scale else ():
        print(said, flush=True)
        failed |= not works
    for words in advice:
        print(f"\n{words}")
    return int(failed or bool(advice))


@contextlib.contextmanager
def _saving_always() -> Iterator[None]:
    before = os.environ.get("ETUDES_SAVE_SECONDS")
    os.environ["ETUDES_SAVE_SECONDS"] = "0"
    try:
        yield
    finally:
        os.environ.pop("ETUDES_SAVE_SECONDS")
        if before is not None:
            os.environ["ETUDES_SAVE_SECONDS"] = before
