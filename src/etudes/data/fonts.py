"""Fonts of print and fonts like handwriting, each from a package of Debian, and lines of text drawn in them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

PAPER = 255  # white
BUILT_IN = "aileron"  # the font that Pillow brings along: no handwriting, but always there
_TRUETYPE, _OPENTYPE = "usr/share/fonts/truetype", "usr/share/fonts/opentype"
_FONTS = {  # name: package, version, path, sha256; first those of print, then those like handwriting
    "caladea": ("fonts-crosextra-caladea", "20200211-1", f"{_TRUETYPE}/crosextra/Caladea-Regular.ttf",
                "f1e899278b7b4491aba5b6a8253c4b04c050cc59b21865be5c37559a775153cd"),
    "cantarell": ("fonts-cantarell", "0.303.1-1", f"{_OPENTYPE}/cantarell/Cantarell-Regular.otf",
                  "c4d47d7fbd61863265a39e4944331178337fb0d5d93b45a70233180b6b7df260"),
    "comfortaa": ("fonts-comfortaa", "3.001-3", f"{_TRUETYPE}/comfortaa/Comfortaa-Regular.ttf",
                  "7aeecaf4c799f24f22e871a6f546ca89116cf11288c7a8ff42f11401dd5445c6"),
    "dejavu": ("fonts-dejavu-core", "2.37-6", f"{_TRUETYPE}/dejavu/DejaVuSans.ttf",
               "abdc775b21b1bc470d50c97e790d276f2054b7504e56e5bd3e64f48d68582322"),
    "garamond": ("fonts-ebgaramond", "0.016+git20210310.42d4f9f2-1", f"{_OPENTYPE}/ebgaramond/EBGaramond12-Regular.otf",
                 "4ee3bdb3a6618e74ac13a7b2c0a5079fa949be94a25736008ddb9f8b2e492963"),
    "inconsolata": ("fonts-inconsolata", "001.010-6", f"{_TRUETYPE}/inconsolata/Inconsolata.otf",
                    "1561e616c414a1b82d6e6dfbd18e5726fd65028913ade191e5fa38b6ec375a1a"),
    "italic": ("fonts-liberation", "1:1.07.4-11", f"{_TRUETYPE}/liberation/LiberationSerif-Italic.ttf",
               "ccd19036f8e8599e920345105df8d21eb27a66b700ac23968fb14d70259ddb1e"),
    "lato": ("fonts-lato", "2.0-2.1", f"{_TRUETYPE}/lato/Lato-Bold.ttf",
             "e0b1c4de011de8dd077cf21f97919fc31158eb290ee1176cbae06d500a6304bc"),
    "old-standard": ("fonts-oldstandard", "2.2really-4", f"{_TRUETYPE}/fonts-oldstandard/OldStandard-Regular.ttf",
                     "74916923e4f0c26a88d37de10e3b2f50ab26a8c6c369430f55e0574df8d713a5"),
    "open-sans": ("fonts-open-sans", "1.11-2", f"{_TRUETYPE}/open-sans/OpenSans-Regular.ttf",
                  "e64e508b2aa2880f907e470c4550980ec4c0694d103a43f36150ac3f93189bee"),
    "quicksand": ("fonts-quicksand", "0.2016-2.1", f"{_TRUETYPE}/quicksand/Quicksand-Regular.ttf",
                  "766f6d81bc3ddc2201ec59be9b18d917e1f6fbb8600c69b573791bb7d01ac94c"),
    "sans": ("fonts-liberation", "1:1.07.4-11", f"{_TRUETYPE}/liberation/LiberationSans-Regular.ttf",
             "f8ace1f892b2bd9dc1792ba7f097fa7588f84fed48321480e04de5390828221f"),
    "serif": ("fonts-liberation", "1:1.07.4-11", f"{_TRUETYPE}/liberation/LiberationSerif-Regular.ttf",
              "1c9c77c2cd0f3c2d2aeef53ea50a4d5d3d684ac73a431d7c70d7864887d194a3"),
    "breip": ("fonts-breip", "1:0.5.1-3", f"{_TRUETYPE}/breip/Breip.ttf",
              "cded2aeeeb7d35baa8aa5b57df35a25836910498271d3d2eec502f6aa7033eb7"),
    "dancing": ("fonts-dancingscript", "1.2-2", f"{_OPENTYPE}/dancingscript/DancingScript-Regular.otf",
                "38178945aaefdea573f4998d8b984985aaebb95964da337b23e77e682d7d3d17"),
    "delphine": ("fonts-sjfonts", "2.1-2", f"{_TRUETYPE}/sjfonts/Delphine.ttf",
                 "afeea795e392f6b8e0cc4ba3978375908d1f29f8d82f1b7b15d9fdc755a05288"),
    "dkg": ("fonts-dkg-handwriting", "0.17-1", f"{_TRUETYPE}/fifthhorseman/dkg.ttf",
            "93eb07f57b84f04fa975ebf49ecec43d9b2c85834a9b63864072c6b993efd131"),
    "ecolier": ("fonts-ecolier-court", "1.00-6", f"{_TRUETYPE}/ecolier-court/Ecolier-court.ttf",
                "bdbbded05cbb318d470d36475aefe2435847e025a2c7cd3610f8f13bf8e2a829"),
    "femke": ("fonts-femkeklaver", "1.0-4", f"{_TRUETYPE}/femkeklaver/femkeklaver.ttf",
              "db4020ede05b31104fb017a2f081c700022b13f4b07811d07c7e088fdbcc4012"),
    "joscelyn": ("fonts-joscelyn", "1.012+ds-2", f"{_OPENTYPE}/joscelyn/Joscelyn-Regular.otf",
                 "d3c84b2cf1f809154847d7800baa00bc563ca0201a97e09cd65ac73cce6d833a"),
    "kaushan": ("fonts-kaushanscript", "1.02-2.1", f"{_OPENTYPE}/kaushanscript/KaushanScript-Regular.otf",
                "c007ebe4c813374ed02da003394b73b39fa709ff5891c5613733c96be595ba28"),
    "kristi": ("fonts-kristi", "20101220-1", f"{_TRUETYPE}/kristi/Kristi.ttf",
               "6c14164cd50b52d03d88728971285fe1dbf0d6ee8af6d29274b5d5026a0fb622"),
    "rufscript": ("fonts-rufscript", "010-6", f"{_TRUETYPE}/rufscript/Rufscript010.ttf",
                  "99b16515f19ab35d18049235797b0dbe3ec73535d455994442b206c96405050f"),
    "steve": ("fonts-sjfonts", "2.1-2", f"{_TRUETYPE}/sjfonts/SteveHand.ttf",
              "51e0820b832b2cd3db9dc9a759520c868166ae291f19afc3d94689e668d0435e"),
}  # fmt: skip
NAMES = (*_FONTS, BUILT_IN)


@cache
def font_file(name: str) -> Path | None:
    """The font's file, fetched if it is not in the cache; None for the built-in one. Raises Problem on other names, and
    where its package cannot be had."""
    if name == BUILT_IN:
        return None
    if name not in _FONTS:
        raise unknown("font", name, NAMES)
    package, version, path, sha256 = _FONTS[name]
    return fetch(Carrier("debian", package, version, path, sha256), cache_folder())


def drawn_line(text: str, font: str, height: int, rng: np.random.Generator) -> np.ndarray:
    """The text in a font as a grey picture uint8 [height, w], dark on white paper.

    The letters fill the height, from the top of a tall one to the foot of a low one. A little of everything is left to
    chance: size, place, width, slant, how dark the ink is, and noise. Raises Problem where the font shows nothing.
    """
    from PIL import Image, ImageDraw

    face, highest, lowest = _face(font, 2 * height)  # drawn large and brought to the height
    left, top, right, bottom = face.getbbox(text)
    if right <= left or bottom <= top:
        raise Problem(f"the font {font} shows nothing of '{text}'; take another font or text")
    highest, lowest = min(highest, top), max(lowest, bottom)
    tall, margin = int(lowest - highest), height // 2
    slant, wider = rng.uniform(-0.15, 0.15), rng.uniform(0.9, 1.15)
    canvas = Image.new("L", (int(right - left) + 2 * margin, tall), PAPER)
    ImageDraw.Draw(canvas).text((margin - left, -highest), text, font=face, fill=int(rng.integers(0, 90)))
    shear = (1, slant, -slant * tall / 2, 0, 1, 0)
    slanted = canvas.transform(canvas.size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR, fillcolor=PAPER)
    scale = rng.uniform(0.85, 1.0) * height / tall
    shape = max(1, round(canvas.width * scale * wider)), max(1, round(tall * scale))
    small = slanted.resize(shape, Image.Resampling.BOX)
    picture = np.full((height, small.width), PAPER, np.float64)
    offset = int(rng.integers(0, height - small.height + 1))
    picture[offset : offset + small.height] = np.asarray(small)
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, PAPER).round().astype(np.uint8)


@cache
def _face(font: str, size: int) -> tuple[Any, float, float]:
    """A font at a size, with how high and how low its letters reach."""
    from PIL import ImageFont

    file = font_file(font)
    plain = ImageFont.Layout.BASIC  # the other engine is not on every machine
    face = ImageFont.load_default(size) if file is None else ImageFont.truetype(str(file), size, layout_engine=plain)
    _, top, _, bottom = face.getbbox("bdfghjkpqty")
    return face, top, bottom


def lacks(font: str, letters: Sequence[str]) -> list[str]:
    """Those of the letters that a font draws as it draws an unknown one."""
    face = _face(font, 32)[0]
    unknown_letter = bytes(face.getmask("\ufffe"))
    return [letter for letter in letters if letter != " " and bytes(face.getmask(letter)) in (unknown_letter, b"")]
