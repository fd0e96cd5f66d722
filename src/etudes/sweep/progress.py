"""Progress of a plan in the terminal or in a notebook, with the time left."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from etudes.core.spec import Spec
from etudes.sweep.plan import Outcome

MOST = 8  # bars of runs at work


class TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        return Text("" if left is None else f"{duration(left)} left")


class PlanProgress:
    """Shows a plan: a bar for all runs and one for each run at work; plain lines where nobody watches.

    Used as a context; `watch` and `finish` are what `local.perform` calls. Work is counted in steps where the runs'
    configs have them, else in runs, and the time left is what the work done so far took, extended.
    """

    def __init__(self, specs: Sequence[Spec], console: Console) -> None:
        self._work = {spec.key: float(spec.config.get("steps", 1)) for spec in specs}
        self._total = sum(self._work.values())
        self._finished = 0.0
        self._begun: dict[str, float] = {}  # work done of runs that are not finished
        self._runs = 0
        self._console = console
        self._live = console.is_terminal or console.is_jupyter
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeLeft(),
            console=console,
        )
        self._plan = self._bars.add_task("all runs", total=1.0, count=f"0/{len(specs)}", left=None)
        self._present: dict[str, tuple[TaskID, float, int]] = {}  # bar, when it was first seen, and at which step
        self._started = time.monotonic()

    def __enter__(self) -> "PlanProgress":
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def watch(self, key: str, done: int, steps: int) -> None:
        if key not in self._present:
            shown = len(self._present) < MOST
            bar = self._bars.add_task(key.partition("/")[2], total=1.0, count="", left=None, visible=shown)
            self._present[key] = bar, time.monotonic(), done
        bar, started, began_at = self._present[key]
        passed, here = time.monotonic() - started, done - began_at
        left = passed / here * (steps - done) if here else None
        self._bars.update(bar, completed=done / steps, count=f"step {done}/{steps}", left=left)
        self._begun[key] = self._work.get(key, 0.0) * done / steps
        self._show()

    def finish(self, outcome: Outcome) -> None:
        key = outcome.spec.key
        self._finished += self._work[key]
        self._begun.pop(key, None)
        self._runs += 1
        if key in self._present:
            self._bars.remove_task(self._present.pop(key)[0])
        left = self._show()
        if not self._live:
            rest = f", {duration(left)} left" if left else ""
            self._console.print(f"{self._runs}/{len(self._work)} {key} {outcome.status}{rest}", highlight=False)

    def _show(self) -> float | None:
        work = self._finished + sum(self._begun.values())
        left = (time.monotonic() - self._started) / work * (self._total - work) if work else None
        count = f"{self._runs}/{len(self._work)}"
        self._bars.update(self._plan, completed=work / self._total, count=count, left=left)
        return left


def duration(seconds: float) -> str:
    """As "40 s", "3 min 20 s" or "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )
