"""A picture segmented: the network's classes in colour over it, as opaque as a slider says."""

import functools
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch

from etudes.core import catalogue
from etudes.core.record import Record
from etudes.data.instances import components
from etudes.data.masks import Masks
from etudes.exhibits.overlay import PALETTE, as_colour, differences, overlay
from etudes.measure.masks import LEAST
from etudes.nn.segmentation import SegmentationUNet, predict
from etudes.studies.generative.unet import Config
from etudes.studies.generative.unet import network as make
from etudes.studies.generative.unet.examples import opened, stretch
from etudes.studies.generative.unet.findings import overlap
from etudes.train import weights
from etudes.web.demos import KEEP, look, networks, pictures, ship
from etudes.web.demos.networks import Offer

STUDY = "unet"
LAST = 99  # number of the last test picture that can be chosen
OPACITY = 0.35
SIDE = 256  # pixels of an upload, of networks that learnt windows of whole pictures: as many as those of nuclei have
OFFERS = (Offer(STUDY, "laptop", ("unet",)), Offer(STUDY, "laptop", ("classes",)))


@dataclass(frozen=True, eq=False)
class Segmented:
    """A picture uint8 [h, w, c] and the classes uint8 [h, w] that the network gives its pixels; of a test picture the
    true ones too."""

    picture: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray | None
    classes: tuple[str, ...]


@functools.lru_cache(maxsize=4)
def _network(
    folder: Path, values: tuple[tuple[str, Any], ...], shipped: bool
) -> tuple[SegmentationUNet, Config, Masks]:
    cfg = catalogue.find(STUDY).config(**dict(values))
    name = cfg.classed if cfg.several else cfg.dataset
    d = (ship.masks_excerpt(name) if shipped else None) or opened(cfg)
    return weights.load(folder / networks.WEIGHTS, make(cfg, d)), cfg, d


