"""Pictures with texts about them and a class each, where no text names a class.

Products are split by title: those whose titles differ in colour alone are in one part. Birds have their authors' split.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data import copies
from etudes.data.images import fingerprint, read_picture, resize_picture
from etudes.data.sources import (
    SOURCES,
    Source,
    copy_path,
    decoded_copies,
    find,
    mirror_folder,
    originals_folder,
    read_first,
    read_mirror,
)
from etudes.data.sources.carriers import digest

TASK = "captions"
PARTS = ("train", "validation", "test")
OF_TEN = (0, 0, 0, 0, 0, 0, 1, 2, 2, 2)  # the part of a group of products, by the last digit of its hash
LEAST = 100  # products of a type, at least
# What shops write for the types' names. A word of a title that contains one of these, or a word of a name, is left out.
SYNONYMS = (
    "bag", "ballerina", "beanie", "deo", "dress", "enamel", "eyewear", "flipflop", "fragrance", "hat", "jegging",
    "lacquer", "lipcolor", "lipcolour", "parfum", "sari", "shirt", "slipper", "sneaker", "stiletto", "tee", "wedge",
)  # fmt: skip
_CERTAIN = 3  # of CUB's certainties: 1 not visible, 2 guessing, 3 probably, 4 definitely


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures uint8 [n, 3, h, w], the captions of each, and the class and the part of each, int64 [n]."""

    name: str
    x: Tensor
    captions: tuple[tuple[str, ...], ...]  # of lower-case words; as many of each picture
    y: Tensor  # an index of `classes`
    part: Tensor  # an index of PARTS
    classes: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of the whole arrays and captions)

    def rows(self, part: str) -> Tensor:
        """The rows int64 [m] of a part."""
        return (self.part == PARTS.index(part)).nonzero()[:, 0]


Rows = tuple[list[Any], list[tuple[str, ...]], list[int], list[int], tuple[str, ...]]  # pictures, captions, y, part ...


@lru_cache(maxsize=2)
def captioned_pictures(name: str, side: int = 0) -> Captioned:
    """The pictures of a declared name with their captions, brought to a height of `side` pixels (0: the declared).

    Products are three quarters as wide as high; of birds the middle square is cropped. Problem for an unknown name, a
    set of another task, files that do not fit together, or where no source can be reached.
    """
    source = find(name)
    if source.task != TASK:
        known = ", ".join(s.name for s in SOURCES.values() if s.task == TASK)
        raise Problem(f"'{name}' is a {source.task} set without captions; captioned_pictures() reads {known}")
    side = side or source.side

    def read(kind: str) -> Captioned:
        if kind == "cache":
            for path in decoded_copies(source):
                if (found := _load(path, source, kind)) and found.x.shape[2] == side:
                    return found
            raise Problem(f"no decoded copy there is whole and of {side} pixels")
        folder = {"originals": originals_folder, "mirror": mirror_folder}.get(kind, lambda source: None)(source)
        if folder is None:
            raise Problem(f"pictures with captions are not read from the {kind}")
        path = copy_path(source, kind, f"{digest(folder)}-{side}")
        if found := _load(path, source, kind):
            return found
        rows = _products(source, side) if kind == "mirror" else _birds(source, folder, side)
        return _save(path, _assemble(source, kind, *rows))

    return read_first(source, read)


def words(text: str) -> list[str]:
    """The words of a text in small letters, without digits and marks; "T-shirt" is one word.

    >>> words("Puma Men's T-shirt, size 42")
    ['puma', 'men', 's', 'tshirt', 'size']
    """
    return re.findall(r"[^\W\d_]+", text.lower().replace("t-shirt", "tshirt"))


