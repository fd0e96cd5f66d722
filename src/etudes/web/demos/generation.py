"""Language networks that go on with a text: two settings side by side, and the odds of every piece."""

import functools
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor, nn

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.generate import sampling
from etudes.web.demos import look, networks
from etudes.web.demos.networks import Offer

STUDIES = ("char-lstm", "word-lstm", "llama-fr")
PROMPT, LENGTH, BEAMS = 500, 400, 16  # most characters of a prompt, tokens written, beginnings kept
SECONDS = 60.0  # after which writing stops
LIKELY = 5  # other pieces told of each
BEGINNINGS = {  # in the language of what a network has read, by its text set
    "shakespeare": "ROMEO:\n",
    "dickinson": "Hope is the thing",
    "python": "def main(",
    "eltec-fra": "Il était une fois",
}
SHADE = 0.45  # of a piece that was most improbable: the text stays readable
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
OFFERS = (
    Offer("char-lstm", "laptop", ("lstm-2",)),
    Offer("word-lstm", "laptop", ("words",)),
    Offer("llama-fr", "laptop", ("llama",)),
)
WAYS = {
    "drawn as it is": "every piece by its probability",
    "temperature": "less surprising below 1, more above",
    "top k": "from the k most probable pieces alone",
    "nucleus": "from the most probable pieces that reach p together",
    "greedy": "always the most probable piece",
    "beam search": "the most probable whole of several kept",
}


@dataclass(frozen=True)
class Piece:
    """What one token, or several that make one character, added to the text."""

    text: str
    probability: float  # that the network gave it, before any setting changed the odds
    rank: int  # 1: the most probable
    others: tuple[tuple[str, float], ...]  # the most probable pieces and their probabilities


@dataclass(frozen=True)
class Setting:
    way: str
    temperature: float = 0.8
    k: int = 10
    p: float = 0.95
    width: int = 4

    def choose(self, seed: int) -> sampling.Choose:
        """How the next token is chosen from the logits. Raises Problem on impossible numbers."""
        if self.way not in WAYS:
            raise Problem(f"there is no way of writing called '{self.way}'; take one of {', '.join(WAYS)}")
        generator = torch.Generator().manual_seed(seed)
        if self.way == "greedy":
            return sampling.choice(0)
        return sampling.choice(
            self.temperature if self.way == "temperature" else 1.0,
            self.k if self.way == "top k" else 0,
            self.p if self.way == "nucleus" else 1.0,
            generator,
        )


def pieces(model: nn.Module, tokenizer: Any, prompt: str, length: int, setting: Setting, seed: int) -> Iterator[Piece]:
    """The `length` tokens after the prompt, with their odds; bytes that make no character yet wait for the next."""
    tokens = torch.tensor([[tokenizer.start, *tokenizer.encode(prompt)]])
    choose = setting.choose(seed)
    if setting.way == "beam search":
        if not 1 <= setting.width <= BEAMS:
            raise Problem(f"a beam search here keeps 1 to {BEAMS} beginnings, not {setting.width}")
        best = iter(sampling.beam(model, tokens, length, setting.width)[0][0])
        choose = lambda logits: next(best)[None]  # noqa: E731, what was found, walked through again for its odds
    seen: list[Tensor] = []

    def remember(logits: Tensor) -> Tensor:
        seen.append(logits[0].float().softmax(-1))
        return choose(logits)

    ids = tokens[0].tolist()
    shown, waiting = tokenizer.decode(ids), 1.0
    for token in sampling.stream(model, tokens, length, remember):
        number, odds = int(token.item()), seen.pop()
        ids.append(number)
        text = tokenizer.decode(ids)
        waiting *= odds[number].item()
        if text.endswith(UNREADABLE):
            continue
        likely, which = odds.topk(min(LIKELY, len(odds)))
        names = (_name(tokenizer, ids[:-1], i) for i in which.tolist())
        others = tuple(zip(names, likely.tolist(), strict=True))
        yield Piece(text[len(shown) :], waiting, 1 + int((odds > odds[number]).sum()), others)
        shown, waiting = text, 1.0


