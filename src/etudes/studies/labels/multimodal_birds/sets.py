"""Examples of several modalities: photos with titles, made-up birds with captions, spoken digits seen and described.

A modality is a tensor: pictures and spectrograms are [n, c, h, w], words are [n, captions, length], the numbers of a
vocabulary, filled up with 0. An example that lacks a modality has zeros where it enters the network.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from etudes.audio.features import log_mel, wave
from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.audio import TAKES, Clips, sounds
from etudes.data.captioned import captioned_pictures
from etudes.data.images import images
from etudes.studies.labels.multimodal_birds.birds import COLOURS, KINDS, draw_birds, draw_pictures, write_caption

Inputs = dict[str, Tensor]
SPLITS = ("train", "validation", "test")
LENGTH = 24  # words of a caption, at most
WORDS = (  # what can be said of a digit: with the test, and how it is said where it is passed and where it is not
    (lambda digit: digit % 2 == 0, ("even", "paired"), ("odd", "unpaired")),
    (lambda digit: digit < 5, ("small", "low"), ("large", "high")),
    (lambda digit: digit % 3 == 0, ("threefold",), ("broken",)),
    (lambda digit: digit in (0, 4, 5, 9), ("fourlettered",), ("otherwise",)),  # as its English name is written
)


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of each modality [n, ...] and the class y: int64 [n]."""

    inputs: Inputs
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor) -> "Examples":
        return Examples({name: x[rows] for name, x in self.inputs.items()}, self.y[rows])

    def to(self, device: torch.device) -> "Examples":
        return Examples({name: x.to(device) for name, x in self.inputs.items()}, self.y.to(device))

    def only(self, names: Sequence[str]) -> "Examples":
        return Examples({name: self.inputs[name] for name in names}, self.y)


@dataclass(frozen=True, eq=False)
class Task:
    """The examples of each split, and the texts of the vocabulary's numbers: "" is 0, the filling, and "?" is 1."""

    splits: Mapping[str, Examples]
    classes: int
    vocabulary: tuple[str, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.splits["train"].inputs)

    def with_splits(self, **splits: Examples) -> "Task":
        return replace(self, splits={**self.splits, **splits})


def choose_caption(inputs: Inputs, rng: np.random.Generator) -> Inputs:
    """The inputs with one of each example's captions, drawn: words [n, length]."""
    if "words" not in inputs:
        return inputs
    words = inputs["words"]
    n, captions = words.shape[:2]
    return inputs | {"words": words[torch.arange(n), torch.from_numpy(rng.integers(captions, size=n))]}


def encode_captions(splits: Mapping[str, Sequence[Sequence[str]]], least: int) -> tuple[dict[str, Tensor], list[str]]:
    """The captions of each split as numbers [n, captions, length], and the vocabulary: the words that stand in the
    captions of `least` training examples or more, in the order of the alphabet. With 0 it has the words of all splits,
    for encoders that knew their words beforehand."""
    shown = splits["train"] if least else [several for each in splits.values() for several in each]
    counts = Counter(word for several in shown for word in {w for text in several for w in text.split()})
    vocabulary = ["", "?", *sorted(word for word, count in counts.items() if count >= least)]
    number = {word: i for i, word in enumerate(vocabulary)}
    rows = {
        split: [[[number.get(word, 1) for word in text.split()[:LENGTH]] for text in several] for several in captions]
        for split, captions in splits.items()
    }
    longest = max((len(row) for each in rows.values() for several in each for row in several), default=1)
    filled = {
        split: torch.tensor([[row + [0] * (max(1, longest) - len(row)) for row in several] for several in each])
        for split, each in rows.items()
    }
    return filled, vocabulary


def assemble(parts: Mapping[str, tuple[Inputs, Sequence[Sequence[str]], Tensor]], classes: int, least: int) -> Task:
    """A Task of each split's inputs without words, captions and classes; words come last."""
    numbers, vocabulary = encode_captions({split: captions for split, (_, captions, _) in parts.items()}, least)
    splits = {split: Examples(inputs | {"words": numbers[split]}, y) for split, (inputs, _, y) in parts.items()}
    return Task(splits, classes, tuple(vocabulary))


def pairs(run: Run, name: str, side: int, learnt: int, tested: int, least: int = 2) -> Task:
    """Pictures with captions of a declared set, or "drawn-birds"; `learnt` training examples drawn by the run, and
    evenly spread ones of validation and test, at most `tested` of each (0: all). `least`: see `encode_captions`."""
    if name == "drawn-birds":
        return birds(run, learnt or 2000, tested or 2000)
    d = captioned_pictures(name, side)
    run.note(data=d.source)
    parts = {}
    for split in SPLITS:
        rows = d.rows(split)
        if split == "train":
            rows = rows[torch.from_numpy(run.rng("subset").permutation(len(rows))[: learnt or None])]
        elif tested:
            rows = rows[torch.linspace(0, len(rows) - 1, min(tested, len(rows))).round().long()]
        parts[split] = ({"picture": d.x[rows]}, [d.captions[i] for i in rows.tolist()], d.y[rows])
    return assemble(parts, len(d.classes), least)