def network(record: Record) -> tuple[SegmentationUNet, Config, Masks]:
    """(network, its settings, the set that it was tested on, or what comes along of that) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()), networks.is_shipped(record))


def segment(record: Record, index: int) -> Segmented:
    """A test picture, as the study measures it."""
    model, _, d = network(record)
    row = index % len(d.test_x)
    x = d.test_x[row][None]
    return Segmented(_pixels(x), predict(model, x)[0].numpy(), d.test_y[row].numpy(), d.classes)


def segment_file(record: Record, path: str | None) -> Segmented:
    """An uploaded picture, a square of its middle brought to as many pixels a side as the set's whole pictures have.

    Raises Problem where it is no picture.
    """
    model, cfg, d = network(record)
    side = cfg.classed_side if cfg.several else cfg.side or SIDE
    x = pictures.square(pictures.open_picture(path), side, d.x.shape[1])
    x = (255 * x).round().to(torch.uint8)
    if d.x.shape[1] == 1 and len(d.classes) == 2:  # as the study stretches its grey pictures
        x = stretch(x)
    return Segmented(_pixels(x), predict(model, x)[0].numpy(), None, d.classes)


def _pixels(x: torch.Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).numpy()


def count_objects(mask: np.ndarray, classes: int) -> list[int]:
    """How many connected parts of at least LEAST pixels each class but the background has."""
    sizes = [np.bincount(components(mask == k).ravel())[1:] for k in range(1, classes)]
    return [int((size >= LEAST).sum()) for size in sizes]


def draw(shown: Segmented | None, opacity: float) -> str:
    """As HTML: the picture below its classes, and of a test picture the truth and the differences beside it; then the
    number of objects, and how well both overlap."""
    if shown is None:
        return ""

    def over(mask: np.ndarray) -> np.ndarray:
        return overlay(shown.picture, mask, opacity) if opacity else as_colour(shown.picture)

    kinds = len(shown.classes)
    counts = count_objects(shown.predicted, kinds)
    strip = [(over(shown.predicted), "what the network says")]
    header, rows = ["class", "objects"], [[name, str(n)] for name, n in zip(shown.classes[1:], counts, strict=True)]
    if shown.truth is not None:
        strip.append((over(shown.truth), "the truth"))
        strip.append((differences(shown.truth, shown.predicted), "where they differ"))
        pair = (torch.from_numpy(mask)[None] for mask in (shown.predicted, shown.truth))
        found = overlap(*pair, shown.classes, "")
        header += ["in truth", "IoU"]
        for k, (row, n) in enumerate(zip(rows, count_objects(shown.truth, kinds), strict=True), start=1):
            score = found[f"iou-{k}"] if kinds > 2 else found["iou"]
            row += [str(n), "neither has any" if np.isnan(score) else f"{score:.2f}"]
    zoom = max(1, 256 // shown.picture.shape[0])
    images = [(pictures.address(torch.from_numpy(p).permute(2, 0, 1) / 255, zoom), words) for p, words in strip]
    return look.strip(images, large=True) + _legend(shown) + _table(header, rows)


def _legend(shown: Segmented) -> str:
    named = [(PALETTE[k], name) for k, name in enumerate(shown.classes) if k]
    squares = "".join(f'<span><i style="background:rgb{colour}"></i> {escape(name)}</span>' for colour, name in named)
    words = f"Objects are connected parts of {LEAST} pixels or more."
    if shown.truth is not None:
        words += " Where they differ: orange is too much or of another class, blue is missed."
    return f'<p class="legend greys">{squares}</p><p class="soft">{words}</p>'


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col"{_right(i)}>{escape(word)}</th>' for i, word in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{_right(i)}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _right(column: int) -> str:
    return ' class="n"' if column else ""


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def known() -> dict[str, Record]:
        return networks.find_records(study, root)

    def about(name: str | None) -> str:
        record = known().get(name or "")
        if not record:
            return look.loading_note("No network is trained yet: train one below; it takes half a minute.")
        several = record.spec.config["several"]
        words = networks.describe(record, "test/class-iou" if several else "test/iou", "IoU on test pictures")
        return look.loading_note(f"{words} Its classes: {', '.join(network(record)[2].classes)}.")

    @look.explain
    def upload(name: str | None, path: str | None, opacity: float) -> tuple[Segmented, str]:
        shown = segment_file(networks.choose(known(), name), path)
        return shown, draw(shown, opacity)

    @look.explain
    def example(name: str | None, index: float, opacity: float) -> tuple[Segmented, str]:
        shown = segment(networks.choose(known(), name), int(index))
        return shown, draw(shown, opacity)

    def begin(name: str | None, index: float, opacity: float) -> Any:
        return example(name, index, opacity) if name else (None, "")  # nothing is trained yet, as the line above says

    with gr.Blocks(title="Segment a picture", delete_cache=KEEP) as page:
        look.title(
            "Segment a picture",
            "A small U-Net, trained on thirty pictures, gives every pixel a class. Lay its answer over the picture, "
            "and compare it with what experts drew.",
        )
        model, line = networks.chooser(known, about, OFFERS)
        file, index, button, opacity, drawing, shown = _parts()
        quiet = {"show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": 2}
        file.upload(upload, [model, file, opacity], [shown, drawing], concurrency_limit=2)
        button.click(example, [model, index, opacity], [shown, drawing], concurrency_limit=2)
        opacity.change(draw, [shown, opacity], drawing, **quiet)
        model.change(begin, [model, index, opacity], [shown, drawing], **quiet)
        networks.renew(page, known, about, model, line, OFFERS, root)
        page.load(begin, [model, index, opacity], [shown, drawing], show_progress="hidden")
    return page


def _parts() -> tuple[Any, ...]:
    """The upload, the number of a test picture and its button, how opaque the classes are, the drawing, and what it is
    drawn from."""
    with gr.Row():
        with gr.Column(min_width=280):
            file = pictures.upload_field("A picture", "; best one under a microscope.")
        with gr.Column(min_width=280):
            index = gr.Slider(0, LAST, 0, step=1, label="Or test picture number")
            button = gr.Button("Segment the test picture", variant="primary")
            opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="How opaque the classes are")
    drawing = gr.HTML(min_height=320)
    return file, index, button, opacity, drawing, gr.State()