def _name(tokenizer: Any, before: Sequence[int], token: int) -> str:
    """What the token adds behind the last few."""
    known = list(before[-8:])
    return tokenizer.decode([*known, token])[len(tokenizer.decode(known)) :].replace(UNREADABLE, "part of a character")


def write_html(prompt: str, found: Sequence[Piece]) -> str:
    """The prompt and the pieces as HTML: the improbable ones shaded, the odds of the chosen one below, a table of all.

    ODDS makes a piece the chosen one, by pointer, tap or arrow keys.
    """
    marks, rows = [], []
    for piece in found:
        others = ", ".join(f"{_visible(text)} {100 * odds:.1f} %" for text, odds in piece.others)
        about = f"{_visible(piece.text)}: {100 * piece.probability:.2f} %, number {piece.rank}. Most probable: {others}"
        doubt = SHADE * (1 - piece.probability) ** 2
        marks.append(f'<span data-odds="{escape(about)}" style="--doubt:{doubt:.2f}">{escape(piece.text)}</span>')
        rows.append(
            f"<tr><td>{escape(_visible(piece.text))}</td><td class=n>{100 * piece.probability:.2f} %</td>"
            f"<td class=n>{piece.rank}</td><td>{escape(others)}</td></tr>"
        )
    text = f'<span class="given">{escape(prompt)}</span>{"".join(marks)}'
    if not found:
        return f'<div class="told">{text}</div>'
    table = (
        '<details class="plain"><summary>All pieces as a table</summary>'
        '<div class="scroll whole" tabindex="0" role="region" aria-label="All pieces">'
        "<table class=plain><thead><tr><th>piece</th><th>probability</th><th>rank</th><th>most probable</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )
    return (
        f'<div class="told" tabindex="0" role="group" aria-label="The text; arrow keys go from piece to piece">{text}'
        f'</div><p class="odds" role="status">Choose a piece for its odds.</p>{table}'
    )


ODDS = """
const choose = (piece) => {
  if (!piece) return;
  element.querySelector(".chosen")?.classList.remove("chosen");
  piece.classList.add("chosen");
  element.querySelector(".odds").textContent = piece.dataset.odds;
};
const piece = (event) => event.target.closest?.("[data-odds]");
element.addEventListener("pointerover", (event) => choose(piece(event)));
element.addEventListener("click", (event) => choose(piece(event)));
element.addEventListener("keydown", (event) => {
  const pieces = [...element.querySelectorAll("[data-odds]")];
  const at = pieces.findIndex((one) => one.classList.contains("chosen"));
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: pieces.length - 1 }[event.key];
  if (to === undefined || !event.target.closest(".told")) return;
  event.preventDefault();
  choose(pieces[Math.max(0, to)]);
});
"""


def _visible(text: str) -> str:
    return {" ": "space", "\n": "end of line", "": "nothing"}.get(text, text.replace("\n", "↵"))


@functools.lru_cache(maxsize=3)
def network(folder: Path, study: str, config: tuple[tuple[str, Any], ...]) -> tuple[nn.Module, Any]:
    """(network, tokenizer) of a run's folder."""
    found = catalogue.find(study)
    assert found.generator is not None
    return found.generator(found.config(**dict(config)), folder)


def restore(record: Record) -> tuple[nn.Module, Any]:
    return network(record.folder, record.spec.study, tuple(record.spec.config.items()))


def side_by_side(
    record: Record, prompt: str, length: int, settings: Sequence[Setting], seed: int
) -> Iterator[list[str]]:
    """The HTML of each setting's text, again and again while they are written, at most SECONDS long."""
    model, tokenizer = restore(record)
    if not 1 <= length <= LENGTH:
        raise Problem(f"the demo writes 1 to {LENGTH} pieces, not {length}")
    streams = [pieces(model, tokenizer, prompt, length, setting, seed) for setting in settings]
    found: list[list[Piece]] = [[] for _ in streams]
    begun = last = time.monotonic()
    for step in itertools.zip_longest(*streams):
        for some, piece in zip(found, step, strict=True):
            some.extend([piece] if piece else [])
        now = time.monotonic()
        if now - last > 0.15:
            last = now
            yield [write_html(prompt, some) for some in found]
        if now - begun > SECONDS:
            break
    yield [write_html(prompt, some) for some in found]


def best_first(records: dict[str, Record]) -> list[tuple[str, Record]]:
    return sorted(records.items(), key=lambda named: named[1].metrics.get("test/bits-per-byte", math.inf))


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return {
            name: run
            for study in STUDIES
            for name, run in best_first(networks.find_records(catalogue.find(study), root))
        }

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        words = networks.describe(record, "test/bits-per-byte", "Test bits per byte") if record else NONE
        return look.loading_note(words)

    def begin(name: str | None, prompt: str) -> str:
        """The network's own beginning in place of another's; what somebody wrote stays."""
        record = list_records().get(name or "")
        fitting = BEGINNINGS.get(str(record.spec.config["dataset"]), "") if record else ""
        return fitting if fitting and prompt in ("", *BEGINNINGS.values()) else prompt

    @look.explain
    def write(name: str, prompt: str, length: float, seed: float, *values: Any) -> Iterator[list[str]]:
        record = networks.choose(list_records(), name)
        settings = [Setting(way, t, int(k), p, int(width)) for way, t, k, p, width in (values[:5], values[5:])]
        yield from side_by_side(record, look.limit(prompt or "", PROMPT), int(length), settings, int(seed))

    with gr.Blocks(title="Language networks write") as page:
        look.title(
            "Language networks write",
            "One network, one beginning, two ways of choosing what comes next, piece by piece (a piece is a token: a "
            "letter, a word or a part of one). Blue marks what surprised the network; point at a piece, tap it, or go "
            "there by arrow keys for its odds.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        prompt = gr.Textbox(BEGINNINGS["shakespeare"], label="Beginning", lines=2, max_length=PROMPT)
        with gr.Row():
            length = gr.Slider(20, LENGTH, 160, step=10, label="Pieces to write")
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Seed of the draws")
        with gr.Row():
            left, right = _setting("A", "temperature"), _setting("B", "nucleus")
        with gr.Row():
            start = gr.Button("Write", variant="primary")
            stop = gr.Button("Stop")
        with gr.Row():
            shown = [_column(name) for name in ("A", "B")]
        values = [model, prompt, length, seed, *left, *right]
        running = start.click(write, values, shown, show_progress="minimal", concurrency_limit=2)
        stop.click(None, cancels=[running])
        gr.on([page.load, model.change], begin, [model, prompt], prompt, show_progress="hidden")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


NONE = "No network is trained yet: train one below; the small ones take seconds."


def _column(name: str) -> gr.HTML:
    with gr.Column(min_width=300):
        gr.HTML(f'<p class="soft">{name}</p>')
        return gr.HTML(write_html("", []), js_on_load=ODDS)


def _setting(name: str, way: str) -> list[gr.components.Component]:
    """Way, temperature, k, p and width of one side; only what the way reads is shown."""
    with gr.Column(min_width=280):
        ways = gr.Dropdown(list(WAYS), value=way, label=f"{name}: way of choosing", info=WAYS[way])
        sliders = [
            gr.Slider(0.1, 2, 0.8, step=0.05, label=f"{name}: temperature", visible=way == "temperature"),
            gr.Slider(1, 100, 10, step=1, label=f"{name}: k", visible=way == "top k"),
            gr.Slider(0.05, 1, 0.95, step=0.05, label=f"{name}: p", visible=way == "nucleus"),
            gr.Slider(1, BEAMS, 4, step=1, label=f"{name}: beginnings kept", visible=way == "beam search"),
        ]

    def show(chosen: str) -> list[Any]:
        names = ("temperature", "top k", "nucleus", "beam search")
        return [gr.update(info=WAYS.get(chosen, "")), *(gr.update(visible=chosen == name) for name in names)]

    ways.change(show, ways, [ways, *sliders], show_progress="hidden", queue=False)
    return [ways, *sliders]
