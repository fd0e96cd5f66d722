"""Which trained networks there are, shipped or below the root of the runs, and the training of one on a page."""

import atexit
import dataclasses
import functools
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import IO, Any

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record, is_finished, read
from etudes.core.spec import Spec, Study
from etudes.sweep.local import room
from etudes.web.demos import pace
from etudes.web.demos.look import explain
from etudes.web.demos.ship import TRAINED

WEIGHTS = "model.safetensors"
LONGEST = 1800.0  # seconds after which a training is stopped
ALONG = "comes with études"  # in place of the scale in the name of a network that is shipped


@dataclass(frozen=True)
class Offer:
    """One network, or a few, that a demo offers to train."""

    study: str
    scale: str
    variants: tuple[str, ...]

    @functools.cached_property
    def together(self) -> int:
        """How many of them are trained side by side."""
        return min(len(self.variants), room(catalogue.find(self.study).plan(self.scale, seeds=1)))

    @property
    def words(self) -> str:
        seconds = pace.estimate(self.study, self.scale, self.variants, self.together)
        names = " and ".join(self.variants)
        return f"{self.study}, {names}, {self.scale}: about {_lasts(seconds)} on two quiet cores"

    @property
    def name(self) -> str:
        """What the first of its networks is called, as by `find_records`."""
        return f"{self.study} · {self.variants[0]} · {self.scale}"


def _lasts(seconds: float) -> str:
    return f"{max(5, round(seconds / 5) * 5)} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def find_records(study: Study, root: Path, file: str = WEIGHTS) -> dict[str, Record]:
    """{its name: a run} of the networks of a study: of every scale and variant the latest run below `root` that kept
    its network in `file`, then those that come with the demos."""
    fields = {f.name for f in dataclasses.fields(study.config)}
    names = {variant.name for variant in study.variants}
    paths = [*_newest_first(root / study.name, file), *_newest_first(TRAINED / study.name, file)]
    found: dict[str, Record] = {}
    for path in paths:
        try:
            if not is_finished(path.parent):
                continue
            record = read(path.parent)
        except (Problem, OSError):
            continue  # damaged: no network to show, and no reason to show no other
        spec = record.spec
        if spec.revision == study.revision and spec.config.keys() == fields and spec.variant in names:
            found.setdefault(f"{study.name} · {spec.variant} · {origin(record)}", record)
    return found


def _newest_first(folder: Path, file: str) -> list[Path]:
    return sorted(folder.glob(f"*/*/*/{file}"), key=lambda path: path.stat().st_mtime, reverse=True)


def is_shipped(record: Record) -> bool:
    return record.folder.is_relative_to(TRAINED)


def origin(record: Record) -> str:
    """The scale of a run of the user's own, or that it comes with études."""
    return ALONG if is_shipped(record) else record.spec.scale


def first_choice(records: Mapping[str, Record], offers: Sequence[Offer]) -> str | None:
    """The name of the network to begin with; None without any.

    That is one of the variants on offer before any other, the user's own before a shipped one, the larger scale before
    the smaller; one of a smoke scale, which has learnt nothing, is the last.
    """
    variants = {(offer.study, variant) for offer in offers for variant in offer.variants}

    def rank(name: str) -> tuple[bool, bool, bool, float]:
        spec, shipped = records[name].spec, is_shipped(records[name])
        seconds = pace.of(spec.study, spec.scale, spec.variant).seconds
        return spec.scale == "smoke", (spec.study, spec.variant) not in variants, shipped, -seconds

    return min(records, key=rank, default=None)


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
    about = f"Loaded: {spec.study}, variant {spec.variant}, scale {spec.scale}, seed {spec.seed}"
    about += f"; it {ALONG}." if is_shipped(record) else "."
    size = f" {record.metrics['parameters']:,.0f} parameters." if "parameters" in record.metrics else ""
    value = f" {words}: {record.metrics[metric]:.3g}." if metric in record.metrics else ""
    terms = f" ({data['licence']})" if "licence" in data else ""
    return f"{about}{size}{value} Trained on {data.get('dataset', spec.config.get('dataset', 'nothing'))}{terms}."


