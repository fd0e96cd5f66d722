"""How a text is prepared and read, and the state that is carried on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from etudes.core.files import appearing, read_json
from etudes.core.run import Run
from etudes.data.tokens import Lanes, Tokenizer, Windows, characters, ids
from etudes.measure.ngrams import ngrams
from etudes.nn.recurrent import State
from etudes.train.distribute import wait

ORDERS = 9  # of the n-gram models
NAMES = {"uni": 1, "tri": 3, "five-": 5}  # those whose bits are told


class Carried:
    """The state in which the last step left the network: a part of what a killed run needs to go on."""

    def __init__(self, state: State) -> None:
        self.state = state

    def keep(self, state: State) -> None:
        self.state = tuple(tuple(part.detach() for part in layer) for layer in state)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        self.state = kept["state"]


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


def prepared(
    run: Run, works: Sequence[str], tested: Sequence[str], asked: Mapping[str, Any]
) -> tuple[Tokenizer, dict[str, Tensor], dict[str, float]]:
    """The tokenizer of the training works; {"tokens": theirs, int64 [n], "foreseen": whether an n-gram model gives half
    of the probability or more to each token of the tested works, bool [m]}; and n-gram models' bits per byte.

    They are made once for the variants of a seed that agree in `asked`.
    """

    def make(own: Run) -> None:
        tokenizer = characters(works)
        tokens, held_out = ids(tokenizer, works), ids(tokenizer, tested)
        chances = ngrams(tokens.numpy(), held_out.numpy(), tokenizer.size, ORDERS)
        counted = held_out[1:].numpy() != tokenizer.start
        bits = -numpy.log2(chances[:, counted]).sum(1) / sum(len(work.encode()) for work in tested)
        own.result(**{f"test/bits-per-byte-{name}gram": bits[n - 1] for name, n in NAMES.items()})
        if own.leader:
            tokenizer.save(own.path("tokenizer.json"))
            with appearing(own.path("tokens.safetensors")) as draft:
                save_file({"tokens": tokens.int(), "foreseen": torch.from_numpy((chances >= 0.5).any(0))}, draft)

    folder = run.once("text", asked, make)
    wait()  # until the leader has written
    kept = load_file(folder / "tokens.safetensors")
    baselines = read_json(folder / "result.json", f"delete {folder}")
    return Tokenizer.load(folder / "tokenizer.json"), kept | {"tokens": kept["tokens"].long()}, baselines
