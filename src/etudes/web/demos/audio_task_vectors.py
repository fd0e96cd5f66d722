"""Task vectors as sliders: what a network gets right when they are added to its weights or taken away from them."""

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from safetensors.torch import load_file
from torch import Tensor

from etudes.core import catalogue
from etudes.core.record import Record
from etudes.studies.adapt.audio_task_vectors import findings
from etudes.studies.adapt.audio_task_vectors.examples import Examples
from etudes.studies.adapt.audio_task_vectors.networks import FEATURES, Ear, Listener
from etudes.train.arithmetic import minus, plus, put, scaled
from etudes.web.demos import look, networks, ship

STUDY = "audio-task-vectors"
SLIDERS = {"high": ("digits 5 to 9", -1.5), "sounds": ("sounds", 0.0), "pitch": ("pitch of notes", 0.0)}  # least
MOST = 1.5  # of every coefficient
TASKS = {"low": "Digits 0 to 4", "high": "Digits 5 to 9", "sounds": "Sounds", "pitch": "Pitch of notes",
         "family": "Family of notes"}  # fmt: skip
PLACES = {"The base": (0.0, 0.0, 0.0), "Forget the digits 5 to 9": (-1.0, 0.0, 0.0),
          "Learn sounds and pitch": (0.0, 1.0, 1.0), "Add all three": (1.0, 1.0, 1.0)}  # fmt: skip
NONE = "No network comes along that fits the study as it is now."


@dataclass(frozen=True, eq=False)
class Bench:
    """A network to put weights into, the base's weights, the vectors by name, and what all are tested on."""

    net: Listener
    base: dict[str, Tensor]
    vectors: dict[str, dict[str, Tensor]]
    examples: Examples

    def weights(self, coefficients: Sequence[float]) -> dict[str, Tensor]:
        """The base's weights, and to them each vector times its coefficient."""
        parts = zip(self.vectors.values(), coefficients, strict=True)
        return plus(self.base, *(scaled(vector, c) for vector, c in parts))

    def scores(self, coefficients: Sequence[float]) -> dict[str, float]:
        """{task: accuracy} of the network with these weights."""
        net = copy.deepcopy(self.net)  # of its own, as several may ask at once
        put(net.body, self.weights(coefficients))
        found = findings.accuracies(net, self.examples, "test", ("digits", "sounds", "pitch", "family"))
        return {task: found[task] for task in TASKS}


def find(root: Path) -> Record | None:
    """The base that comes along; runs of one's own keep no networks tuned from it beside it."""
    found = networks.find_records(catalogue.find(STUDY), root / "none")
    return next((record for record in found.values() if record.spec.variant == "base"), None)


@functools.lru_cache(maxsize=2)
def bench(folder: Path, width: int) -> Bench:
    """What lies in the folder, in full precision."""
    fixed = load_file(folder / "fixed.safetensors")
    net = Listener(Ear(width), FEATURES, 1.0, fixed["mean"], fixed["std"])
    net.heads.copy_(fixed["heads"])
    base = _floats(folder / networks.WEIGHTS)
    vectors = {name: minus(_floats(folder / f"tuned-{name}.safetensors"), base) for name in SLIDERS}
    return Bench(net.eval(), base, vectors, ship.read_heard(folder))


