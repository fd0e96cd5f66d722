"""What the networks see: graphs whose nodes are bags of words, and tasks, each with classes for some rows.

Everything is kept as tensors by name, in one file a seed, so that the variants of the seed read it in no time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import sparse
from torch import Tensor

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class View:
    """A graph as a part of it is seen: words int64 [k] of all nodes, where each node's begin [n], edges [2, m], and
    of each node the graph that it is in [n], or None where every node is a row of its own."""

    words: Tensor
    begins: Tensor
    edges: Tensor
    member: Tensor | None


@dataclass(frozen=True, eq=False)
class Examples:
    """Tensors by name, read by the methods.

    GRAPH/words, /ends [n + 1], /edges, /counts [3], and /member where rows are graphs: rows of the part to learn from
    come first, and what belongs to later parts is not there for earlier ones; counts are of nodes.
    TASK/y int64 [rows], -1 where a row has no class; TASK/PART rows; TASK/PART-GROUP rows of a group.
    """

    kept: Mapping[str, Tensor]
    tasks: Mapping[str, str]  # task -> its graph
    classes: Mapping[str, int]  # task -> number of classes

    def view(self, graph: str, part: str) -> View:
        """The nodes that are there when a part is learnt from or looked at, and the edges between them."""
        n = int(self.kept[f"{graph}/counts"][PARTS.index(part)])
        ends, edges = self.kept[f"{graph}/ends"], self.kept[f"{graph}/edges"]
        member = self.kept.get(f"{graph}/member")
        inside = edges[:, (edges < n).all(0)]
        words = self.kept[f"{graph}/words"][: int(ends[n])]
        return View(words, ends[:n], inside, None if member is None else member[:n])

    def rows(self, task: str, part: str) -> tuple[Tensor, Tensor]:
        """Rows that have a class, and the classes, of a part, or of a part's group such as train-scripts."""
        rows = self.kept[f"{task}/{part}"]
        return rows, self.kept[f"{task}/y"][rows]


def read_examples(folder: Path, tasks: Mapping[str, str]) -> Examples:
    """The examples of the tensors that were kept in a folder."""
    kept = load_file(folder / "examples.safetensors")
    return Examples(kept, tasks, {task: int(kept[f"{task}/classes"]) for task in tasks})


def bags(x: sparse.csr_matrix, columns: int) -> tuple[Tensor, Tensor]:
    """Words int64 [k] in 0 .. columns - 1 and where each row's end [n + 1], of the columns that a row has: column j is
    word j modulo the number of columns. A row without any has the word 0."""
    words = x.indices.astype(np.int64) % columns
    counts = np.diff(x.indptr)
    empty = np.flatnonzero(counts == 0)
    words = np.insert(words, x.indptr[empty], 0)
    ends = np.cumsum([0, *np.maximum(counts, 1)])
    return torch.from_numpy(words), torch.from_numpy(ends)


def graph_tensors(
    name: str, x: tuple[Tensor, Tensor], edges: Tensor, counts: tuple[int, int, int], member: Tensor | None = None
) -> dict[str, Tensor]:
    """What Examples keeps of a graph."""
    found = {"words": x[0], "ends": x[1], "edges": edges, "counts": torch.tensor(counts)}
    found |= {} if member is None else {"member": member}
    return {f"{name}/{key}": tensor.clone(memory_format=torch.contiguous_format) for key, tensor in found.items()}


def task_tensors(name: str, y: Tensor, classes: int, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What Examples keeps of a task; rows without a class are left out of the parts."""
    rows = {part: found[y[found] >= 0] for part, found in parts.items()}
    return {f"{name}/{key}": t for key, t in (rows | {"y": y, "classes": torch.tensor(classes)}).items()}


def reorder(x: sparse.csr_matrix, edges: Tensor, order: np.ndarray) -> tuple[sparse.csr_matrix, Tensor]:
    """Features and edges of the nodes named, in that order; edges to others are left out."""
    place = torch.full((x.shape[0],), -1)
    place[torch.from_numpy(order)] = torch.arange(len(order))
    moved = place[edges]
    return x[order], moved[:, (moved >= 0).all(0)]
