"""A line that is written, uploaded or typed, and how CTC makes a text of what a network says column by column."""

import functools
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from torch import Tensor

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.data.fonts import BUILT_IN, drawn_line, lacks
from etudes.data.lines import PAPER, lines_of, paste_pictures
from etudes.generate.ctc import beam
from etudes.studies.generative.ocr_ctc import Config
from etudes.studies.generative.ocr_ctc.findings import frame_logits, frames_read, read_lines, spell
from etudes.studies.generative.ocr_ctc.reader import Reader
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "ocr-ctc"
OFFERS = (Offer(STUDY, "laptop", ("strings",)), Offer(STUDY, "laptop", ("lstm",)))
WIDE, HIGH = 720, 200  # pixels of the pad
COLUMN = 30  # pixels of a frame, as it is shown
MOST = 16  # letters that are typed
MARGIN = 3  # pixels of paper before and behind what is written
FAINT = 0.35  # of the darkest ink; what is paler is paper
PREFIXES = 16  # of the search


@functools.lru_cache(maxsize=4)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> tuple[Reader, str, Config]:
    cfg = catalogue.find(STUDY).config(**dict(values))
    letters = (folder / "letters.txt").read_text(encoding="utf-8")
    shape = (cfg.height, len(letters) + 1, cfg.width, cfg.encoder, cfg.layers, cfg.fold, cfg.shortcut, cfg.stride)
    return weights.load(folder / networks.WEIGHTS, Reader(*shape)), letters, cfg


def network(record: Record) -> tuple[Reader, str, Config]:
    """(network, the letters that it knows, its config) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


def read_pad(value: dict[str, Any] | None) -> np.ndarray:
    """The pad's picture in grey, uint8 [h, w]. Raises Problem where there is none."""
    if not value or value.get("composite") is None:
        raise Problem("the pad is empty; write on it, or upload a line")
    composite = Image.fromarray(value["composite"]).convert("RGBA")
    if composite.width * composite.height > pictures.PIXELS:
        raise Problem("the pad's picture is too large")
    white = Image.new("RGBA", composite.size, "white")
    return np.asarray(Image.alpha_composite(white, composite).convert("L"))


def line_picture(grey: np.ndarray, height: int, reach: int) -> np.ndarray:
    """What is written in a grey picture [h, w], as a line uint8 [height, w] for a network: dark on white, cut to its
    ink, which is made `reach` pixels high. Raises Problem where nothing is written."""
    paper = float(np.median(grey))
    ink = np.abs(grey - paper)
    if ink.max() < 30:
        raise Problem("nothing is written there; write dark on white, or white on dark")
    ink = ink / ink.max()
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = max(1, round(cut.shape[1] * reach / cut.shape[0]))
    small = Image.fromarray(cut.astype(np.float32)).resize((width, reach), Image.Resampling.BOX)
    pixels = np.asarray(small) / max(np.asarray(small).max(), 1e-6)
    line = np.full((height, width + 2 * MARGIN), PAPER, np.uint8)
    top = (height - reach) // 2
    line[top : top + reach, MARGIN:-MARGIN] = (PAPER * (1 - pixels)).round()
    return line


def typed_line(record: Record, text: str, seed: int) -> np.ndarray:
    """The text as a line uint8 [h, w]: digits from test pictures for a network of digits, else in Pillow's font.

    Raises Problem on letters that the network does not know.
    """
    _, letters, cfg = network(record)
    text = look.limit(" ".join(text.split()), MOST)
    if not text or (strange := sorted({*text} - {*letters})):
        names = f", not {strange[0]}" if text else ""
        raise Problem(f"type some of the letters that this network knows: {letters}{names}")
    rng = np.random.default_rng(seed)
    if cfg.task == "digits":
        d = pictures.pictures(cfg.digits)
        rows = [int(rng.choice(np.flatnonzero(d.test_y.numpy() == d.labels.index(letter)))) for letter in text]
        return paste_pictures(d.test_x[rows], cfg.height, rng)
    if lacks(BUILT_IN, text):
        raise Problem(f"Pillow's font lacks {lacks(BUILT_IN, text)[0]}; type other letters")
    return drawn_line(text, BUILT_IN, cfg.height, rng)


def reach_of(cfg: Config) -> int:
    """How high, in pixels, what is written should be for a network: as high as in its training."""
    return pictures.pictures(cfg.digits).shape[1] if cfg.task == "digits" else max(1, round(0.9 * cfg.height))


