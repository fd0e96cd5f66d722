"""Which trained networks there are below the root of the runs, and the training of one where there is none."""

import atexit
import dataclasses
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import IO, Any

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record, is_finished, read
from etudes.core.spec import Spec, Study
from etudes.web.demos.look import explain

WEIGHTS = "model.safetensors"
LONGEST = 1800.0  # seconds after which a training is stopped


@dataclass(frozen=True)
class Offer:
    """One network, or a few, that a demo offers to train."""

    study: str
    scale: str
    variants: tuple[str, ...]

    @property
    def words(self) -> str:
        study = catalogue.find(self.study)
        scale = study.scales[self.scale]
        whole = len(scale.variants or study.variants) * scale.looks[0]
        seconds = 60 * scale.minutes * len(self.variants) / whole
        lasts = f"{max(5, round(seconds, -1)):.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
        return f"{self.study}, {' and '.join(self.variants)}, {self.scale}: about {lasts} on two quiet cores"


def find_records(study: Study, root: Path, file: str = WEIGHTS) -> dict[str, Record]:
    """{its name: the latest run} of every scale and variant whose runs below `root` kept a network in `file`."""
    fields = {f.name for f in dataclasses.fields(study.config)}
    names = {variant.name for variant in study.variants}
    found: dict[str, Record] = {}
    for path in sorted((root / study.name).glob(f"*/*/*/{file}"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            if not is_finished(path.parent):
                continue
            record = read(path.parent)
        except (Problem, OSError):
            continue  # damaged: no network to show, and no reason to show no other
        spec = record.spec
        if spec.revision == study.revision and spec.config.keys() == fields and spec.variant in names:
            found.setdefault(f"{study.name} · {spec.variant} · {spec.scale}", record)
    return found


def choose(records: dict[str, Record], name: str | None) -> Record:
    """The run of that name. Raises Problem where there is none."""
    if not records:
        raise Problem("no network is trained yet; train one below, it is quick")
    if name not in records:
        raise unknown("trained network", str(name), records)
    return records[name]


def describe(record: Record, metric: str, words: str) -> str:
    """Which network a run's is, how small, on what it was trained, and its `metric`, called `words`."""
    spec, data = record.spec, record.env.get("data", {})
    about = f"Loaded: {spec.study}, variant {spec.variant}, scale {spec.scale}, seed {spec.seed}."
    size = f" {record.metrics['parameters']:,.0f} parameters." if "parameters" in record.metrics else ""
    value = f" {words}: {record.metrics[metric]:.3g}." if metric in record.metrics else ""
    return f"{about}{size}{value} Trained on {data.get('dataset', spec.config.get('dataset', 'nothing'))}."


class Training:
    """One training at a time, for all demos: `etudes run` in a process of its own, which may be stopped and goes on
    from where it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._stopped = False
        atexit.register(self.stop)

    def start(self, offer: Offer, root: Path) -> list[Spec]:
        """Begin; the runs to watch. Raises Problem while another training is under way."""
        study = catalogue.find(offer.study)
        with self._lock:
            if self.running:
                raise Problem("another network is being trained; wait for it, or stop it")
            plan, seeds = _rest(study, offer, root)
            command = [sys.executable, "-m", "etudes", "run", study.name, "--scale", offer.scale]
            command += ["--variants", ",".join(offer.variants), "--seeds", str(seeds), "--root", str(root.absolute())]
            self._output = tempfile.TemporaryFile()  # noqa: SIM115, closed with the next training
            self._stopped = False
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
        return plan

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self.running and self._process:
            self._stopped = True
            self._process.send_signal(signal.SIGTERM)

    def failure(self) -> str:
        """What went wrong, in the process's last words; "" where nothing did."""
        if self._process is None or self._process.poll() in (None, 0):
            return ""
        if self._stopped:
            return "stopped; the same button goes on from where it was"
        assert self._output is not None
        self._output.seek(0)
        words = self._output.read().decode(errors="replace").strip().splitlines()
        return words[-1].removeprefix("etudes: ") if words else "the training ended without a word"


TRAINING = Training()


def _rest(study: Study, offer: Offer, root: Path) -> tuple[list[Spec], int]:
    """The runs to make and the number of seeds that brings them about: the first seed that is not finished."""
    from etudes.train.precision import resolve

    how = {"precision": resolve(study, "auto"), "variants": offer.variants}
    for seeds in range(1, 1000):
        plans = [study.plan(offer.scale, seeds=seeds, offline=offline, **how) for offline in (False, True)]
        last = [[spec for spec in plan if spec.seed == seeds - 1] for plan in plans]
        if not any(all(is_finished(root / spec.key) for spec in plan) for plan in last):
            return [spec for plan in last for spec in plan], seeds
    raise Problem(f"a thousand seeds of {study.name} are finished in {root}; choose another variant")


def share(plan: Sequence[Spec], root: Path, runs: int) -> float:
    """How much of `runs` runs is done, in [0, 1]: those of `plan` that have begun."""
    done = 0.0
    for spec in {spec.key: spec for spec in plan}.values():
        folder, steps = root / spec.key, spec.config.get("steps", 0)
        if (folder / "result.json").exists():
            done += 1
        elif steps and (folder / "log.jsonl").exists():
            lines = (folder / "log.jsonl").read_bytes().count(b"\n") * spec.config.get("log_every", 1)
            done += min(0.95, lines / steps)
    return min(1.0, done / max(1, runs))


Known = Callable[[], dict[str, Record]]
About = Callable[[str | None], str]


def chooser(known: Known, about: About) -> tuple[gr.Dropdown, gr.HTML]:
    """The trained networks to choose from, and the line about the chosen one."""
    names = list(known())
    first = names[0] if names else None
    return gr.Dropdown(names, value=first, label="Network"), gr.HTML(about(first))


def renew(
    page: gr.Blocks, known: Known, about: About, model: gr.Dropdown, line: gr.HTML, offers: Sequence[Offer], root: Path
) -> None:
    """A panel that trains, and a chooser that is up to date when the page is opened and after each training."""

    def refresh() -> tuple[Any, str]:
        names = list(known())
        first = names[0] if names else None
        return gr.update(choices=names, value=first), about(first)

    event = panel(offers, root, not known())
    model.change(explain(about), model, line, show_progress="hidden")
    event.then(refresh, None, [model, line], show_progress="hidden")
    page.load(refresh, None, [model, line], show_progress="hidden")


def panel(offers: Sequence[Offer], root: Path, open: bool) -> gr.events.Dependency:
    """A part of the page that trains one of the offers; the event after which it is there."""
    by_words = {offer.words: offer for offer in offers}

    @explain
    def train(words: str) -> Iterator[str]:
        if words not in by_words:
            raise unknown("training", words, by_words)
        offer, begun = by_words[words], time.monotonic()
        plan = TRAINING.start(offer, root)
        while TRAINING.running:
            if time.monotonic() - begun > LONGEST:
                TRAINING.stop()
            done = share(plan, root, len(offer.variants))
            yield _progress(f"training {offer.study}, {100 * done:.0f} %, {time.monotonic() - begun:.0f} s", done)
            time.sleep(0.4)
        if problem := TRAINING.failure():
            yield _progress(problem, 0.0)
            raise Problem(problem)
        yield _progress(f"trained in {time.monotonic() - begun:.0f} s", 1.0)

    with gr.Accordion("Train a network", open=open):
        gr.HTML(
            '<p class="soft">It runs on this machine by <code>etudes run</code>, is kept with your other runs, '
            "and goes on where it was when stopped.</p>"
        )
        choice = gr.Radio(list(by_words), value=next(iter(by_words)), label="Which")
        with gr.Row():
            start = gr.Button("Train", variant="primary")
            stop = gr.Button("Stop")
        status = gr.HTML()
    event = start.click(train, choice, status, concurrency_id="training", concurrency_limit=4, show_progress="hidden")
    stop.click(TRAINING.stop, queue=False)
    return event


def _progress(words: str, done: float) -> str:
    return f'<p>{escape(words)}</p><progress max="1" value="{done:.3f}" aria-label="{escape(words)}"></progress>'
