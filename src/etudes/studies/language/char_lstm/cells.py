"""What single cells of a recurrent network see, how its gates stand, and which characters it misses.

After Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks" (arXiv:1506.02078).
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from etudes.core.files import appearing
from etudes.measure.ranking import auroc
from etudes.measure.writing import WORD, words

RECENT = 1000  # characters that a memory of recent words reaches back
RARE = 5  # times that a rare word is seen in training, at most
OPEN, CLOSED = "([{", ")]}"
ROWS, WARM = 8, 100  # parts of a text that are watched at once, each from this character on
SELDOM = 0.01  # a feature that holds, or does not, at a smaller share of characters is left out


def features(text: str, middle: int) -> dict[str, np.ndarray]:
    """{feature: whether it holds after each character has been read, bool [n]}.

    "late-in-line": `middle` characters or more follow the last line break. "first-line": an empty line, or nothing, is
    before this line: a speaker's name in a play, a stanza's first verse. "in-quotes": between double quotation marks.
    "in-brackets": inside (), [] or {}. An empty line closes what is open, so that one stray mark spoils no more than a
    paragraph; quotation marks inside of brackets and the other way round are not told apart.
    """
    found = {name: np.zeros(len(text), bool) for name in ("late-in-line", "first-line", "in-quotes", "in-brackets")}
    place, first, quoted, depth = 0, True, False, 0
    for i, character in enumerate(text):
        if character == "\n":
            first = place == 0
            quoted, depth = (False, 0) if first else (quoted, depth)
            place = 0
        else:
            place += 1
        if character in '"“”':
            quoted = {'"': not quoted, "“": True, "”": False}[character]
        depth = max(0, depth + (character in OPEN) - (character in CLOSED))
        for name, holds in zip(found, (place >= middle, first, quoted, depth > 0), strict=True):
            found[name][i] = holds
    return found


def middle(text: str) -> int:
    """Half of the text's characters that end no line follow their line break by fewer than so many, half by more."""
    places = np.concatenate([np.arange(1, len(line) + 1) for line in text.split("\n")])
    return int(np.median(places)) if len(places) else 0


def spans(tokenizer: Any, text: str) -> np.ndarray:
    """Where the tokens of each character begin, and the last ones end, int64 [characters + 1].

    For a tokenizer that encodes every character by itself, most as one token and rare ones as several.
    """
    sizes = {character: len(tokenizer.encode(character)) for character in set(text)}
    return np.cumsum([0, *(sizes[character] for character in text)])


