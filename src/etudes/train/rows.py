"""Numbers that a run gathers row by row, and that survive a kill."""

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem, unknown


class Rows:
    """A table of `n` rows, all 0 at first, whose named columns are filled as a run goes: one of the parts of `fit`.

    rows = Rows(len(questions), "rank", "f1")
    rows.put(i, rank=3, f1=0.5)
    rows["f1"].mean()
    """

    def __init__(self, n: int, *columns: str) -> None:
        if n < 1 or not columns or len(set(columns)) < len(columns):
            raise Problem(f"a table needs a row and columns with names of their own, not {n} rows of {columns}")
        self.columns = columns
        self.values = torch.zeros(n, len(columns), dtype=torch.float64)

    def put(self, row: int, **numbers: float | Tensor) -> None:
        """Set numbers of a row, of Python, NumPy or PyTorch, by their columns' names. Raises Problem on others."""
        for name, number in numbers.items():
            self.values[row, self._at(name)] = float(number)

    def __getitem__(self, column: str) -> np.ndarray:
        """The column's numbers, float64 [n]. Raises Problem on an unknown name."""
        return self.values[:, self._at(column)].numpy()

    def _at(self, name: str) -> int:
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        return self.columns.index(name)

    def state_dict(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.values = state["values"]
