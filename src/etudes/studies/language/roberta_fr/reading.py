"""What the network reads: pieces of words and special tokens, windows of novels, and texts with labels."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from etudes.core import Problem, Run
from etudes.core.files import appearing
from etudes.data.text import SPLITS, Texts, beginnings
from etudes.data.tokens import START, Tokenizer, bpe
from etudes.data.treebank import genres
from etudes.studies.language.roberta_fr.baselines import baseline_bits, count_words_accuracy

PAD, MASK, FIRST = 0, 1, 3  # fills short rows; stands for a hidden token; the first ordinary token. 2 begins a row
RATE = 0.15  # of the tokens that are hidden where a network is tested
TRAINED = 2000  # labelled training paragraphs of novels at most, half of them of each class
LEAST = 60  # characters of a labelled paragraph
QUOTES = '«»“”"'


@dataclass(frozen=True)
class Reading:
    """All that the variants share. Tokens are int64; held-out windows have tokens hidden, the same in all runs."""

    tokenizer: Tokenizer
    windows: Tensor  # [n, context] of the training works
    held_out: dict[str, tuple[Tensor, Tensor, Tensor]]  # split -> (inputs, bool: which to tell, tokens) [m, context]
    labelled: dict[str, tuple[Tensor, Tensor]]  # split -> (texts [m, length], PAD at their ends; labels [m])
    metrics: dict[str, float]  # of baselines


def pieces(works: Sequence[str], size: int) -> Tokenizer:
    """Byte-level BPE of at most `size` tokens, PAD and MASK and START before the bytes and merges.

    The file that it saves holds all of them, so that `tokenizers` and `transformers` give the same ids.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        bpe(works, size - 2).save(path)
        known = json.loads(path.read_text(encoding="utf-8"))
        (start,) = known["added_tokens"]
        special = ["<pad>", "<mask>", START]
        known["added_tokens"] = [{**start, "id": i, "content": token} for i, token in enumerate(special)]
        others = [token for token in known["model"]["vocab"] if token != START]
        known["model"]["vocab"] = {token: i for i, token in enumerate([*special, *others])}
        path.write_text(json.dumps(known), encoding="utf-8")
        return Tokenizer.load(path)


def cut(tokenizer: Tokenizer, works: Sequence[str], context: int) -> Tensor:
    """Windows int64 [n, context] of the works, each START and then the next context - 1 tokens; a work's last tokens
    that fill no window are left out, so that nothing is padded."""
    rows = []
    for work in works:
        tokens = torch.tensor(tokenizer.encode(work), dtype=torch.int64)
        whole = len(tokens) // (context - 1)
        found = tokens[: whole * (context - 1)].view(whole, context - 1)
        rows.append(torch.cat([torch.full((whole, 1), tokenizer.start), found], 1))
    return torch.cat(rows)


def cover(tokens: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs, bool: which to tell, tokens): RATE of the ordinary tokens hidden for a test, each by MASK."""
    chosen = torch.from_numpy(rng.random(tokens.shape) < RATE) & (tokens >= FIRST)
    return tokens.masked_fill(chosen, MASK), chosen, tokens


def paragraphs(works: Sequence[str]) -> list[str]:
    """The works' lines of LEAST characters or more."""
    return [line for line in (line.strip() for work in works for line in work.split("\n")) if len(line) >= LEAST]


def speech(works: Sequence[str], marks: str, count: int, rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """At most `count` paragraphs in random order and their labels, as many of each: 1 where it began with a mark.

    In French novels a dash begins direct speech: the label is whether somebody speaks. The mark itself is taken away.
    Paragraphs in quotation marks could be either, and are left out.
    """
    found: tuple[list[str], list[str]] = ([], [])
    for line in paragraphs(works):
        text = line.lstrip(marks + " \xa0")
        if text and text[0] not in QUOTES:
            found[line[0] in marks].append(text)
    each = min(count // 2, *map(len, found))
    if not each:
        raise Problem(f"no paragraphs begin with one of '{marks}', or all do; name other --marks, or take --task genre")
    chosen = [(found[y][i], y) for y in (0, 1) for i in rng.permutation(len(found[y]))[:each]]
    shuffled = [chosen[i] for i in rng.permutation(len(chosen))]
    return [text for text, _ in shuffled], [y for _, y in shuffled]


def fill(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tensor:
    """The texts' first tokens int64 [m, length], START before them, PAD behind those that are shorter."""
    rows = torch.full((len(texts), length), PAD)
    for row, text in zip(rows, texts, strict=True):
        tokens = [tokenizer.start, *tokenizer.encode(text[: 8 * length])][:length]
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def read(run: Run, d: Texts, settings: Mapping[str, Any]) -> Reading:
    """The reading of these texts: made once for all variants and seeds.

    `settings`: dataset, characters, vocabulary, context, tested (characters of each held-out part), task, marks
    and length, which decide all of it.
    """

    def make(own: Run) -> None:
        tokenizer = pieces(d.train, settings["vocabulary"])
        tensors = {"windows": cut(tokenizer, d.train, settings["context"])}
        for split in SPLITS[1:]:
            windows = cut(tokenizer, beginnings(getattr(d, split), settings["tested"]), settings["context"])
            for name, tensor in zip(("inputs", "chosen", "tokens"), cover(windows, own.rng("cover")), strict=True):
                tensors[f"{split}.{name}"] = tensor
        for split, (texts, labels) in _labelled(d, settings, own).items():
            tensors |= {f"{split}.x": fill(tokenizer, texts, settings["length"]), f"{split}.y": torch.tensor(labels)}
        own.result(**baseline_bits(tensors["windows"], *_part(tensors, "test", "inputs", "chosen", "tokens")))
        most = count_words_accuracy(*_part(tensors, "train", "x", "y"), *_part(tensors, "test", "x", "y"), FIRST)
        own.result(**{"test/accuracy-bag-of-words": most, "test/accuracy-majority": _largest(tensors)})
        if own.leader:
            tokenizer.save(own.path("tokenizer.json"))
            with appearing(own.path("reading.safetensors")) as draft:
                save_file(tensors, draft)

    record = run.once("reading", settings, make, seed=0)
    tensors = load_file(record.folder / "reading.safetensors")
    return Reading(
        Tokenizer.load(record.folder / "tokenizer.json"),
        tensors["windows"],
        {split: _part(tensors, split, "inputs", "chosen", "tokens") for split in SPLITS[1:]},
        {split: _part(tensors, split, "x", "y") for split in SPLITS},
        dict(record.metrics),
    )


def _labelled(d: Texts, settings: Mapping[str, Any], own: Run) -> dict[str, tuple[list[str], list[int]]]:
    """Split -> (texts, labels). Held-out paragraphs for `speech` are as many as a three-hundredth of the characters
    tested on, twice as many in the test; of genres all sentences are taken."""
    if settings["task"] == "genre":
        found, source = genres()
        own.note(labelled=source)
        return found
    held, rng = settings["tested"] // 300, own.rng("paragraphs")
    counts = {"train": TRAINED, "validation": held, "test": 2 * held}
    return {split: speech(getattr(d, split), settings["marks"], count, rng) for split, count in counts.items()}


def _largest(tensors: Mapping[str, Tensor]) -> float:
    """The share of the test's labels that are the most frequent one in training."""
    return (tensors["test.y"] == tensors["train.y"].mode().values).double().mean().item()


def _part(tensors: Mapping[str, Tensor], split: str, *names: str) -> tuple[Any, ...]:
    return tuple(tensors[f"{split}.{name}"] for name in names)
