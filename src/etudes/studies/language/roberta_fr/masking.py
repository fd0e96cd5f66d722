"""Tokens hidden for training: which, and what stands in their places."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from etudes.core import Problem
from etudes.data.batches import Batches
from etudes.studies.language.roberta_fr.reading import FIRST, MASK


def hide(tokens: Tensor, rate: float, vocabulary: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(tokens with some hidden, bool: which have to be told): int64 and bool of the shape of `tokens`.

    Each ordinary token is chosen with chance `rate`. Of the chosen, 80 % are replaced by MASK, 10 % by a token drawn
    from all ordinary ones, and 10 % stay, so that the network cannot trust what it sees (BERT, sec. 3.1; RoBERTa, sec.
    2.3). Special tokens, those below FIRST, are neither chosen nor drawn.
    """
    chance, fate = (torch.from_numpy(rng.random(tokens.shape, np.float32)) for _ in range(2))
    others = torch.from_numpy(rng.integers(FIRST, vocabulary, tokens.shape))
    chosen = (chance < rate) & (tokens >= FIRST)
    hidden = torch.where(chosen & (fate < 0.8), MASK, tokens)
    return torch.where(chosen & (fate >= 0.9), others, hidden), chosen


class Hidden:
    """A set of windows int64 [n, t], each step some of them with tokens hidden: our own Dataset and DataLoader.

    With patterns = 0 masking is dynamic: fresh in each step (RoBERTa, sec. 4.1). With more it is static: what is hidden
    of each window is drawn so many times beforehand, and the windows' passes take these in turn.
    """

    def __init__(
        self, windows: Tensor, batch: int, rate: float, patterns: int, vocabulary: int, seed: Callable[..., int]
    ) -> None:
        if not len(windows):
            raise Problem("there is no whole window of text to learn from; take more characters, or a smaller context")
        self.windows, self.rate, self.patterns, self.vocabulary, self.seed = windows, rate, patterns, vocabulary, seed
        self.batches = Batches(len(windows), batch, seed("order"))
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}  # pattern -> all windows as it hides them

    def at(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs int64 [batch, t], bool [batch, t]: which to tell, tokens int64 [batch, t]) of step i = 0, 1, 2 ..."""
        rows = self.batches.at(i)
        tokens = self.windows[rows]
        if not self.patterns:
            return *self._hidden(tokens, "mask", i), tokens
        passes = (i * self.batches.batch + torch.arange(len(rows))) // self.batches.n
        tables = [self._table(turn) for turn in (passes % self.patterns).tolist()]
        inputs, chosen = (torch.stack([t[k][row] for t, row in zip(tables, rows, strict=True)]) for k in (0, 1))
        return inputs, chosen, tokens

    def _table(self, pattern: int) -> tuple[Tensor, Tensor]:
        if pattern not in self._tables:
            self._tables[pattern] = self._hidden(self.windows, "static mask", pattern)
        return self._tables[pattern]

    def _hidden(self, tokens: Tensor, stream: str, index: int) -> tuple[Tensor, Tensor]:
        return hide(tokens, self.rate, self.vocabulary, np.random.default_rng(self.seed(stream, index)))