def stem(word: str) -> str:
    """An English noun without the ending of its plural: "watches" is "watch", "shoes" is "shoe"."""
    if re.search("(ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def contains(word: str, banned: str) -> bool:
    """Whether a word contains the banned one: anywhere, or if that has three letters or fewer at the word's beginning
    or end, so that "steel" has no tee."""
    return banned in word if len(banned) > 3 else word.startswith(banned) or word.endswith(banned)


def without(text: str, banned: Iterable[str]) -> str:
    """The words of a text but those that contain a banned word.

    >>> without("Puma Men Black Sweatshirt", ["shirt"])
    'puma men black'
    """
    return " ".join(word for word in words(text) if not any(contains(word, one) for one in banned))


def without_nouns(text: str, banned: Container[str]) -> str:
    """The words of a text but those that are a banned noun, in the singular or plural: a crow goes, its crown stays."""
    return " ".join(word for word in words(text) if stem(word) not in banned)


def class_words(classes: Iterable[str]) -> set[str]:
    """The stems of the words of products' class names, and of what else shops call them: what no title may contain."""
    return {stem(word) for name in classes for word in words(name) if word != "and"} | {*SYNONYMS}


def title_parts(titles: Sequence[str], colours: Iterable[str]) -> list[int]:
    """The part, an index of PARTS, of each title: the same where titles have the same words but for colours."""
    plain = {word for colour in colours for word in words(colour)}
    groups = [" ".join(sorted({*title.split()} - plain)) for title in titles]
    return [OF_TEN[int(hashlib.sha256(group.encode()).hexdigest(), 16) % 10] for group in groups]


def _products(source: Source, side: int) -> Rows:
    table = read_mirror(source).get("train")
    if table is None or not {*source.columns} <= {*table.column_names}:
        raise Problem(f"{source.folder} needs a split train with columns {', '.join(source.columns)}; copy it again")
    import datasets

    types = table["articleType"][:]
    classes = tuple(sorted(name for name, count in Counter(types).items() if count >= LEAST))
    if not classes:
        raise Problem(f"{source.folder} has no type of {LEAST} products; copy the set again")
    kept = [i for i, name in enumerate(types) if name in classes]
    names, colours = table["productDisplayName"][:], table["baseColour"][:]
    banned = class_words(classes)
    titles = [without(names[i], banned) for i in kept]
    parts = title_parts(titles, {colour or "" for colour in colours})
    encoded = table.cast_column("image", datasets.Image(decode=False)).select(kept)["image"]
    pictures = [
        _picture(row["bytes"] or b"", f"picture {i} of {source.folder}", (3 * side // 4, side))
        for i, row in zip(kept, encoded, strict=True)
    ]
    return pictures, [(title,) for title in titles], [classes.index(types[i]) for i in kept], parts, classes


def _picture(data: bytes, name: str, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] of size (w, h): resized as it is, or where that is a square its middle."""
    from PIL import Image

    picture = read_picture(io.BytesIO(data), f"{name} is damaged; fetch the set again")
    square = size[0] == size[1]
    return np.asarray(resize_picture(picture, size[0]) if square else picture.resize(size, Image.Resampling.BILINEAR))


# CUB-200-2011 (Wah et al. 2011), with the captions of Reed et al. 2016, arXiv:1605.05395


def _birds(source: Source, folder: Path, side: int) -> Rows:
    files, kinds = _list(folder, "images.txt"), _list(folder, "image_class_labels.txt")
    names, split = _list(folder, "classes.txt"), _list(folder, "train_test_split.txt")
    classes = tuple(name.split(".", 1)[-1].replace("_", " ") for name in names.values())
    place = {number: k for k, number in enumerate(names)}
    if strange := next((n for n in files if n not in split or kinds.get(n) not in place), None):
        raise Problem(f"the lists of {folder} do not say what picture {strange} is; unpack the set again")
    texts = attribute_captions(folder) if source.name == "cub-attributes" else read_captions(folder, files)
    if silent := next((file for n, file in files.items() if not texts.get(n)), None):
        raise Problem(f"there is no caption of {silent}; unpack the captions again")
    banned = {stem(words(name)[-1]) for name in classes}
    y, seen = [place[kinds[number]] for number in files], Counter[int]()
    parts = []
    for number, label in zip(files, y, strict=True):
        learnt = split[number] == "1"
        seen[label] += learnt
        parts.append((1 if seen[label] % 10 == 0 else 0) if learnt else 2)
    if gone := next((file for file in files.values() if not (folder / "images" / file).is_file()), None):
        raise Problem(f"{folder} holds no images/{gone}, which images.txt lists; unpack the set again")
    pictures = [_picture((folder / "images" / file).read_bytes(), file, (side, side)) for file in files.values()]
    least = min(map(len, texts.values()))
    captions = [tuple(without_nouns(text, banned) for text in texts[number][:least]) for number in files]
    return pictures, captions, y, parts, classes


def read_captions(folder: Path, files: dict[str, str]) -> dict[str, list[str]]:
    """The captions of each picture: a line each of text_c10/KIND/PICTURE.txt, in the folder or beside it."""
    places = [place for place in (folder / "text_c10", folder.parent / "cvpr2016_cub" / "text_c10") if place.is_dir()]
    if not places:
        raise Problem(
            f"{folder} holds no text_c10; unpack the captions of Reed et al. 2016 there, or use cub-attributes"
        )
    found = {}
    for number, file in files.items():
        path = (places[0] / file).with_suffix(".txt")
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found[number] = [line.strip() for line in lines if line.strip()]
    return found


def attribute_captions(folder: Path) -> dict[str, list[str]]:
    """One caption of each picture: the attributes that somebody saw on it, of those of which he was probably or
    definitely certain. Some lines of the authors' file have a column too many; the first four are read."""
    names = _list(folder, "attributes.txt", folder.parent)
    path = folder / "attributes" / "image_attribute_labels.txt"
    if not path.is_file():
        raise Problem(f"{folder} holds no attributes/{path.name}; unpack the set again")
    found: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            number, attribute, present, certainty = line.split()[:4]
            seen = found.setdefault(number, [])
            if present == "1" and int(certainty) >= _CERTAIN and attribute in names:
                seen.append(names[attribute].replace("::", " ").replace("_", " "))
    return {number: [" ".join(seen) or "nothing certain"] for number, seen in found.items()}


def _list(folder: Path, name: str, other: Path | None = None) -> dict[str, str]:
    """The lines "number text" of a list, in the folder or in another."""
    path = next((place / name for place in (folder, other) if place and (place / name).is_file()), None)
    if path is None:
        raise Problem(f"{folder} holds no {name}; unpack the set again")
    rows = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise Problem(f"{path} has lines that are no number and text; unpack the set again")
    return {number: text.strip() for number, text in rows}


# Decoded copies

_TENSORS = ("x", "y", "part")


def _assemble(source: Source, kind: str, pictures: Any, captions: Any, y: Any, part: Any, classes: Any) -> Captioned:
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    labels, parts = torch.as_tensor(y), torch.as_tensor(part)
    counts = " + ".join(f"{(parts == k).sum():,}" for k in range(len(PARTS)))
    h, w = x.shape[2:]
    says = f"{counts} pictures of {h} x {w} ({', '.join(PARTS)}), {len(classes)} classes, {source.says}"
    text = hashlib.sha256(json.dumps(captions).encode()).hexdigest()
    mark = hashlib.sha256((fingerprint(x, labels, parts) + text).encode()).hexdigest()
    about = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": mark}
    return Captioned(source.name, x, tuple(captions), labels, parts, tuple(classes), about)


def _save(path: Path, found: Captioned) -> Captioned:
    tensors = {"x": found.x.permute(0, 2, 3, 1), "y": found.y, "part": found.part}
    about = {"classes": json.dumps(found.classes), "captions": json.dumps(found.captions)}
    copies.save(path, found.name, tensors, about | {"fingerprint": found.source["fingerprint"]})
    return found


def _load(path: Path, source: Source, kind: str) -> Captioned | None:
    def make(tensors: list[Tensor], about: copies.About) -> Captioned | None:
        x, y, part = tensors
        captions = [tuple(several) for several in json.loads(about["captions"])]
        again = _assemble(source, kind, list(x.numpy()), captions, y, part, json.loads(about["classes"]))
        return again if again.source["fingerprint"] == about["fingerprint"] else None

    return copies.load(path, _TENSORS, make)
