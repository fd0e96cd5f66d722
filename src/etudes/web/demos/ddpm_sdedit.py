"""A sketch pad: SDEdit noises what was painted to a share t0 of the way and lets a diffusion network walk back."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.data.images import unit
from etudes.generate.diffusion import SCHEDULES, Blend, Diffusion, ddim, ddpm, sdedit, unblend
from etudes.generate.guides import strokes
from etudes.nn.unet import UNet
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "ddpm-sdedit"
CANVAS = 384  # pixels of a side of the pad
SECONDS = 60.0  # after which a walk is given up
SHOWN = 8  # pictures of the strip
MODES = {1: "L", 3: "RGB"}  # Pillow's, by channels
MOST = 6  # pictures made at once
WHITE = "#ffffff"  # the brush: seen on black and on grey, the blanks that networks know
PROGRESS = gr.Progress()
ALL, PAINTED = "all of it, by the painting", "only what is painted over"
OFFERS = (Offer(STUDY, "laptop", ("ddpm",)), Offer(STUDY, "cars", ("ddpm",)))


@dataclass(frozen=True)
class Editor:
    """A trained network with what its config says of it."""

    model: UNet
    process: Diffusion | Blend
    dataset: str
    side: int
    channels: int
    only: int  # the class that it makes; -1: all
    tones: int

    def test_picture(self, index: int) -> Tensor:
        """A picture [1, c, h, w] in [0, 1] that it was not trained on."""
        d = pictures.pictures(self.dataset, self.side)
        own = d.test_x if self.only < 0 else d.test_x[d.test_y == self.only]
        return unit(own[index % len(own)][None])


@functools.lru_cache(maxsize=2)
def _editor(folder: Path, values: tuple[tuple[str, Any], ...]) -> Editor:
    cfg = catalogue.find(STUDY).config(**dict(values))
    channels = pictures.pictures(cfg.dataset, cfg.side).shape[0]
    attention = [stage for stage in range(cfg.stages) if cfg.side >> stage == cfg.attend]
    multipliers = (1, *[2] * (cfg.stages - 1))
    model = UNet(channels, cfg.width, multipliers, cfg.blocks, attention, cfg.dropout)
    weights.load(folder / networks.WEIGHTS, model)
    process = Blend() if cfg.process == "blend" else Diffusion(SCHEDULES[cfg.process](cfg.levels), cfg.predicts)
    return Editor(model, process, cfg.dataset, cfg.side, channels, cfg.only, cfg.tones)


def editor(record: Record) -> Editor:
    return _editor(record.folder, tuple(record.spec.config.items()))


def redraw(
    editor: Editor,
    guide: Tensor,
    t0: float,
    mask: Tensor | None,
    *,
    count: int,
    seed: int,
    steps: int = 0,
    told: Callable[[float], None] = lambda done: None,
) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """`count` redrawings [count, c, h, w] in [0, 1] of the guide [1, c, h, w] in [0, 1], and the first's way there.

    The way is (level, picture) of at most SHOWN moments. `steps` > 0 takes as many steps of DDIM instead of every
    one. Raises Problem where it takes too long.
    """
    if not 1 <= count <= MOST:
        raise Problem(f"the demo makes 1 to {MOST} pictures at once, not {count}")
    begun = time.monotonic()
    way: list[tuple[int, Tensor]] = []

    def sampler(model: UNet, process: Any, x: Tensor, chance: torch.Generator, *, start: int, keep: Any) -> Tensor:
        way.append((start, x[0]))

        def remember(x: Tensor, level: int) -> Tensor:
            if time.monotonic() - begun > SECONDS:
                raise Problem(f"redrawing took more than {SECONDS:.0f} seconds; take a smaller t0 or fewer pictures")
            x = keep(x, level) if keep else x
            way.append((level, x[0]))
            told(1 - level / max(1, start))
            return x

        if isinstance(process, Blend):
            return unblend(model, process, x, chance, start=start, keep=remember)
        walk = partial(ddim, steps=min(steps, process.steps)) if steps else ddpm
        return walk(model, process, x, chance, start=start, keep=remember)

    signed = (2 * guide - 1).expand(count, -1, -1, -1)
    chance = torch.Generator().manual_seed(seed)
    made = sdedit(editor.model, editor.process, signed, t0, chance, mask=mask, sampler=sampler)
    stride = max(1, math.ceil((len(way) - 1) / (SHOWN - 1)))
    chosen = [*way[:-1:stride], way[-1]]
    return (made + 1) / 2, [(f"level {level} of {editor.process.steps}", (x + 1) / 2) for level, x in chosen]


def read_pad(value: dict[str, Any] | None, editor: Editor) -> tuple[Tensor, Tensor]:
    """(picture [1, c, h, w] in [0, 1], mask [1, 1, h, w]: where it was painted) of the sketch pad's value."""
    if not value or value.get("composite") is None:
        raise Problem("the pad is empty; load a test picture or paint something")
    composite = Image.fromarray(value["composite"]).convert("RGBA")
    if composite.width * composite.height > pictures.PIXELS:
        raise Problem("the pad's picture is too large")
    on_white = Image.alpha_composite(Image.new("RGBA", composite.size, "white"), composite)
    painted = torch.zeros(composite.height, composite.width, dtype=torch.bool)
    for layer in value.get("layers") or []:
        alpha = torch.from_numpy(layer[..., 3] > 127) if layer.shape[-1] == 4 else torch.zeros_like(painted)
        if alpha.shape == painted.shape:
            painted |= alpha
    mask = torch.nn.functional.adaptive_avg_pool2d(painted[None, None].float(), editor.side) > 0.25
    pixels = torch.frombuffer(bytearray(on_white.convert(MODES[editor.channels]).tobytes()), dtype=torch.uint8)
    x = pixels.view(1, composite.height, composite.width, editor.channels).permute(0, 3, 1, 2).float() / 255
    # means of whole squares: a picture that was only shown large comes back as it was
    return torch.nn.functional.adaptive_avg_pool2d(x, editor.side), mask


