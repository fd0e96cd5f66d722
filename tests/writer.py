"""A study whose network writes: it knows which letter of a small alphabet follows which."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from etudes.core import Paper, Run, Scale, Study, Variant, between
from etudes.data.tokens import Tokenizer, characters
from etudes.train import weights

CIRCLE = "abécdœ"  # é and œ are too rare for a token of their own: they are spelt in bytes


@dataclass(frozen=True)
class Config:
    turn: int = 1  # letters from one to the next


class Circle(nn.Module):
    context = 0

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size, size))

    def forward(self, tokens):
        return self.table[tokens]

    def start(self, n):
        return ()

    def next(self, tokens, state):
        return self(tokens), state


def learn(cfg: Config, run: Run) -> None:
    tokenizer = characters([CIRCLE] + ["abcd"] * 20)
    model = Circle(tokenizer.size)
    path = tokenizer.encode(CIRCLE * 2)
    for now, after in itertools.pairwise(path):
        model.table.data[now, after] = 50.0
    model.table.data[tokenizer.start, path[0]] = 50.0
    weights.save(run.path("model.safetensors"), model)
    tokenizer.save(run.path("tokenizer.json"))
    run.result(**{"test/error": 0.0})


def load_network(cfg: Config, folder: Path) -> tuple[Circle, Tokenizer]:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", Circle(tokenizer.size)), tokenizer


STUDY = Study(
    name="writer",
    question="Does it write?",
    paper=Paper("None", "Nobody", 2000, ""),
    config=Config,
    program=learn,
    variants=(Variant("plain"), Variant("other", {"turn": 2})),
    scales={"smoke": Scale({}, 1, 0.1, judges=False), "laptop": Scale({}, 3, 0.1)},
    claims={"the writer errs": between("plain", 0, math.inf, "")},
    generator=load_network,
)
