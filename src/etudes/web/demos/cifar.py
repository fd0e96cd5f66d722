"""A small classifier of CIFAR-10's ten kinds of things looks at a picture."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from etudes.core import catalogue
from etudes.core.record import Record
from etudes.data.images import Images, unit
from etudes.data.resize import resize
from etudes.nn.airbench import Airbench
from etudes.nn.norm import Standardise
from etudes.studies.convnets.cifar_speed import from_six_views
from etudes.train import weights
from etudes.web.demos import KEEP, look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "cifar-speed"
TOP = 5
OFFERS = (Offer(STUDY, "laptop", ("full",)), Offer(STUDY, "eight-minutes", ("full",)))


@functools.lru_cache(maxsize=2)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> tuple[Airbench, int, Images]:
    cfg = catalogue.find(STUDY).config(**dict(values))
    d = pictures.pictures(cfg.dataset)
    nothing = [0.0] * d.shape[0]  # the weights bring the mean and deviation that it was trained with
    model = Airbench(Standardise(nothing, nothing), d.classes, cfg.width, cfg.residual)
    return weights.load(folder / networks.WEIGHTS, model), cfg.side, d


def network(record: Record) -> tuple[Airbench, int, Images]:
    """(network, side in pixels that it sees, the set with its classes' names) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


def classify(record: Record, x: Tensor) -> dict[str, float]:
    """The TOP most probable classes of what the network sees, [1, c, h, w] in [0, 1], best first."""
    model, _, d = network(record)
    with torch.inference_mode():
        odds = from_six_views(model, x)[0].float().softmax(-1)
    best, which = odds.topk(min(TOP, d.classes))
    return {d.labels[i]: odds for i, odds in zip(which.tolist(), best.tolist(), strict=True)}


def answer(record: Record, picture: Image.Image, x: Tensor, truth: str) -> tuple[Image.Image, str, str]:
    """What the page shows of a picture and of what the network sees of it, x [1, c, h, w]."""
    found = classify(record, x)
    small = look.strip([(pictures.address(x[0], max(1, 160 // x.shape[-1])), f"what it sees{truth}")])
    return picture, look.bars(found, f"The {len(found)} most probable; a picture of anything else gets one too."), small


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def list_records() -> dict[str, Record]:
        records = networks.find_records(study, root)
        return dict(sorted(records.items(), key=lambda named: named[1].metrics["test/error"]))

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note("No network is trained yet: train one below; it takes a minute.")
        words = networks.describe(record, "test/error", "Test error, as a share")
        return look.loading_note(f"{words} It knows nothing but: {', '.join(network(record)[2].labels)}.")

    @look.explain
    def upload(name: str, path: str | None) -> tuple[Image.Image, str, str]:
        record = networks.choose(list_records(), name)
        _, side, d = network(record)
        picture = pictures.open_picture(path)
        picture.thumbnail((1024, 1024))
        return answer(record, picture, pictures.square(picture, side, d.shape[0]), "")

    @look.explain
    def example(name: str, index: float) -> tuple[Image.Image, str, str]:
        record = networks.choose(list_records(), name)
        _, side, d = network(record)
        row = int(index) % len(d.test_x)
        whole = d.test_x[row][None]
        large = pictures.image(unit(whole)[0], max(1, 256 // d.shape[-1]))
        truth = f"; in truth: {d.labels[int(d.test_y[row])]}"
        return answer(record, large, unit(resize(whole, side)), truth)

    with gr.Blocks(title="What is in this picture?", delete_cache=KEEP) as page:
        look.title(
            "What is in this picture?",
            "A network of six layers, trained on this machine, sorts small pictures into ten kinds of things. Give it "
            "one of yours, or one that it was tested on.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        file, index, show, *shown = _parts()
        file.upload(upload, [model, file], shown, concurrency_limit=2)
        show.click(example, [model, index], shown, concurrency_limit=2)
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


def _parts() -> tuple[Any, ...]:
    """The upload, the number of a test picture and its button, and what is shown: picture, bars, what it sees."""
    with gr.Row():
        with gr.Column(min_width=280):
            file = pictures.upload_field("A picture", ".")
            index = gr.Slider(0, 500, 0, step=1, label="Or test picture number")
            show = gr.Button("Classify the test picture", variant="primary")
            picture = gr.Image(label="The picture", interactive=False, buttons=[], height=260, type="pil")
        with gr.Column(min_width=280):
            odds = gr.HTML(min_height=220)
            seen = gr.HTML(min_height=180)
    return file, index, show, picture, odds, seen
