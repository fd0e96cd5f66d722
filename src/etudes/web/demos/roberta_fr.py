"""French sentences with gaps, and what a small RoBERTa would write into them, with its odds."""

import functools
import re
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.data.tokens import Tokenizer
from etudes.nn.roberta import Roberta
from etudes.studies.language.roberta_fr import load_network
from etudes.studies.language.roberta_fr.cloze import GAP, complete
from etudes.web.demos import look, networks
from etudes.web.demos.networks import Offer

STUDY = "roberta-fr"
OFFERS = (Offer(STUDY, "laptop", ("tiny",)), Offer(STUDY, "laptop", ("half-tiny",)))
EXAMPLES = (
    "Il ouvrit la <mask> et sortit.",
    "Elle ne savait <mask> que faire.",
    "Les deux hommes <mask> dans la rue.",
    "Je vous <mask> de venir demain.",
    "Au bout d'une <mask>, il revint.",
)
MOST, GAPS, BEST = 200, 3, 5  # characters of a text, gaps in it, pieces that are shown for each
BITS = "test/bits"
NONE = "No network is trained yet: train one below."
SHORT = re.compile(r"(?:\.{3}|…|_{2,}|<masque>)")  # what people write for a gap


@functools.lru_cache(maxsize=4)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> tuple[Roberta, Tokenizer]:
    return load_network(catalogue.find(STUDY).config(**dict(values)), folder)


def network(record: Record) -> tuple[Roberta, Tokenizer]:
    """(encoder, its tokenizer) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


def readers(root: Path) -> dict[str, Record]:
    """{its name: a run} of the encoders that have read."""
    return networks.find_records(catalogue.find(STUDY), root)


def sentence_of(text: str) -> str:
    """The text with each of its gaps as <mask>. Raises Problem on one without a gap, with too many, or too long."""
    sentence = " ".join(SHORT.sub(GAP, look.limit(text, MOST)).split())
    count = sentence.count(GAP)
    if not count:
        raise Problem(f"there is no gap yet; write {GAP} or ... where a word is to be told")
    if count > GAPS:
        raise Problem(f"the sentence has {count} gaps; leave at most {GAPS}")
    return sentence


def fill(record: Record, text: str) -> str:
    """As HTML: the sentence with the likeliest pieces in its gaps, and for each gap the five likeliest with odds."""
    sentence = sentence_of(text)
    told = complete(*network(record), sentence, BEST)
    around = [escape(part, quote=False) for part in sentence.split(GAP)]
    # A piece brings the space before it along; `complete` takes that of the sentence away.
    likeliest = [f"<mark>{escape(best[0][0])}</mark>" for best in told]
    filled = "".join(f"{part.removesuffix(' ')}{piece}" for part, piece in zip(around, [*likeliest, ""], strict=True))
    head = f'<p class="kind">With the likeliest pieces</p><p class="answer" lang="fr">{filled}</p>'
    bars = "".join(look.bars(_names(best), _caption(i, len(told))) for i, best in enumerate(told, 1))
    return f'<div class="turn" role="status">{head}</div>{bars}'


def _names(best: list[tuple[str, float]]) -> dict[str, float]:
    """{the piece, with a hyphen before it where it goes on with a word: its odds}."""
    return {piece.strip() or "space" if piece.startswith(" ") else f"-{piece}": odds for piece, odds in best}


def _caption(i: int, gaps: int) -> str:
    return "Odds of the five likeliest pieces" + (f", gap {i} of {gaps}" if gaps > 1 else "")


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return readers(root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note(NONE)
        return look.loading_note(networks.describe(record, BITS, "Bits for a hidden piece of unseen novels"))

    @look.explain
    def show(chosen: str | None, text: str | None) -> str:
        return fill(networks.choose(list_records(), chosen), text or "")

    def begin(chosen: str | None, text: str | None) -> Any:
        return show(chosen, text) if chosen else ""  # nothing is trained yet, as the line above says

    with gr.Blocks(title="Fill the gap") as page:
        look.title(
            "Fill the gap",
            "A network that has read French novels with pieces of them hidden tells what belongs into a gap, from what "
            "stands before it and behind it. Type a sentence, with <mask> or three dots where a word is missing.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        with gr.Row():
            text = gr.Textbox(EXAMPLES[0], label="French sentence with a gap", max_length=MOST, scale=4)
            start = gr.Button("Fill", variant="primary", scale=1)
        gr.Examples([[example] for example in EXAMPLES], text, label="Sentences to try")
        shown = gr.HTML(min_height=240)
        how = {"show_progress_on": [shown], "concurrency_limit": 2}
        gr.on([start.click, text.submit], show, [model, text], shown, **how)
        gr.on([page.load, model.change], begin, [model, text], shown, show_progress="hidden")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
