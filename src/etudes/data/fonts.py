"""Fonts that look like handwriting, each from a package of Debian, and lines of text drawn in them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

BUILT_IN = "aileron"  # the font that Pillow brings along: no handwriting, but always there
_TRUETYPE, _OPENTYPE = "usr/share/fonts/truetype", "usr/share/fonts/opentype"
_FONTS = {  # name: package, version, path, sha256
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
    """The text in a font as a grey picture uint8 [height, w], dark on white paper, a little of everything by chance:
    its size, its place, how dark the ink is, and noise.

    Raises Problem where the font lacks all of the text's letters.
    """
    from PIL import Image, ImageDraw, ImageFont

    file, size = font_file(font), 3 * height  # drawn large and brought to the height
    face = ImageFont.load_default(size) if file is None else ImageFont.truetype(str(file), size)
    left, top, right, bottom = face.getbbox(text)
    if right <= left or bottom <= top:
        raise Problem(f"the font {font} shows nothing of '{text}'; take another font or text")
    ascent, descent = face.getmetrics()
    margin = size // 4
    tall = max(bottom, ascent + descent) + 2 * margin
    canvas = Image.new("L", (int(right - left) + 2 * margin, int(tall)), 255)
    ImageDraw.Draw(canvas).text((margin - left, margin), text, font=face, fill=int(rng.integers(0, 90)))
    scale = rng.uniform(0.85, 1.0) * height / tall
    small = canvas.resize((max(1, round(canvas.width * scale)), max(1, round(tall * scale))), Image.Resampling.BOX)
    picture = np.full((height, small.width), 255, np.float64)
    offset = int(rng.integers(0, height - small.height + 1))
    picture[offset : offset + small.height] = np.asarray(small)
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).round().astype(np.uint8)


def lacks(font: str, letters: Sequence[str]) -> list[str]:
    """Those of the letters that a font draws as it draws an unknown one."""
    from PIL import ImageFont

    file = font_file(font)
    face = ImageFont.load_default(32) if file is None else ImageFont.truetype(str(file), 32)
    unknown_letter = bytes(face.getmask("\ufffe"))
    return [letter for letter in letters if letter != " " and bytes(face.getmask(letter)) in (unknown_letter, b"")]
