"""What users wait for between runs: etudes bench reports

judge   reading and judging 10,000 finished runs of a study with 25 variants and eight claims, at four looks.
        Goal: under 2 seconds.
report  building the whole report of them, curves included.
list    `etudes list` in a process of its own, and a plain `python -c pass` beside it.

Medians of five rounds. The runs are written by `execute`, by a program that draws its numbers.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from etudes.core.claims import lower
from etudes.core.environment import environment
from etudes.core.record import load
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.core.verdicts import judge
from etudes.reports.build import build

RUNS, ROUNDS = 10_000, 5


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 10  # lines of the log
    shift: float = 0.0  # added to the score


NAMES = tuple(f"v{i}" for i in range(25))
STUDY = Study(
    name="many",
    question="How long do ten thousand runs keep one waiting?",
    paper=Paper("None", "Nobody", 2026, ""),
    config=Config,
    program=lambda cfg, run: None,
    variants=tuple(Variant(name, {"shift": 0.1 * i}) for i, name in enumerate(NAMES)),
    scales={"smoke": Scale({}, seeds=(5, 20, 100, RUNS // len(NAMES)), minutes=1)},
    claims={
        f"{metric} is lower in {name}": lower(name, "v0", "", of=f"test/{metric}", matters=0.01)
        for metric in ("error", "loss")
        for name in NAMES[1:5]
    },
)


def written(root: Path) -> None:
    """The folders of the finished runs, as `execute` leaves them."""
    facts = environment() | {"seconds": 1.0, "precision": "fp32", "data": {"dataset": "none", "says": "nothing"}}
    for i, spec in enumerate(STUDY.plan("smoke", seeds=RUNS // len(NAMES))):
        folder = root / spec.key
        folder.mkdir(parents=True)
        (folder / "log.jsonl").write_text("".join(f'{{"step": {k}, "train/loss": {1 / k}}}\n' for k in range(1, 11)))
        for name, value in {
            "spec": dataclasses.asdict(spec),
            "env": facts,
            "result": {"test/error": (i * 7919 % 1000) / 1000, "test/loss": (i * 104729 % 1000) / 500},
        }.items():
            (folder / f"{name}.json").write_text(json.dumps(value))  # unsynced: this is not what is timed


def timed(do: Callable[[], object]) -> str:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - begun)
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, plan = Path(folder), STUDY.plan("smoke", seeds=RUNS // len(NAMES))
        written(root)
        print(f"judge   {timed(lambda: judge(STUDY, load(plan, root)))}")
        print(f"report  {timed(lambda: build(STUDY, plan, load(plan, root)))}")
    command = [sys.executable, "-m", "etudes", "list"]
    print(f"list    {timed(lambda: subprocess.run(command, check=True, capture_output=True))}")
    print(f"python  {timed(lambda: subprocess.run([sys.executable, '-c', 'pass'], check=True))}")


if __name__ == "__main__":
    main()