def birds(run: Run, learnt: int, tested: int) -> Task:
    """Made-up birds, drawn anew under every seed."""
    says = f"{learnt:,} + {tested:,} + {tested:,} made-up birds of {KINDS} kinds and {len(COLOURS)} colours, drawn"
    run.note(data={"dataset": "drawn-birds", "kind": "drawn", "says": says})
    parts = {}
    for split in SPLITS:
        rng = run.rng(f"birds {split}")
        some = draw_birds(learnt if split == "train" else tested, rng)
        captions = [(write_caption(bird, rng),) for bird in some]
        parts[split] = ({"picture": draw_pictures(some, rng)}, captions, torch.tensor([b.kind for b in some]))
    return assemble(parts, KINDS, 1)


def say_of_digit(digit: int, rng: np.random.Generator) -> str:
    """Two things that are true of a digit: no digit has its own words, and each is said of several."""
    chosen = rng.choice(len(WORDS), size=2, replace=False)
    return " ".join(str(rng.choice(WORDS[i][1] if WORDS[i][0](digit) else WORDS[i][2])) for i in chosen)


def digits(run: Run, name: str, noise: float, learnt: int, tested: int) -> Task:
    """Spoken digits with a picture of the same digit and two words on it: pairs that are made by class alone.

    Takes 0 to 4 of every voice are tested on, each several times, with other pictures and words; 5 to 9 are of
    validation. Pictures have normal noise of deviation `noise`, white being 1, and none is in two splits.
    """
    heard, seen = sounds(name, seconds=0.6), images("digits")
    run.note(data=heard.source | {"says": f"{heard.source['says']}; pictures: {seen.source['says']}"})
    check = heard.train.takes < 2 * TAKES
    clips = {"train": heard.train.take(~check), "validation": heard.train.take(check), "test": heard.test}
    third = torch.arange(len(seen.y)) % 3 == 0
    pictures = {
        "train": (seen.x[~third], seen.y[~third]),
        "validation": (seen.x[third], seen.y[third]),
        "test": (seen.test_x, seen.test_y),
    }
    parts = {}
    for split in SPLITS:
        rng = run.rng(f"digits {split}")
        n = len(clips[split])
        order = rng.permutation(n)[: learnt or None] if split == "train" else rng.integers(n, size=tested or 4 * n)
        rows = torch.from_numpy(order)
        sound, y = spectra(clips[split].take(rows), heard.rate)
        picture = noisy(pair_by_class(y, *pictures[split], rng), noise, rng)
        captions = [(say_of_digit(digit, rng),) for digit in y.tolist()]
        parts[split] = ({"picture": picture, "sound": sound}, captions, y)
    return assemble(parts, 10, 1)


def spectra(clips: Clips, rate: int) -> tuple[Tensor, Tensor]:
    """Log-mel spectra float [n, 1, 20, frames] of recordings, and their classes [n]."""
    return log_mel(wave(clips.x), rate, 256, 200, 20)[:, None], clips.y


def pair_by_class(y: Tensor, x: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """For each class in y: [n] one of x: [m, ...] whose label is that class, drawn with replacement."""
    found = torch.zeros(len(y), dtype=torch.long)
    for k in y.unique().tolist():
        pool, mine = (labels == k).nonzero()[:, 0], (y == k).nonzero()[:, 0]
        if not len(pool):
            raise Problem(f"there is nothing of class {k} to pair with; take more examples")
        found[mine] = pool[torch.from_numpy(rng.integers(len(pool), size=len(mine)))]
    return x[found]


def noisy(x: Tensor, noise: float, rng: np.random.Generator) -> Tensor:
    """Pictures uint8 with normal noise of deviation `noise` (white is 1), within 0 to 255 again."""
    more = torch.from_numpy(rng.normal(0, 255 * noise, tuple(x.shape)))
    return (x.double() + more).clamp(0, 255).to(torch.uint8)


def pair_anew(task: Task, run: Run) -> Task:
    """The task with the words of every example given to another of its class, in all splits: pairs by class alone."""
    splits = {}
    for split, examples in task.splits.items():
        words, rng = examples.inputs["words"].clone(), run.rng(f"pair anew {split}")
        for k in examples.y.unique().tolist():
            mine = (examples.y == k).nonzero()[:, 0]
            words[mine] = words[mine[torch.from_numpy(rng.permutation(len(mine)))]]
        splits[split] = Examples(examples.inputs | {"words": words}, examples.y)
    return task.with_splits(**splits)