@torch.no_grad()
def activations(model: Any, tokenizer: Any, text: str) -> dict[str, np.ndarray]:
    """{"at": the places [n] in the text of n of its characters; "units": what all layers' units have after each, [n,
    units], an LSTM's cells and the hidden values of others; each gate by its name, [n, units]}.

    `model` is a `Recurrent`. The text is read in ROWS parts at once, of which the first WARM characters are left out,
    as the network has read too little before them.
    """
    tokens = torch.tensor(tokenizer.encode(text), device=model.head.weight.device)
    row = len(tokens) // ROWS
    seen = model.watch(tokens[: ROWS * row].view(ROWS, row), model.start(ROWS))
    last = spans(tokenizer, text)[1:] - 1
    at = np.flatnonzero((last < ROWS * row) & (last % max(row, 1) >= min(WARM, row // 2)))
    found = {name: torch.cat([layer[name] for layer in seen], -1).flatten(0, 1).float().cpu() for name in seen[0]}
    values = {name: part.numpy()[last[at]] for name, part in found.items()}
    hidden = values.pop("hidden")
    return {"at": at, "units": values.pop("cell", hidden), **values}


def detectors(
    texts: Mapping[str, str], seen: Mapping[str, Mapping[str, np.ndarray]], middle: int
) -> dict[str, tuple[int, int, float]]:
    """{feature: (cell, sign, area)}: the cell that detects the feature best in the validation text, and the area of
    that cell, with that sign, in the test text.

    texts: {"validation", "test"}, seen: the `activations` in each. "late-in-line" is asked of what is in no
    "first-line": names are short, and a cell that knows names would pass for one that knows places. Features that hold
    nearly always or never are left out.
    """
    held = {split: features(text, middle) for split, text in texts.items()}
    found = {}
    for name in held["test"]:
        units, holds = {}, {}
        for split, marked in held.items():
            at = seen[split]["at"]
            kept = ~marked["first-line"][at] if name == "late-in-line" else np.ones(len(at), bool)
            units[split], holds[split] = seen[split]["units"][kept], marked[name][at][kept]
        if all(len(h) and SELDOM < h.mean() < 1 - SELDOM for h in holds.values()):
            cell, sign = best(auroc(units["validation"], holds["validation"]))
            found[name] = (cell, sign, float(auroc(sign * units["test"][:, [cell]], holds["test"])[0]))
    return found


def best(areas: np.ndarray) -> tuple[int, int]:
    """(cell, sign) of the area [cells] farthest from 1/2: the cell detects by high values (sign 1) or by low (-1)."""
    cell = int(np.abs(areas - 0.5).argmax())
    return cell, 1 if areas[cell] >= 0.5 else -1


def saturation(gate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of time that each cell's gate, [n, cells] in [0, 1], is nearly shut (below 0.1) and nearly open (above
    0.9), [cells] each: left and right saturated (sec. 4.2)."""
    return (gate < 0.1).mean(0), (gate > 0.9).mean(0)


def causes(text: str, missed: np.ndarray, foreseen: np.ndarray, known: Counter[str]) -> dict[str, float]:
    """{cause: share of the missed characters}, each miss under the first cause that holds; they sum to 1.

    missed: whether the network gave a character less than half of the probability (sec. 4.4), bool [n]; foreseen:
    whether an n-gram model gave it half or more. "n-gram": it is foreseen. "recent-word": in a word (of two letters or
    more, as everywhere here) that stands among the last RECENT characters too. "rare-word": in one that `known`, the
    counts of the training text's `words`, has RARE times or fewer. "word-start": after white space or a quotation mark.
    "punctuation": no letter. "rest". All 0 where nothing is missed.
    """
    recent, rare = np.zeros(len(text), bool), np.zeros(len(text), bool)
    last: dict[str, int] = {}
    for match in WORD.finditer(text):
        here = slice(*match.span())
        for word in words(match[0]):  # one, or of single letters none
            recent[here] = match.start() - last.get(word, -RECENT - 1) <= RECENT
            rare[here] = known[word] <= RARE
            last[word] = match.start()
    start = np.array([before.isspace() or before in "\"'“‘" for before in "\n" + text[:-1]])
    other = np.array([not character.isalpha() for character in text])
    found, left = {}, missed.copy()
    for name, holds in {
        "n-gram": foreseen,
        "recent-word": recent,
        "rare-word": rare,
        "word-start": start,
        "punctuation": other,
        "rest": np.ones(len(text), bool),
    }.items():
        found[name] = float((left & holds).sum() / max(1, missed.sum()))
        left &= ~holds
    return found


def heat_map(path: Path, text: str, values: np.ndarray, columns: int = 80) -> None:
    """Write the text as a PNG, each character on the colour of its value in [-1, 1]: red below zero, blue above.

    values: [n]. Longer lines are broken; what a line break has is shown as an empty cell at the line's end.
    """
    from PIL import Image, ImageDraw, ImageFont

    wide, high = 9, 16  # pixels of a character
    places, row, column = [], 0, 0
    for character in text:
        if column >= columns:
            row, column = row + 1, 0
        places.append((column, row))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    size = (wide * columns, high * (places[-1][1] + 1 if places else 1))
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for character, value, (column, row) in zip(text, np.clip(values, -1, 1), places, strict=True):
        x, y, pale = wide * column, high * row, 255 - round(160 * abs(float(value)))
        colour = (pale, pale, 255) if value > 0 else (255, pale, pale)
        draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=colour)
        if not character.isspace():
            draw.text((x + wide / 2 - draw.textlength(character, font) / 2, y + 2), character, fill="black", font=font)
    with appearing(path) as draft:
        picture.quantize(64, dither=Image.Dither.NONE).save(draft, "png", optimize=True)