class Training:
    """One training at a time, for all demos and pages: `etudes run` in a process of its own, which may be stopped and
    goes on from where it was. It ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._stopped = False
        self._plan: list[Spec] = []
        self._root = Path()
        self.offer: Offer | None = None  # that is being trained, or was last
        self.begun = self._lasted = 0.0  # time of the clock; seconds
        atexit.register(self.stop)

    def start(self, offer: Offer, root: Path) -> None:
        """Begin. Raises Problem while another training is under way."""
        study = catalogue.find(offer.study)
        with self._lock:
            if self.running:
                raise Problem("another network is being trained; wait for it, or stop it")
            self._plan, seeds = _rest(study, offer, root)
            command = [sys.executable, "-m", "etudes.web.demos.leash", "run", study.name, "--scale", offer.scale]
            command += ["--variants", ",".join(offer.variants), "--seeds", str(seeds), "--root", str(root.absolute())]
            self._output = tempfile.TemporaryFile()  # noqa: SIM115, closed with the next training
            self._stopped, self._root, self.offer, self.begun = False, root, offer, time.time()
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=self._output, stderr=subprocess.STDOUT
            )

    @property
    def running(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        self._lasted = time.time() - self.begun
        if self._lasted > LONGEST:
            self.stop()
        return True

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._stopped = True
            self._process.send_signal(signal.SIGTERM)

    def progress(self) -> tuple[float, float]:
        """The share that is done, in [0, 1), and the seconds left, about."""
        assert self.offer is not None
        return pace.progress(self._plan, self._root, self.begun, self.offer.together)

    def message(self) -> str:
        """How far it is, or how it ended, as HTML; "" where nothing was trained yet."""
        if self.offer is None:
            return ""
        if self.running:
            done, left = self.progress()
            words = f"training {self.offer.study}: {100 * done:.0f} %, about {_lasts(left)} left"
            return _bar(words, done)
        return _bar(self.failure() or f"trained in {self._lasted:.0f} s", 0.0 if self.failure() else 1.0)

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
    """The runs to make and the number of seeds that brings them about: the first seed that is not finished.

    Of a scale whose data may be out of reach these are the runs with its own data or those with what stands in.
    """
    from etudes.train.precision import resolve

    how = {"precision": resolve(study, "auto"), "variants": offer.variants}
    for seeds in range(1, 1000):
        plans = [study.plan(offer.scale, seeds=seeds, offline=offline, **how) for offline in (False, True)]
        last = [[spec for spec in plan if spec.seed == seeds - 1] for plan in plans]
        if not any(all(is_finished(root / spec.key) for spec in plan) for plan in last):
            return [spec for plan in last for spec in plan], seeds
    raise Problem(f"a thousand seeds of {study.name} are finished in {root}; choose another variant")


Known = Callable[[], dict[str, Record]]
About = Callable[[str | None], str]


def chooser(known: Known, about: About, offers: Sequence[Offer]) -> tuple[gr.Dropdown, gr.HTML]:
    """The trained networks to choose from, and the line about the chosen one."""
    records = known()
    first = first_choice(records, offers)
    return gr.Dropdown(list(records), value=first, label="Network"), gr.HTML(about(first))


def renew(
    page: gr.Blocks, known: Known, about: About, model: gr.Dropdown, line: gr.HTML, offers: Sequence[Offer], root: Path
) -> None:
    """A panel that trains, and a chooser that is up to date when the page is opened and after each training, of which
    it then shows the network."""

    def select(name: str | None) -> tuple[Any, str]:
        return gr.update(choices=list(known()), value=name), about(name)

    def open_page() -> tuple[Any, str]:
        return select(first_choice(known(), offers))

    def take(trained: tuple[float, str], shown: str | None) -> tuple[Any, str]:
        return select(trained[1] if trained[1] in known() else shown)

    trained = panel(offers, root, not known())
    model.change(explain(about), model, line, show_progress="hidden")
    trained.change(take, [trained, model], [model, line], show_progress="hidden")
    page.load(open_page, None, [model, line], show_progress="hidden")


def panel(offers: Sequence[Offer], root: Path, open: bool) -> gr.State:
    """A part of the page that trains one of the offers, and shows whatever is being trained on any page.

    What it returns changes as soon as a training has ended well that this page has shown: (when it had begun, the
    name of its first network).
    """
    by_words = {offer.words: offer for offer in offers}

    def watch(seen: float) -> tuple[Any, ...]:
        if TRAINING.running:
            return TRAINING.message(), gr.update(visible=True), TRAINING.begun, gr.skip()
        if not seen or TRAINING.offer is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        ended = gr.skip() if TRAINING.failure() else (TRAINING.begun, TRAINING.offer.name)
        return TRAINING.message(), gr.update(visible=False), 0.0, ended

    @explain
    def begin(words: str) -> tuple[Any, ...]:
        if words not in by_words:
            raise unknown("training", words, by_words)
        TRAINING.start(by_words[words], root)
        return watch(TRAINING.begun)

    with gr.Accordion("Train a network of your own", open=open):
        gr.HTML(
            '<p class="soft">It runs on this machine by <code>etudes run</code>, is kept with your other runs, '
            "and goes on where it was when stopped.</p>"
        )
        choice = gr.Radio(list(by_words), value=next(iter(by_words)), label="Which")
        start = gr.Button("Train", variant="primary")
    status = gr.HTML()
    stop = gr.Button("Stop the training", visible=False)
    seen, trained = gr.State(0.0), gr.State((0.0, ""))  # when the training had begun that this page shows
    shown = [status, stop, seen, trained]
    # Through the queue, though neither waits: without it Gradio tells nobody that a State has changed.
    start.click(begin, choice, shown, show_progress="hidden", concurrency_limit=None)
    stop.click(TRAINING.stop, queue=False)
    gr.Timer(1).tick(watch, seen, shown, show_progress="hidden", concurrency_limit=None)
    return trained


def _bar(words: str, done: float) -> str:
    return (
        f'<p class="training">{escape(words)}</p>'
        f'<progress max="1" value="{done:.3f}" aria-label="{escape(words)}"></progress>'
    )
