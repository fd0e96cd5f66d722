"""A network is asked about rows: what it reads, what it writes, and the odds of its answers."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from etudes.data.tables import ANSWERS, Rows
from etudes.measure.error import evaluation_mode
from etudes.nn.t5 import PAD, rows
from etudes.studies.adapt.finetune_tabular.writing import Writer
from etudes.tools.text_to_text import EncoderDecoder

TOGETHER = 500  # rows that are asked at once
LONGEST = 4  # tokens of an answer, its end among them


@dataclass(frozen=True)
class Asker:
    """Asks a network about rows, which it writes out: a row, and behind it the column that is asked."""

    model: EncoderDecoder
    writer: Writer
    target: str

    @functools.cached_property
    def answers(self) -> list[list[int]]:
        """The tokens of "no" and of "yes", each as the value of a cell is written."""
        return [self.model.answer(f" {answer}") for answer in ANSWERS]

    def questions(self, found: Rows, orders: Sequence[np.ndarray] | None = None) -> list[list[int]]:
        """The tokens of each row, its columns in the table's order or in its own."""
        texts = [
            self.writer.write(row, None if orders is None else orders[i].tolist()) for i, row in enumerate(found.values)
        ]
        prompt = f"{{}}{self.writer.between[1]}{self.target}{self.writer.between[0].rstrip()}"
        return [self.model.question(prompt, text, len(text)) for text in texts]

    def odds(self, questions: Sequence[list[int]]) -> np.ndarray:
        """Log odds of yes of each question."""
        with evaluation_mode(self.model):
            return np.concatenate([answer_odds(self.model, some, *self.answers) for some in _batches(questions)])

    def write(self, questions: Sequence[list[int]]) -> list[str]:
        """What the network writes to each question."""
        with evaluation_mode(self.model):
            return [text for some in _batches(questions) for text in self.model.write(some, LONGEST)]


def _batches(questions: Sequence[list[int]]) -> list[Sequence[list[int]]]:
    return [questions[i : i + TOGETHER] for i in range(0, len(questions), TOGETHER)]


@torch.no_grad()
def answer_odds(model: EncoderDecoder, questions: Sequence[list[int]], no: list[int], yes: list[int]) -> np.ndarray:
    """log p(yes | question) - log p(no | question), of all tokens of the two answers, float64 [n]."""
    device = model.network.head.weight.device
    memory = model.network.read(rows(questions).to(device))
    both = []
    for answer in (no, yes):
        wanted = torch.tensor([answer], device=device).expand(len(questions), -1)
        begun = torch.nn.functional.pad(wanted[:, :-1], (1, 0), value=PAD)
        both.append(_log_chance(model.network.write(memory, begun), wanted))
    return (both[1] - both[0]).double().cpu().numpy()


def _log_chance(logits: Tensor, wanted: Tensor) -> Tensor:
    """Sum of the log chances [n] of the tokens int64 [n, t] under logits [n, t, vocabulary]."""
    return logits.float().log_softmax(2).gather(2, wanted[:, :, None]).sum((1, 2))


def column_orders(columns: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """An order of the columns for each of `count` rows, int64 [count, columns]."""
    return rng.permuted(np.tile(np.arange(columns), (count, 1)), axis=1)
