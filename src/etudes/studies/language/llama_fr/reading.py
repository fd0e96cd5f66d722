"""The tokens that a network reads: made once for the variants that share them."""

from collections.abc import Mapping
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from etudes.core import Run
from etudes.core.files import appearing
from etudes.data.text import Texts
from etudes.data.tokens import Tokenizer, bpe, characters, ids, pretrained


def tokenize(run: Run, d: Texts, name: str, settings: Mapping[str, Any]) -> tuple[Tokenizer, Tensor]:
    """The tokenizer of this name and the training works' tokens, int64 [n].

    "characters" and "bpe-SIZE" are learnt from the works; other names are those of `pretrained`. Made once for the
    variants of a seed that agree in the name and in `settings`, which hold all that decides the works.
    """

    def make(own: Run) -> None:
        kind, _, size = name.partition("-")
        learn = {"characters": lambda: characters(d.train), "bpe": lambda: bpe(d.train, int(size))}
        tokenizer = learn[kind]() if kind in learn else pretrained(name)
        tokens = ids(tokenizer, d.train)
        if own.leader:
            tokenizer.save(own.path("tokenizer.json"))
            with appearing(own.path("tokens.safetensors")) as draft:
                save_file({"tokens": tokens.int()}, draft)
        own.result(**{"train/tokens": len(tokens)})

    folder = run.once("tokens", {**settings, "tokenizer": name}, make).folder
    return Tokenizer.load(folder / "tokenizer.json"), load_file(folder / "tokens.safetensors")["tokens"].long()
