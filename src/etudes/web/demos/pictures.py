"""Pictures on their way in and out of a demo."""

import base64
import functools
import io
from pathlib import Path

import gradio as gr
import torch
from PIL import Image, ImageOps
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data.images import Images, images, resize_picture
from etudes.web.demos import UPLOAD, ship

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
PIXELS = 40_000_000  # most of an upload


def upload_field(label: str, ending: str) -> gr.File:
    """Where a picture is uploaded, above a line that says which are taken and ends so."""
    file = gr.File(label=label, file_types=list(SUFFIXES), height=140)
    gr.HTML(f'<p class="soft">PNG, JPEG, WebP, GIF or BMP, {UPLOAD // 2**20} MB at most{ending}</p>')
    return file


def open_picture(path: str | Path | None) -> Image.Image:
    """The picture of an uploaded file, in RGB and upright. Its content decides what it is, not its name.

    Raises Problem where there is none, it is too large, or it is no picture.
    """
    if path is None:
        raise Problem("there is no picture yet; upload one, or take one of the test set")
    size = Path(path).stat().st_size
    if size > UPLOAD:
        raise Problem(f"the file has {size / 2**20:.1f} MB; a picture may have {UPLOAD // 2**20}")
    if size == 0:
        raise Problem("the file is empty; take another")
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > PIXELS:
                raise Problem(f"the picture has {file.width} by {file.height} pixels; that is too many")
            return ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Problem(f"the file is no whole picture; take a {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None


def square(picture: Image.Image, side: int, channels: int = 3) -> Tensor:
    """float32 [1, c, side, side] in [0, 1]: the shortest side resized, cropped at the centre."""
    small = resize_picture(picture.convert("RGB" if channels == 3 else "L"), side)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return pixels.view(side, side, channels).permute(2, 0, 1)[None].float() / 255


def image(x: Tensor, zoom: int = 1) -> Image.Image:
    """The picture of a float tensor [c, h, w] in [0, 1], each pixel as `zoom` by `zoom`."""
    pixels = (x.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    made = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    return made.resize((made.width * zoom, made.height * zoom), Image.Resampling.NEAREST)


def address(x: Tensor, zoom: int = 4) -> str:
    """`image` as an address that holds the picture itself."""
    file = io.BytesIO()
    image(x, zoom).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@functools.lru_cache(maxsize=4)
def pictures(dataset: str, side: int = 0) -> Images:
    """The set of that name, kept, or what comes along of it; its pictures brought to `side` pixels unless 0."""
    found = ship.excerpt(dataset) or images(dataset)
    return found.resize(side) if side else found