def canvas(editor: Editor, index: int = -1, rough: bool = False) -> Image.Image:
    """What the pad shows: a test picture, as it is or as if painted, or nothing where the index is -1."""
    if index < 0:
        x = torch.full((1, editor.channels, editor.side, editor.side), 0.0 if editor.channels == 1 else 0.5)
    else:
        x = editor.test_picture(index)
    if rough:
        x = (strokes(2 * x - 1, brush=2 * (editor.side // 8) + 1, tones=editor.tones) + 1) / 2
    return pictures.image(x[0], CANVAS // editor.side)


def sheet(row: Sequence[tuple[str, Tensor]]) -> str:
    return look.strip([(pictures.address(x, max(1, 128 // x.shape[-1])), words) for words, x in row])


def answer(
    editor: Editor, value: Any, what: str, t0: float, how: dict[str, int], told: Callable[[float], None]
) -> tuple[str, str]:
    """The redrawings of the pad's value and the way of the first, as HTML; `how` as in `redrawn`."""
    guide, mask = read_pad(value, editor)
    if what == PAINTED and not mask.any():
        raise Problem("nothing is painted over; paint where the network shall redraw")
    made, way = redraw(editor, guide, t0, mask if what == PAINTED else None, **how, told=told)
    results = [("what it was given", guide[0]), *((f"redrawing {i + 1}", x) for i, x in enumerate(made))]
    return sheet(results), sheet(way)


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def list_records() -> dict[str, Record]:
        return networks.find_records(study, root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note("No network is trained yet: train one below; the small one takes seconds.")
        side = record.spec.config["side"]
        words = networks.describe(record, "test/frechet", "Fréchet distance of its samples")
        return look.loading_note(f"{words} Its pictures have {side} by {side} pixels.")

    @look.explain
    def load(name: str, index: float, rough: bool) -> Image.Image:
        return canvas(editor(networks.choose(list_records(), name)), int(index), rough)

    @look.explain
    def blank(name: str | None) -> Image.Image:
        record = list_records().get(name or "")
        return canvas(editor(record)) if record else Image.new("RGB", (CANVAS, CANVAS), "gray")

    @look.explain
    def redraw(
        name: str,
        value: Any,
        what: str,
        t0: float,
        count: float,
        fast: bool,
        seed: float,
        progress: Any = PROGRESS,
    ) -> tuple[str, str]:
        pad = editor(networks.choose(list_records(), name))
        how = {"count": int(count), "seed": int(seed), "steps": 20 if fast else 0}
        return answer(pad, value, what, float(t0), how, lambda done: progress(done, desc="sampling"))

    with gr.Blocks(title="Redraw a sketch") as page:
        look.title(
            "Redraw a sketch",
            "Paint on the pad. What you painted is drowned in noise to the share t0 of the way, and a small diffusion "
            "network, which never saw a sketch, walks back to something it finds probable.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        pad, index, rough, loads, blanks, values = _pad()
        start = gr.Button("Redraw", variant="primary")
        gr.HTML('<p class="soft">Redrawings</p>')
        made = gr.HTML(min_height=150)
        gr.HTML('<p class="soft">The way of the first, from its noise back</p>')
        way = gr.HTML(min_height=150)
        start.click(redraw, [model, pad, *values], [made, way], show_progress_on=[made])
        loads.click(load, [model, index, rough], pad)
        gr.on([page.load, model.change, blanks.click], blank, model, pad, show_progress="hidden")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


def _pad() -> tuple[Any, ...]:
    """The pad, what is loaded on it, its two buttons, and the settings of a redrawing."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            pad = gr.ImageEditor(
                label="Sketch pad",
                type="numpy",
                image_mode="RGBA",
                sources=("upload",),
                transforms=(),
                layers=False,
                canvas_size=(CANVAS, CANVAS),
                fixed_canvas=True,
                brush=gr.Brush(
                    default_size=36,
                    colors=["#000000", WHITE, "#808080", look.BLUE, look.ORANGE, look.GREEN, "#c0392b", "#f1c40f"],
                    default_color=WHITE,
                ),
                eraser=gr.Eraser(default_size=36),
                buttons=[],
                height=470,
            )
        with gr.Column(scale=2, min_width=280):
            index = gr.Slider(0, 200, 0, step=1, label="Test picture")
            rough = gr.Checkbox(False, label="as if painted with a broad brush")
            with gr.Row():
                loads = gr.Button("Load it")
                blanks = gr.Button("Blank pad")
            what = gr.Radio([ALL, PAINTED], value=ALL, label="Redraw")
            t0 = gr.Slider(0, 1, 0.5, step=0.05, label="t0", info="0 keeps the painting, 1 forgets it")
            with gr.Row():
                count = gr.Slider(1, MOST, 4, step=1, label="Redrawings")
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Seed")
            fast = gr.Checkbox(False, label="in 20 steps (DDIM) instead of every one")
    return pad, index, rough, loads, blanks, [what, t0, count, fast, seed]
