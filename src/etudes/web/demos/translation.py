"""An English sentence in French, by a network that looks back at it and by one that cannot; and what was looked at."""

import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.record import read as read_record
from etudes.data.tokens import Tokenizer
from etudes.studies.language.translation import load_network
from etudes.studies.language.translation.decoding import attention_of, translate
from etudes.studies.language.translation.networks import Translator
from etudes.studies.language.translation.scores import words
from etudes.web.demos import look, networks, ship
from etudes.web.demos.networks import Offer

STUDY = "translation"
WITHOUT = "none"  # the variant that has no attention
OFFERS = (Offer(STUDY, "laptop", ("luong", WITHOUT)),)
FIRST = "He is always late."
MOST = 120  # characters of a sentence
UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what part of a character's bytes decode to
BLEU = "test/bleu-1"
NONE = "No network is trained yet: train two below; it takes a minute."
LAST = (
    "Each piece is read after all those before it: what the network made of the last one holds something of the whole "
    "sentence, so that looking there is no mistake."
)
CREDIT = (
    'Sentences: <a href="https://tatoeba.org">Tatoeba</a> and its contributors, '
    '<a href="https://creativecommons.org/licenses/by/2.0/fr/">CC BY 2.0 FR</a>, as packed by manythings.org.'
)


@functools.lru_cache(maxsize=4)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> tuple[Translator, Tokenizer]:
    return load_network(catalogue.find(STUDY).config(**dict(values)), folder)


def network(record: Record) -> tuple[Translator, Tokenizer]:
    """(network, its tokenizer) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


@functools.lru_cache(maxsize=4)
def _words(folder: Path) -> frozenset[str]:
    return frozenset(ship.english_words(read_record(folder)))


def attention_networks(root: Path) -> dict[str, Record]:
    """{its name: a run} of the networks that have attention."""
    found = networks.find_records(catalogue.find(STUDY), root)
    return {name: record for name, record in found.items() if record.spec.variant != WITHOUT}


def plain_network(root: Path, record: Record) -> Record | None:
    """The network without attention that belongs to one that has it; None where none is trained."""
    found = networks.find_records(catalogue.find(STUDY), root)
    return found.get(f"{STUDY} · {WITHOUT} · {networks.origin(record)}")


def whole_pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> tuple[list[str], list[slice]]:
    """The pieces of text that the tokens spell, and which tokens spell each: one, but for letters of several bytes."""
    texts, places, start = [], [], 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[start:end])
        if UNREADABLE not in text or end == len(tokens):
            texts.append(text)
            places.append(slice(start, end))
            start = end
    return texts, places


def pieces_of_attention(
    model: Translator, tokenizer: Tokenizer, sentence: str
) -> tuple[str, list[str], list[str], Tensor]:
    """(translation, the pieces read, the pieces written and the end, weights [written, read]) of a sentence.

    The weights of tokens that make one letter together are added over what is read, and averaged over what is written.
    """
    source = tokenizer.encode(f" {sentence}")
    weights, target = attention_of(model, source, tokenizer.start)
    across, columns = whole_pieces(tokenizer, source)
    down, rows = whole_pieces(tokenizer, target)
    weights = torch.stack([weights[:, place].sum(1) for place in columns], 1)
    weights = torch.stack([weights[place].mean(0) for place in (*rows, slice(len(target), len(target) + 1))])
    return tokenizer.decode(target).strip(), across, [*down, "(end)"], weights


def sentence_of(text: str) -> str:
    """What is translated of what was typed. Raises Problem where that is nothing, or too much."""
    sentence = " ".join(look.limit(text, MOST).split())
    if not sentence:
        raise Problem("there is no sentence yet; type an English one")
    return sentence


def read(record: Record, other: Record | None, text: str) -> str:
    """As HTML: a sentence in French by the network and, where there is one, by that without attention; the words that
    neither has met; and what the first looked at."""
    sentence = sentence_of(text)
    french, across, down, weights = pieces_of_attention(*network(record), sentence)
    lines = [("With attention", french)]
    if other:
        model, tokenizer = network(other)
        (tokens,) = translate(model, [tokenizer.encode(f" {sentence}")], tokenizer.start)
        lines.append(("Without attention", tokenizer.decode(tokens).strip()))
    says = "".join(
        f'<p class="kind">{name}</p><p class="answer" lang="fr">{escape(line) or "(nothing)"}</p>'
        for name, line in lines
    )
    told = f'<div class="turn" role="status">{says}{_unmet_words(record, sentence)}</div>'
    return told + _looks(across, down, weights)


def _unmet_words(record: Record, sentence: str) -> str:
    known = _words(record.folder)
    strange = [word for word in dict.fromkeys(words(sentence)) if word not in known]
    if not strange:
        return '<p class="soft">It has met every word of the sentence, if not the sentence.</p>'
    return f"<p>It has never met: {escape(', '.join(strange))}. What it makes of that is a guess by its pieces.</p>"


def _looks(across: Sequence[str], down: Sequence[str], weights: Tensor) -> str:
    rows = weights.tolist()
    says = "Attention in hundredths: a row for each piece that is written, a column for each that is read"
    best = [(piece, across[i], f"{row[i]:.1%}") for piece, row, i in zip(down, rows, weights.argmax(1), strict=True)]
    heads = ("piece written", "piece looked at most", "share of attention")
    shown = [(piece.strip() or "space", at.strip() or "space", share) for piece, at, share in best]
    table = look.plain_table("Where it looked most, in words", heads, shown)
    return f'{look.heat_map(rows, down, across, says)}<p class="soft">{LAST}</p>{table}'


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return attention_networks(root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note(NONE)
        says = networks.describe(record, BLEU, "BLEU of one sentence, in per cent")
        other = plain_network(root, record)
        if other and BLEU in other.metrics:
            says += f" Of the one without attention: {other.metrics[BLEU]:.3g}."
        return look.loading_note(f"{says} Both are small, and much of what they write is wrong.")

    @look.explain
    def show(chosen: str | None, text: str | None) -> str:
        record = networks.choose(list_records(), chosen)
        return read(record, plain_network(root, record), text or "")

    def begin(chosen: str | None, text: str | None) -> Any:
        return show(chosen, text) if chosen else ""  # nothing is trained yet, as the line above says

    with gr.Blocks(title="Attention of a translation") as page:
        look.title(
            "Attention of a translation",
            "A network reads English and writes French. For each piece that it writes, one with attention looks back "
            "at the sentence, and the table shows where; one without must do with the last thing that it kept in mind.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        with gr.Row():
            text = gr.Textbox(
                FIRST,
                label="English sentence",
                info="A short one about somebody, such as “You're too young.” or “I'm proud of you.”",
                max_length=MOST,
                scale=4,
            )
            start = gr.Button("Translate", variant="primary", scale=1)
        shown = gr.HTML(min_height=300)
        how = {"show_progress_on": [shown], "concurrency_limit": 2}
        gr.on([start.click, text.submit], show, [model, text], shown, **how)
        gr.on([page.load, model.change], begin, [model, text], shown, show_progress="hidden")
        gr.HTML(f'<p class="soft credit">{CREDIT}</p>')
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
