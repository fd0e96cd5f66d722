"""A grey picture in the colours of two networks: one that tells odds of colours, one that guesses by least squares."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record
from etudes.data.colour import lab, rgb
from etudes.data.images import unit
from etudes.studies.generative.colorization import coloured_set, network
from etudes.studies.generative.colorization.bins import bin_centres
from etudes.studies.generative.colorization.findings import colorize, grey
from etudes.studies.generative.colorization.painter import Painter
from etudes.train import weights
from etudes.web.demos import KEEP, look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "colorization"
KINDS = {"photographs": ("full", "squares"), "drawn shapes": ("shapes", "shapes-squares")}
OFFERS = tuple(Offer(STUDY, "laptop", KINDS[kind]) for kind in ("drawn shapes", "photographs"))
TEMPERATURES = {1.0: "T = 1: the mean", 0.38: "T = 0.38: the paper's", 0.1: "T = 0.1", 0.01: "T = 0.01: the likeliest"}
TOP = 6  # colours of a place that are shown
LAST = 200  # number of the last test picture that can be chosen
MARK = (0.84, 0.37, 0.0)  # of the chosen place
Pair = tuple[Record, Record]  # of classes, of least squares


@functools.lru_cache(maxsize=4)
def _painter(folder: Path, values: tuple[tuple[str, Any], ...]) -> Painter:
    cfg = catalogue.find(STUDY).config(**dict(values))
    centres = bin_centres(cfg.grid)
    model = weights.load(folder / networks.WEIGHTS, network(cfg, centres))
    return Painter(model, centres if cfg.loss == "classes" else None)


def painter(record: Record) -> Painter:
    return _painter(record.folder, tuple(record.spec.config.items()))


def pairs(root: Path) -> dict[str, Pair]:
    """{what they colour, and their scale or that they come along: two runs} where both have their network."""
    records = networks.find_records(catalogue.find(STUDY), root)
    found: dict[str, Pair] = {}
    for record in records.values():
        for kind, (classes, squares) in KINDS.items():
            other = records.get(f"{STUDY} · {squares} · {networks.origin(record)}")
            if record.spec.variant == classes and other:
                found[f"{kind} · {networks.origin(record)}"] = record, other
    return found


def first_pair(known: dict[str, Pair]) -> str | None:
    """Which of the pairs to begin with; None without any."""
    return networks.first_choice({name: pair[0] for name, pair in known.items()}, OFFERS)


@functools.lru_cache(maxsize=2)
def _drawings(values: tuple[tuple[str, Any], ...]) -> Tensor:
    return coloured_set(catalogue.find(STUDY).config(**dict(values)), "shapes").test_x


def example(record: Record, index: int) -> Tensor:
    """A picture [1, 3, h, w] in [0, 1] of the kind that the network colours, of those it was not trained on."""
    config = record.spec.config
    drawn = config["drawn"] or config["dataset"] == "shapes"
    fields = tuple(config.items())
    x = _drawings(fields) if drawn else pictures.pictures(config["dataset"], config["side"]).test_x
    return unit(x[index % len(x)][None])


def place(painter: Painter, x: Tensor, across: float, down: float) -> tuple[Tensor, Tensor]:
    """(odds [Q] of the bins at a place of a picture [1, 3, h, w], which pixels [h, w] it stands for).

    across, down: from its left and from its top, as shares of its width and height. Raises Problem outside of [0, 1].
    """
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise Problem(f"a place is at shares between 0 and 1 of the picture, not at {across:g}, {down:g}")
    odds = painter.odds(lab(x)[:, :1])[0]
    _, high, wide = odds.shape
    row, column = min(int(down * high), high - 1), min(int(across * wide), wide - 1)
    cell = torch.zeros(high, wide, dtype=torch.bool)
    cell[row, column] = True
    shrink = x.shape[-1] // wide
    return odds[:, row, column], cell.repeat_interleave(shrink, 0).repeat_interleave(shrink, 1)


def swatches(painter: Painter, odds: Tensor, lightness: float) -> list[tuple[str, str]]:
    """(address of a patch, its odds in words) of the TOP most probable colours at a place of that lightness."""
    best, which = odds.topk(min(TOP, len(odds)))
    patches = []
    for share, i in zip(best.tolist(), which.tolist(), strict=True):
        a, b = painter.centres[i].tolist()  # type: ignore[index]  # of classes, which have centres
        patch = rgb(torch.tensor([lightness, a, b])[None, :, None, None])[0].expand(3, 8, 8)
        patches.append((pictures.address(patch, 6), f"{100 * share:.0f} %: a {a:.0f}, b {b:.0f}"))
    return patches


def answer(pair: Pair, x: Tensor, truth: bool, across: float, down: float) -> tuple[str, str]:
    """As HTML: a picture [1, 3, h, w] in grey and in the networks' colours, and the likeliest colours at a place."""
    classes, squares = (painter(record) for record in pair)
    odds, cell = place(classes, x, across, down)
    marked = grey(x)[0].clone()
    marked[:, cell] = torch.tensor(MARK)[:, None]
    rows = [(marked, "grey, as the networks see it; orange: the place")]
    rows += [(colorize(x, classes.at(t))[0], f"classes, {words}") for t, words in TEMPERATURES.items()]
    rows += [(colorize(x, squares.at(1.0))[0], "least squares")]
    rows += [(x[0], "the true colours")] * truth
    zoom = max(1, 128 // x.shape[-1])
    lightness = lab(x)[0, 0][cell].mean().item()
    return (
        look.strip([(pictures.address(picture, zoom), words) for picture, words in rows]),
        look.strip(swatches(classes, odds, lightness)),
    )


def build(root: Path) -> gr.Blocks:
    def about(name: str | None) -> str:
        pair = pairs(root).get(name or "")
        if not pair:
            return look.loading_note("No pair of networks is trained yet: train one below.")
        metric = "test/away-mode" if pair[0].spec.config["drawn"] else "test/colourfulness"
        words = "Colourfulness" if metric == "test/colourfulness" else "Distance from both possible colours"
        other = "test/away" if pair[0].spec.config["drawn"] else metric
        lines = networks.describe(pair[0], metric, words), networks.describe(pair[1], other, words)
        return "".join(look.loading_note(line) for line in lines)

    @look.explain
    def show(name: str | None, path: str | None, index: float, across: float, down: float) -> tuple[str, str]:
        if not name:  # nothing is trained yet, as the line above says
            return "", ""
        known = pairs(root)
        if name not in known:
            raise unknown("pair of networks", name, known)
        record = known[name][0]
        x = example(record, int(index))
        if path:
            x = pictures.square(pictures.open_picture(path), x.shape[-1])
        return answer(known[name], x, not path, float(across), float(down))

    @look.explain
    def begin(name: str | None, *values: Any) -> tuple[str, ...]:
        return about(name), *show(name, *values)

    def refresh(*values: Any) -> tuple[Any, ...]:
        known = pairs(root)
        name = first_pair(known)
        return gr.update(choices=list(known), value=name), *begin(name, *values)

    known = pairs(root)
    with gr.Blocks(title="Colours for grey pictures", delete_cache=KEEP) as page:
        look.title(
            "Colours for grey pictures",
            "One network tells how probable each colour is, and what is shown depends on a temperature; the other "
            "guesses one colour by least squares. Where an object may be red or blue, it shows neither.",
        )
        names = gr.Dropdown(list(known), value=first_pair(known), label="Networks")
        line = gr.HTML(about(first_pair(known)))
        file, index, across, down, *drawn = _parts()
        values = [file, index, across, down]
        trained = networks.panel(OFFERS, root, not known)
        gr.on(
            [file.upload, file.clear, index.change, across.change, down.change],
            show,
            [names, *values],
            drawn,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=2,
        )
        names.input(begin, [names, *values], [line, *drawn], show_progress="hidden")
        trained.change(refresh, values, [names, line, *drawn])
        page.load(refresh, values, [names, line, *drawn], show_progress="hidden")
    return page


def _parts() -> tuple[Any, ...]:
    """The upload, the number of a test picture, the place, and what is shown: pictures, likeliest colours."""
    with gr.Row():
        with gr.Column(min_width=280):
            file = pictures.upload_field("A picture, whose colours are left out", ". Without one, a test picture:")
            index = gr.Slider(0, LAST, 0, step=1, label="Test picture")
        with gr.Column(min_width=280):
            across = gr.Slider(0, 1, 0.5, step=0.01, label="A place: share of the width from the left")
            down = gr.Slider(0, 1, 0.5, step=0.01, label="Share of the height from the top")
    shown = gr.HTML(min_height=180)
    gr.HTML('<p class="soft">The most probable colours at the place</p>')
    patches = gr.HTML(min_height=90)
    return file, index, across, down, shown, patches
