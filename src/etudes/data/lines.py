"""Lines of text as pictures, each with what it says: real handwriting, lines drawn in fonts, and strings of digits."""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data.fonts import PAPER, drawn_line
from etudes.data.images import Images
from etudes.data.sources import SOURCES, find, originals_folder, read_first, read_hub, read_mirror

LONGEST = 1024  # pixels of a line of handwriting; a longer one is pressed
Row = tuple[np.ndarray, str, str]  # grey picture uint8 [h, w], its text, its group


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of one height: uint8 [n, 1, h, w], white to the right of `widths` int64 [n]; their texts, and the group
    (page, document, font) of each."""

    x: Tensor
    widths: Tensor
    texts: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | Tensor) -> "Lines":
        chosen = [int(row) for row in rows]
        picked = (tuple(part[row] for row in chosen) for part in (self.texts, self.groups))
        return Lines(self.x[chosen], self.widths[chosen], *picked)

    @property
    def letters(self) -> str:
        """The characters of its texts, in order."""
        return "".join(sorted({letter for text in self.texts for letter in text}))


@dataclass(frozen=True, eq=False)
class LineSet:
    """Lines to learn from, to choose by, and to test on; no group is in two of them unless `source` says so."""

    name: str
    train: Lines
    validation: Lines
    test: Lines
    source: dict[str, str]  # dataset, kind, says, fingerprint


def lines_of(rows: Iterable[Row], height: int, longest: int = LONGEST, squeeze: bool = False) -> Lines:
    """Rows brought to one height, smoothly and in proportion, at most `longest` wide; with `squeeze` all exactly that
    wide, whatever becomes of their letters. Raises Problem without a row."""
    from PIL import Image

    pictures, texts, groups = [], [], []
    for picture, text, group in rows:
        h, w = picture.shape
        width = longest if squeeze else max(1, min(longest, round(w * height / h)))
        fitted = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        pictures.append(np.asarray(fitted))
        texts.append(text)
        groups.append(group)
    if not pictures:
        raise Problem("there is no line to read; give a set with lines")
    widths = [picture.shape[1] for picture in pictures]
    x = np.full((len(pictures), 1, height, max(widths)), PAPER, np.uint8)
    for i, picture in enumerate(pictures):
        x[i, 0, :, : widths[i]] = picture
    return Lines(torch.from_numpy(x), torch.tensor(widths), tuple(texts), tuple(groups))


# Handwriting


def handwriting(name: str, height: int, by: str = "page") -> LineSet:
    """The lines of a declared handwriting set, `height` pixels high.

    As the set splits them, or with by="document" so that no document, and so hardly a hand, is in two parts. Raises
    Problem for another name, for a set without documents, and where no source can be reached.
    """
    source = find(name)
    if source.task != "handwriting":
        known = ", ".join(s.name for s in SOURCES.values() if s.task == "handwriting")
        raise Problem(f"'{name}' is a {source.task} set, no handwriting; handwriting() reads {known}")
    readers = {"iam": read_iam, "imgur5k": read_imgur5k}

    def read(kind: str) -> tuple[dict[str, list[Row]], str]:
        if kind == "originals":
            folder = originals_folder(source)
            assert folder is not None
            return readers[name](folder), kind
        tables = read_mirror(source) if kind == "mirror" else read_hub(source)
        return {split: _rows(table) for split, table in tables.items()}, kind

    parts, kind = read_first(source, read)
    if by == "document":
        parts = _by_group([row for rows in parts.values() for row in rows])
    if missing := {"train", "validation", "test"} - {*parts}:
        raise Problem(f"{name} has no split {min(missing)}; lines need train, validation and test")
    made = {split: lines_of(parts[split], height) for split in ("train", "validation", "test")}
    digest = hashlib.sha256()
    for part in made.values():
        digest.update(part.x.numpy().tobytes() + "\n".join(part.texts).encode())
    counts = ", ".join(f"{split} {len(part):,}" for split, part in made.items())
    says = f"{source.folder}, {height} pixels high, split by {by}: {counts}"
    return LineSet(
        name, **made, source={"dataset": name, "kind": kind, "says": says, "fingerprint": digest.hexdigest()}
    )


def _rows(table: Any) -> list[Row]:
    import datasets

    columns = {*table.column_names}
    if not {"image", "text"} <= columns:
        raise Problem(f"a set of lines needs the columns image and text, not {', '.join(sorted(columns))}")
    group = next((name for name in ("document", "page") if name in columns), "")
    encoded = table.cast_column("image", datasets.Image(decode=False))
    return [(_grey(row["image"]["bytes"]), row["text"], str(row.get(group, i))) for i, row in enumerate(encoded)]


def _grey(data: bytes | Path) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as file:
        return np.asarray(file.convert("L"))


def _by_group(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows split by their groups, a tenth of the groups each for validation and test, by their hashes."""
    groups = sorted({group for _, _, group in rows}, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    if len(groups) < 10:
        raise Problem(f"{len(groups)} documents are too few to hold a tenth out; split by page")
    tenth = max(1, len(groups) // 10)
    held = {"test": {*groups[:tenth]}, "validation": {*groups[tenth : 2 * tenth]}}
    held["train"] = {*groups[2 * tenth :]}
    return {split: [row for row in rows if row[2] in names] for split, names in held.items()}


def read_iam(folder: Path) -> dict[str, list[Row]]:
    """The lines of IAM (Marti and Bunke 2002) as its authors publish it, by the lists of its largest writer-independent
    task: ascii/lines.txt, lines/a01/a01-000u/a01-000u-00.png, and trainset.txt, validationset1.txt, testset.txt.

    Lines whose segmentation is marked "err" are left out. Raises Problem on what is not so.
    """
    lists = {"train": "trainset.txt", "validation": "validationset1.txt", "test": "testset.txt"}
    said = {}
    for line in _text(folder / "ascii" / "lines.txt").splitlines():
        parts = line.split(" ")
        if line.startswith("#") or len(parts) < 9 or parts[1] != "ok":
            continue
        said[parts[0]] = " ".join(" ".join(parts[8:]).replace("|", " ").split())
    found: dict[str, list[Row]] = {}
    for split, file in lists.items():
        names = [name for name in _text(folder / file).split() if name in said]
        pictures = [folder / "lines" / name[:3] / name.rpartition("-")[0] / f"{name}.png" for name in names]
        found[split] = [
            (_grey(path), said[name], name.rpartition("-")[0]) for path, name in zip(pictures, names, strict=True)
        ]
    return found


def read_imgur5k(folder: Path) -> dict[str, list[Row]]:
    """The words of IMGUR5K (Krishnan et al. 2021, arXiv:2106.08385) as its authors' script leaves them: images/ID.jpg,
    dataset_info/imgur5k_annotations_{train,val,test}.json, with boxes [x, y, width, height, angle] around words.

    A word is cut upright from its box. Words marked "." are illegible and left out, and so are those of pictures that
    are no longer there.
    """
    from PIL import Image

    found: dict[str, list[Row]] = {}
    for split, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        saved = json.loads(_text(folder / "dataset_info" / f"imgur5k_annotations_{file}.json"))
        found[split] = []
        for picture, names in saved["index_to_ann_map"].items():
            path = folder / "images" / f"{picture}.jpg"
            if not path.is_file():
                continue
            with Image.open(path) as opened:
                page = opened.convert("L")
            for name in names:
                entry = saved["ann_id"][name]
                if entry["word"] == ".":
                    continue
                x, y, w, h, angle = json.loads(entry["bounding_box"])
                upright = page.rotate(angle, center=(x, y), resample=Image.Resampling.BILINEAR, fillcolor=PAPER)
                box = (round(x - w / 2), round(y - h / 2), round(x + w / 2), round(y + h / 2))
                found[split].append((np.asarray(upright.crop(box)), entry["word"], picture))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Problem(f"{path} is not there; unpack the set as its authors publish it") from None


# Drawn


def font_lines(
    texts: Sequence[str],
    fonts: Sequence[str],
    height: int,
    longest: int,
    rng: np.random.Generator,
    squeeze: bool = False,
) -> Lines:
    """Each text drawn in one of the fonts by chance; what would be wider than `longest` pixels is pressed."""
    chosen = [fonts[i] for i in rng.integers(len(fonts), size=len(texts))]
    rows = ((drawn_line(text, font, height, rng), text, font) for text, font in zip(texts, chosen, strict=True))
    return lines_of(rows, height, longest, squeeze)


def digit_strings(d: Images, part: str, n: int, height: int, rng: np.random.Generator, most: int = 6) -> Lines:
    """n strings of 2 to `most` digits, pasted from the pictures of one part of a set, "train" or "test", each digit at
    a height of its own and a gap of 0 to 2 pixels after the one before.

    So no picture of a digit is in both parts.
    """
    pictures, labels = (d.x, d.y) if part == "train" else (d.test_x, d.test_y)
    rows = []
    for _ in range(n):
        chosen = rng.integers(len(labels), size=int(rng.integers(2, most + 1)))
        text = "".join(d.labels[int(labels[i])] for i in chosen)
        rows.append((paste_pictures(pictures[chosen], height, rng), text, "digits"))
    return lines_of(rows, height)


def paste_pictures(pictures: Tensor, height: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures uint8 [n, 1, side, side], white on black, as one line uint8 [height, w], dark on white paper."""
    ink = PAPER - pictures[:, 0].numpy()
    side = ink.shape[-1]
    if side > height:
        raise Problem(f"digits of {side} pixels do not fit in lines of {height}; take a height of {side} or more")
    canvas = np.full((height, len(ink) * (side + 2) + 2), PAPER, np.uint8)
    at = 1
    for picture in ink:
        top = int(rng.integers(height - side + 1))
        canvas[top : top + side, at : at + side] = picture
        at += side + int(rng.integers(3))
    return canvas[:, : at + 1]
