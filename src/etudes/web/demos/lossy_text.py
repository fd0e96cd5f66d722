"""A sentence as a few bytes of its embedding, written anew from them, beside the same sentence packed without loss."""

import difflib
import functools
import re
from html import escape
from pathlib import Path

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.record import read as read_record
from etudes.measure.writing import marks
from etudes.retrieval.embedders import embedder
from etudes.studies.language.lossy_text import arithmetic
from etudes.studies.language.lossy_text.compressor import invert
from etudes.studies.language.lossy_text.training import pass_through
from etudes.studies.language.lossy_text.trial import zstd
from etudes.web.demos import look, networks
from etudes.web.demos.compressor import EXAMPLES, Compressor, compressor
from etudes.web.demos.networks import Offer

STUDY = "lossy-text"
WRITER = "float"  # the variant whose network writes for the codes of all others
OFFERS = (Offer(STUDY, "laptop", (WRITER, "lossless")),)  # the latter trains the model that packs without loss
LOSSLESS = 3  # rows of the table, before those of embeddings
MOST = 100  # characters of a sentence
F1 = "test/f1"
NONE = "No network is trained yet: train two below; it takes some minutes, most of them for embeddings."
CODED = "The embedding as it is, four bytes for each of its numbers"
NAMES = {
    "bits-8": "8 bits a number",
    "bits-4": "4 bits a number",
    "bits-2": "2 bits a number",
    "bits-1": "1 bit a number",
    "product-48": "the nearest of 16 for every 4 numbers",
    "product-12": "the nearest of 16 for every 16 numbers",
}
CREDIT = (
    'Trained on sentences of <a href="https://tatoeba.org">Tatoeba</a> and its contributors, '
    '<a href="https://creativecommons.org/licenses/by/2.0/fr/">CC BY 2.0 FR</a>, as packed by manythings.org.'
)


@functools.lru_cache(maxsize=2)
def _compressor(folder: Path) -> Compressor:
    return compressor(read_record(folder))


def inverters(root: Path) -> dict[str, Record]:
    """{its name: a run} of the networks that write from embeddings of sentences."""
    found = networks.find_records(catalogue.find(STUDY), root, "result.json")
    return {name: record for name, record in found.items() if record.spec.variant == WRITER}


def sentence_of(text: str) -> str:
    """What is compressed of what was typed. Raises Problem where that is nothing, or too much."""
    sentence = " ".join(look.limit(text, MOST).split())
    if not sentence:
        raise Problem("there is no sentence yet; type an English one")
    return sentence


def difference(text: str, back: str) -> str:
    """What came back, as HTML: parts that the text has not as inserted, parts of it that are lost as deleted."""
    ours, theirs = marks(text), marks(back)
    folded = [[part.lower() for part in parts] for parts in (ours, theirs)]
    found = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *folded, autojunk=False).get_opcodes():
        if kind == "equal":
            found.append(escape(" ".join(theirs[c:d])))
            continue
        found += [f"<del>{escape(' '.join(ours[a:b]))}</del>"] * (b > a)
        found += [f"<ins>{escape(' '.join(theirs[c:d]))}</ins>"] * (d > c)
    return re.sub(r" ([.,;:!?])", r"\1", " ".join(found))


def _packed(kit: Compressor, sentence: str) -> bytes:
    return arithmetic.encode(kit.language_model, [kit.tokenizer.encode(sentence)], kit.tokenizer.start)


def rows(record: Record, sentence: str) -> list[tuple[str, int, str]]:
    """(how the sentence is sent, its bytes, what comes back): first without loss, then by ever coarser codes."""
    kit = _compressor(record.folder)
    known = kit.known.get(sentence)
    e = embedder(record.spec.config["embedder"]).encode([sentence]) if known is None else known[None]
    found = [
        ("The sentence itself", len(sentence.encode()), sentence),
        (f"zstd, which has seen {len(kit.lines)} others", len(zstd([sentence], kit.lines)), sentence),
        ("A network's odds of each next piece, without loss", len(_packed(kit, sentence)), sentence),
        (CODED, e.nbytes, invert(kit.inverter, kit.tokenizer, e)[0]),
    ]
    for name, codec in kit.codecs.items():
        (back,) = invert(kit.inverter, kit.tokenizer, pass_through(codec, e))
        found.append((f"The embedding, {NAMES[name]}", codec.code_bytes, back))
    return found


def read(record: Record, text: str) -> str:
    """As HTML: a table of the ways to send a sentence, their bytes, and what comes back with the difference."""
    sentence = sentence_of(text)
    found = rows(record, sentence)
    least, whole = found[-1][1], len(sentence.encode())
    kept = sum(marks(back.lower()) == marks(sentence.lower()) for _, _, back in found[LOSSLESS:])
    told = (
        f"The sentence has {whole} bytes; without loss zstd makes {found[1][1]} of it and a network {found[2][1]}; the "
        f"coarsest code has {least}. Of {len(found) - LOSSLESS} embeddings {kept or 'none'} gave the very sentence "
        "back."
    )
    body = "".join(
        f'<tr><th scope="row">{escape(way)}</th><td class="n">{size:,}</td><td lang="en">{difference(sentence, back)}'
        "</td></tr>"
        for way, size, back in found
    )
    says = "Ways to send the sentence, the bytes of each, and what comes back"
    return (
        f'<p role="status">{escape(told)}</p><div class="scroll whole" tabindex="0" role="region" aria-label="{says}">'
        '<table class="plain sent"><thead><tr><th scope="col">sent as</th><th scope="col">bytes</th>'
        f'<th scope="col">what comes back</th></tr></thead><tbody>{body}</tbody></table></div>'
        '<p class="soft">Underlined: written, but not in the sentence. Struck out: lost. What both sides share is '
        "not counted: the networks, zstd's other sentences, and a code's tables.</p>"
    )


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return inverters(root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note(NONE)
        words = networks.describe(record, F1, "F1 of words that come back of a whole embedding")
        return look.loading_note(words)

    @look.explain
    def show(chosen: str | None, text: str | None) -> str:
        return read(networks.choose(list_records(), chosen), text or "")

    def begin(chosen: str | None, text: str | None) -> str:
        return show(chosen, text) if chosen else ""  # nothing is trained yet, as the line above says

    with gr.Blocks(title="Compress a sentence") as page:
        look.title(
            "Compress a sentence",
            "An embedding is a list of numbers that stands for what a sentence means. Send it in fewer and fewer bits, "
            "let a network write the sentence anew, and see what is lost, beside ways that lose nothing.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        with gr.Row():
            text = gr.Textbox(EXAMPLES[0], label="English sentence", info="A short one.", max_length=MOST, scale=4)
            start = gr.Button("Compress", variant="primary", scale=1)
        gr.Examples([[example] for example in EXAMPLES], text, label="Sentences to try")
        shown = gr.HTML(min_height=300)
        how = {"show_progress_on": [shown], "concurrency_limit": 2}
        gr.on([start.click, text.submit], show, [model, text], shown, **how)
        gr.on([page.load, model.change], begin, [model, text], shown, show_progress="hidden")
        gr.HTML(f'<p class="soft credit">{CREDIT}</p>')
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
