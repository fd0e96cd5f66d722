"""How a text is prepared and read, and the state that is carried on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from etudes.core import Run
from etudes.core.files import appearing
from etudes.data.text import beginnings, texts
from etudes.data.tokens import Lanes, Tokenizer, Windows, characters, ids
from etudes.measure.ngrams import ngrams
from etudes.measure.writing import words
from etudes.nn.recurrent import State

ORDERS = 9  # of the n-gram models
NAMES = {"uni": 1, "tri": 3, "five-": 5}  # those whose bits stand beside the networks


class HiddenState:
    """The state in which the last step left the network: one of the parts of `fit`. No gradient goes back over it."""

    def __init__(self, state: State) -> None:
        self.state = state

    def keep(self, state: State) -> None:
        self.state = tuple(tuple(part.detach() for part in layer) for layer in state)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.state = saved["state"]


def reader(way: str, tokens: Tensor, context: int, batch: int, seed: int) -> Callable[[int], tuple[Tensor, bool]]:
    """A function of a step i: its tokens int64 [batch, context + 1], and whether the state of step i - 1 goes on.

    "lanes": the text cut into as many lanes as a batch has rows, each read in order, its state carried. "forgetful":
    the same without the state. "windows": drawn from anywhere. "neighbours": one stretch of text, cut into rows.
    """
    if way == "windows":
        windows = Windows(tokens, context, batch, seed)
        return lambda i: (windows.at(i), False)
    if way == "neighbours":
        stretches = Lanes(tokens, batch * context, 1)
        return lambda i: (stretches.at(i)[0].unfold(0, context + 1, context), False)
    lanes = Lanes(tokens, context, batch)
    return lambda i: (lanes.at(i), way == "lanes" and not lanes.fresh(i))


@dataclass(frozen=True, eq=False)
class Text:
    """A text set made ready: cut in its splits, with its tokenizer and what n-gram models make of it."""

    train: tuple[str, ...]  # works
    scored: Mapping[str, list[str]]  # {"train", "validation", "test"}: the beginnings of works where bits are measured
    lexicon: Counter[str]  # how often the training works have each word, also those that are not trained on
    tokenizer: Tokenizer
    tokens: Tensor  # of the training works, int64 [n]
    foreseen: Tensor  # whether an n-gram model gives half of the probability to each tested token, bool [m]
    baselines: Mapping[str, float]  # bits per byte of n-gram models


def prepare(run: Run, dataset: str, characters: int, share: float, tested: int) -> Text:
    """So many characters of the set's training works, of which a share is trained on, and so many tested ones.

    Tokens and n-gram models are made once for the variants of a seed that agree in these settings.
    """
    d = texts(dataset).take(characters)
    run.note(data=d.source)
    lexicon = Counter(word for work in d.train for word in words(work))
    d = d.take(max(1, round(share * sum(map(len, d.train)))))
    works = {"train": d.train[: len(d.test)], "validation": d.validation, "test": d.test}
    scored = {split: beginnings(some, tested) for split, some in works.items()}
    settings = {"dataset": dataset, "characters": characters, "share": share, "tested": tested}
    made = run.once("text", settings, lambda own: _count(own, d.train, scored["test"]))
    tensors = load_file(made.folder / "tokens.safetensors")
    tokenizer, tokens = Tokenizer.load(made.folder / "tokenizer.json"), tensors["tokens"].long()
    return Text(d.train, scored, lexicon, tokenizer, tokens, tensors["foreseen"], made.metrics)


def _count(run: Run, works: Sequence[str], tested: Sequence[str]) -> None:
    """Leave the tokenizer and the tokens of the training works in the run's folder, and what n-gram models foresee."""
    tokenizer = characters(works)
    tokens, held_out = ids(tokenizer, works), ids(tokenizer, tested)
    chances = ngrams(tokens.numpy(), held_out.numpy(), tokenizer.size, ORDERS)
    counted = held_out[1:].numpy() != tokenizer.start
    bits = -numpy.log2(chances[:, counted]).sum(1) / sum(len(work.encode()) for work in tested)
    run.result(**{f"test/bits-per-byte-{name}gram": bits[n - 1] for name, n in NAMES.items()})
    if run.leader:
        tokenizer.save(run.path("tokenizer.json"))
        with appearing(run.path("tokens.safetensors")) as draft:
            save_file({"tokens": tokens.int(), "foreseen": torch.from_numpy((chances >= 0.5).any(0))}, draft)