def _floats(path: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def formula(coefficients: Sequence[float]) -> str:
    """The weights in words, without what is times zero."""
    parts = zip(SLIDERS.values(), coefficients, strict=True)
    signs = {True: "plus", False: "minus"}
    terms = (f", {signs[c > 0]} {abs(c):.2f} times the vector of {name}" for (name, _), c in parts if c)
    return f"Weights: those of the base{''.join(terms)}."


def draw(scores: Mapping[str, float], base: Mapping[str, float]) -> str:
    """Two bars a task: what the network has with the weights of the sliders, and below it what the base has."""
    rows = []
    for task, name in TASKS.items():
        now, before = 100 * scores[task], 100 * base[task]
        rows.append(
            f'<span>{name}</span><span class="bar"><i style="width:{now:.1f}%"></i></span>'
            f'<span class="n">{now:.0f} %</span><span class="soft">base</span><span class="bar" style="height:.5rem">'
            f'<i style="width:{before:.1f}%;background:var(--soft)"></i></span>'
            f'<span class="n soft">{before:.0f} %</span>'
        )
    caption = '<p class="soft">Share of the test recordings that are named rightly</p>'
    return f'{caption}<div class="bars">{"".join(rows)}</div>'


def tell(scores: Mapping[str, float], base: Mapping[str, float]) -> str:
    """What changed most, in words."""
    points = {task: round(100 * scores[task]) - round(100 * base[task]) for task in TASKS}
    up, down = max(points, key=lambda task: points[task]), min(points, key=lambda task: points[task])
    words = []
    if points[up] > 0:
        words.append(f"most gained: {TASKS[up]}, {points[up]} points")
    if points[down] < 0:
        words.append(f"most lost: {TASKS[down]}, {-points[down]} points")
    return f"Beside the base {'; '.join(words)}." if words else "All as the base has it."


def build(root: Path) -> gr.Blocks:
    @look.explain
    def show(*coefficients: float) -> tuple[str, str]:
        record = find(root)
        if record is None:
            return look.loading_note(NONE), ""
        least = [low for _, low in SLIDERS.values()]
        asked = [min(max(float(c or 0), low), MOST) for c, low in zip(coefficients, least, strict=True)]
        ready = bench(record.folder, record.spec.config["width"])
        scores, base = ready.scores(asked), ready.scores((0.0,) * len(asked))
        return look.loading_note(f"{formula(asked)} {tell(scores, base)}"), draw(scores, base)

    with gr.Blocks(title="Sliders for task vectors") as page:
        look.title(
            "Sliders for task vectors",
            "A network knows digits, sounds and notes a little. Tuning it on one task moves its weights: this move is "
            "the task's vector. Add vectors to the network, or take one away, and see what it then gets right. Nothing "
            "is trained while you do.",
        )
        with gr.Row():
            with gr.Column(min_width=280, scale=2):
                sliders = [
                    gr.Slider(low, MOST, 0.0, step=0.05, label=f"Times the vector of {name}")
                    for name, low in SLIDERS.values()
                ]
            with gr.Column(min_width=300, scale=3):
                line, drawn = gr.HTML(), gr.HTML(min_height=330)
        with gr.Row():
            buttons = {name: gr.Button(name, min_width=200) for name in PLACES}
        gr.HTML(f'<p class="soft">{escape(about(find(root)))}</p>')
        shown: dict[str, Any] = {"show_progress": "hidden"}
        for slider in sliders:
            slider.change(show, sliders, [line, drawn], trigger_mode="always_last", concurrency_limit=2, **shown)
        for name, button in buttons.items():
            button.click(functools.partial(list, PLACES[name]), None, sliders, queue=False, **shown)
        page.load(show, sliders, [line, drawn], **shown)
    return page


def about(record: Record | None) -> str:
    """What the network is, what it hears and what it is tested on."""
    if record is None:
        return NONE
    counts = ", ".join(f"{count} {kind}" for kind, count in ship.HEARD.items())
    terms = " and ".join(f"{source['dataset']} ({source['licence']})" for source in ship.sources(record))
    size = sum(tensor.numel() for tensor in bench(record.folder, record.spec.config["width"]).base.values())
    return (
        f"The network: {STUDY}, variant {record.spec.variant}, seed {record.spec.seed}, {size:,} parameters; it "
        f"{networks.ALONG}. Trained on {terms}, and on notes. All recordings are made, not spoken: the digits are ten "
        f"made-up words by made-up voices. The test: {counts}; by guessing one names a tenth of digits and sounds. "
        "The base heard two fifths of the recordings to learn from, and two of five voices; tuning heard all of them."
    )