def read(record: Record, line: np.ndarray) -> tuple[str, str]:
    """As HTML: the line over what the network says of each frame; and how that path becomes a text."""
    model, letters, cfg = network(record)
    lines = lines_of([(line, "", "")], cfg.height)
    logits = frame_logits(model, lines)[0]
    said = frames_read(logits, letters)
    url = pictures.address(lines.x[0, 0, :, : int(lines.widths[0])][None].float() / 255, 6)
    frames = "".join(_frame(odds, letters) for odds in logits.softmax(-1))
    picture = f"width:{int(lines.widths[0]) / cfg.stride * COLUMN:.0f}px;max-width:none;display:block"
    table = f"table-layout:fixed;width:{len(said) * COLUMN}px;border-collapse:collapse"
    shown = (
        '<div tabindex="0" role="group" aria-label="The line and its frames" style="overflow-x:auto">'
        f'<img src="{url}" alt="the line as the network sees it" style="{picture}">'
        f'<table style="{table}"><tr>{frames}</tr></table></div>'
    )
    searched = spell(beam(logits, PREFIXES), letters)
    return shown, _collapse([letter for letter, _ in said], read_lines([logits], letters)[0], searched)


def _frame(odds: Tensor, letters: str) -> str:
    """A frame's two likeliest classes, the first with its probability as a bar and in hundredths."""
    best, classes = odds.topk(2)
    first, second = (_mark(letters[c - 1] if c else "") for c in classes.tolist())
    share = 100 * best[0].item()
    level = f"background:linear-gradient(0deg,{look.BLUE} {share:.0f}%,transparent 0)"
    bar = f'<i style="display:block;height:40px;{level}"></i>'
    cell = f"{bar}<b>{first}</b><br><small>{share:.0f}<br>{second}</small>"
    return f'<td style="text-align:center;padding:0 2px;border:0">{cell}</td>'


def _mark(letter: str) -> str:
    """A letter as it is shown; a dot for the blank, an open box for a space."""
    return escape({"": "·", " ": "␣"}.get(letter, letter))


def _collapse(path: list[str], text: str, searched: str) -> str:
    joined = [letter for i, letter in enumerate(path) if i == 0 or path[i - 1] != letter]
    ways = (
        ("The likeliest class of each frame, a dot for the blank", "".join(map(_mark, path))),
        ("Equal neighbours joined", "".join(map(_mark, joined))),
        ("Blanks left out: what is read", "".join(map(_mark, text)) or "nothing"),
        ("The likeliest text over all of its paths, by a search", "".join(map(_mark, searched)) or "nothing"),
    )
    rows = "".join(f"<dt>{words}</dt><dd><code>{line}</code></dd>" for words, line in ways)
    return f'<dl class="collapse">{rows}</dl>'


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def list_records() -> dict[str, Record]:
        return {n: r for n, r in networks.find_records(study, root).items() if (r.folder / "letters.txt").exists()}

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note("No network is trained yet: train one below; it takes half a minute.")
        words = networks.describe(record, "test/cer", "Character error rate")
        return look.loading_note(f"{words} It knows nothing but: {network(record)[1]}")

    @look.explain
    def read_written(name: str, value: dict[str, Any] | None) -> tuple[str, str]:
        record = networks.choose(list_records(), name)
        cfg = network(record)[2]
        return read(record, line_picture(read_pad(value), cfg.height, reach_of(cfg)))

    @look.explain
    def read_typed(name: str, text: str, seed: float) -> tuple[str, str]:
        record = networks.choose(list_records(), name)
        return read(record, typed_line(record, text, int(seed)))

    def begin(name: str | None, text: str, seed: float) -> tuple[str, str]:
        return read_typed(name, text, seed) if name else ("", "")  # nothing is trained yet, as the line above says

    with gr.Blocks(title="Read a line") as page:
        look.title(
            "Read a line",
            "Nobody told the network where a digit begins or ends. In each column it names a letter or the blank; "
            "equal neighbours are joined, blanks are left out, and what remains is the text.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        pad, written, text, seed, typed = _parts()
        shown, way = gr.HTML(min_height=180), gr.HTML(min_height=160)
        written.click(read_written, [model, pad], [shown, way], show_progress_on=[shown])
        gr.on([typed.click, text.submit], read_typed, [model, text, seed], [shown, way], show_progress_on=[shown])
        page.load(
            lambda: Image.new("RGB", (WIDE, HIGH), "white"), None, pad, show_progress="hidden"
        )  # ready to write on
        page.load(begin, [model, text, seed], [shown, way], show_progress="hidden")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


def _parts() -> tuple[Any, ...]:
    """The pad and its button; the text that is typed, which pictures it is made of, and its button."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            pad = gr.ImageEditor(
                label="Pad: write digits apart from each other, or upload a line",
                type="numpy",
                image_mode="RGBA",
                sources=("upload",),
                transforms=(),
                layers=False,
                canvas_size=(WIDE, HIGH),
                fixed_canvas=True,
                brush=gr.Brush(default_size=18, colors=["#000000"], default_color="#000000"),
                eraser=gr.Eraser(default_size=36),
                buttons=[],
                height=330,
            )
            written = gr.Button("Read what is written", variant="primary")
        with gr.Column(scale=2, min_width=280):
            text = gr.Textbox("3344", max_length=MOST, label="Or type a text; it is drawn or pasted of test pictures")
            seed = gr.Slider(0, 200, 0, step=1, label="Number of the drawing")
            typed = gr.Button("Read the typed text")
    return pad, written, text, seed, typed
