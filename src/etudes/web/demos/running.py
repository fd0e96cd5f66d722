"""A run of a study performed while a page watches: its log, line by line, until the page goes away."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from etudes.core import catalogue
from etudes.core.errors import Diverged, Problem
from etudes.core.run import execute
from etudes.core.spec import Spec

SECONDS = 60.0  # after which a training is given up
KEYS = """element.closest(".gradio-container").addEventListener("keyup", (event) => {
  const { target, key } = event;  // a slider that keys have moved is let go when the key is
  if (target.type === "range" ? key !== "Tab" : target.type === "number" && key === "Enter")
    target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});"""


class Stopped(Exception):
    """The page went away or the time is up."""


def train(spec: Spec, root: Path) -> Iterator[tuple[list[dict[str, float]], str]]:
    """(the log so far, what to tell) again and again while the run is performed in a thread of its own."""
    stop, problem = threading.Event(), ""

    def watch(key: str, done: int, steps: int) -> None:
        if stop.is_set():
            raise Stopped

    def work() -> None:
        nonlocal problem
        try:
            execute(catalogue.find(spec.study), spec, root, watch)
        except Diverged:
            problem = "the loss grew beyond all numbers: the step size is too large from the start"
        except Problem as told:
            problem = str(told)
        except Stopped:
            problem = "stopped"

    thread = threading.Thread(target=work, daemon=True)
    begun = time.monotonic()
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.3)
            if time.monotonic() - begun > SECONDS:
                stop.set()
            yield read_log(root / spec.key / "log.jsonl"), ""
    finally:
        stop.set()  # also where the reader has gone
    yield read_log(root / spec.key / "log.jsonl"), problem


def read_log(path: Path) -> list[dict[str, float]]:
    """The whole lines of a log that may still be written to."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
