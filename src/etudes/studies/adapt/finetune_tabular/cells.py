"""A small T5 that has read the rows of a table: cells are taken out, and it learns to write them.

This is span corruption (Raffel et al. 2019, arXiv:1910.10683, sec. 3.1.4) whose spans are whole values. A row whose
answer is asked is then but a row with one more cell taken out.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.spans import corrupt
from etudes.data.tables import ANSWERS, Table, Values
from etudes.data.tokens import bpe
from etudes.nn.t5 import T5, answer_loss, rows
from etudes.studies.adapt.finetune_tabular.writing import Writer, Writing, passages_of, writer
from etudes.tools.text_to_text import EncoderDecoder, Words, own_words
from etudes.train import Adam, adam, descend, fit, seeded, weights


@dataclass(frozen=True)
class Reading:
    """How a T5 is made that has read rows."""

    table: str
    width: int
    depth: int
    head: int  # width of an attention head
    vocabulary: int  # pieces of words, at most
    writings: tuple[Writing, ...]  # each batch is written in one of these ways, in turn
    share: float  # of the cells of a row that are taken out
    steps: int
    batch: int
    lr: float  # peak learning rate of Adam


def row_network(run: Run, recipe: Reading, table: Table, pretrained: bool) -> EncoderDecoder:
    """The T5 that has read the table's training rows, made once under each seed; or its copy with first weights. Its
    loss on validation rows stands in the results."""
    words = row_words(table, recipe.vocabulary)
    model = seeded(run, "init", lambda: _t5(recipe, words.size))
    if pretrained:
        content = {"fingerprint": table.source["fingerprint"]}
        made = run.once("reader", asdict(recipe) | content, lambda own: _read_rows(own, recipe, table))
        weights.load(made.folder / "model.safetensors", model)
        run.result(**{"validation/nats-cells": made.metrics["validation/nats-cells"]})
    return EncoderDecoder(model, words)


def row_words(table: Table, vocabulary: int) -> Words:
    """The pieces of words of a table's training rows, in all ways to write them, with its question and answers."""
    asked = " ".join((table.target, *ANSWERS))
    return own_words(bpe([f"{text} {asked}" for text in passages_of(table)], vocabulary))


def row_cells(row: Values, how: Writer, encode: Callable[[str], list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens int64 [t] of the row as it is written, and the column int64 [t] whose value each is part of; -1: of
    none."""
    tokens, places = [], []
    for i, name in enumerate(how.names):
        before = encode(f"{how.between[1] if i else ''}{name}")
        value = encode(f" {how.value(row, i)}")
        tokens += before + value
        places += [-1] * len(before) + [i] * len(value)
    return np.array(tokens), np.array(places)


def take_out(cells: tuple[np.ndarray, np.ndarray], gone: np.ndarray, end: int) -> tuple[list[int], list[int]]:
    """The row without the values of the columns `gone`, a mark in the place of each, and what is to be written: each
    mark with its value. The marks are the tokens behind `end`."""
    tokens, places = cells
    return corrupt(tokens, np.isin(places, gone), end + 1, end)


def _t5(recipe: Reading, vocabulary: int) -> T5:
    heads = max(1, recipe.width // recipe.head)
    return T5(vocabulary, recipe.width, recipe.depth, heads, recipe.head, 2 * recipe.width)


def _read_rows(run: Run, recipe: Reading, table: Table) -> None:
    """Train a T5 to write the cells that are taken out of rows, and leave it in the folder."""
    words = row_words(table, recipe.vocabulary)
    encode = functools.cache(words.encode)
    writers = [writer(table, how) for how in recipe.writings]
    model = seeded(run, "reader", lambda: _t5(recipe, words.size))
    settings = Adam(steps=recipe.steps, batch=recipe.batch, lr=recipe.lr, schedule="warmup")
    opt, schedule = adam(model, settings)
    columns = len(table.columns)
    count = max(1, round(recipe.share * columns))

    def loss(found: Sequence[Values], how: Writer, rng: np.random.Generator) -> Tensor:
        gone = rng.permuted(np.tile(np.arange(columns), (len(found), 1)), axis=1)[:, :count]
        pairs = [take_out(row_cells(row, how, encode), k, words.end) for row, k in zip(found, gone, strict=True)]
        questions, answers = (rows(texts).to(run.device) for texts in zip(*pairs, strict=True))
        return answer_loss(model(questions, answers), answers)

    def step(i: int) -> dict[str, Tensor]:
        rng = run.rng("cells", i)
        found = [table.train.values[k] for k in rng.integers(len(table.train), size=recipe.batch)]
        value = loss(found, writers[i % len(writers)], rng)
        return {"train/nats-cells": descend(value, opt, schedule, 1.0)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=settings.log_every)
    with torch.no_grad(), run.autocast():
        held_out = loss(table.validation.values[:500], writers[0], run.rng("held out"))
    run.result(**{"validation/nats-cells": held_out})
    weights.save(run.path("model.safetensors"), model)
