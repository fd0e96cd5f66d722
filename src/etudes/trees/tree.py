"""A label tree as arrays, and the linear matchers of its levels.

A level's nodes are numbered from left to right, the children of a node one after another; the last level are the
labels in the tree's order. A matcher scores the children of a node by inner products with a document.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import sparse

from etudes.core.errors import Problem, unknown
from etudes.core.files import appearing
from etudes.trees.orders import middle
from etudes.trees.solver import squared_hinge

BLOCK = 64  # columns that are solved together
_ARRAYS = ("data", "indices", "indptr", "shape")  # of a sparse matrix
Combine = Literal["l3-hinge", "log-sigmoid"]


@dataclass(frozen=True, eq=False)
class Tree:
    """`order` [labels] and, for each level, where the children of each node of the level above begin [nodes + 1]."""

    order: np.ndarray
    begins: tuple[np.ndarray, ...]

    @property
    def depth(self) -> int:
        """The number of levels below the root."""
        return len(self.begins)

    def nodes(self, level: int) -> int:
        return int(self.begins[level][-1])

    def above(self, level: int) -> np.ndarray:
        """The place among the nodes of `level` of each label's ancestor [labels of the last level, in order]."""
        node = np.arange(self.nodes(level))
        for begin in self.begins[level + 1 :]:
            node = np.repeat(node, np.diff(begin))
        return node


def halvings(labels: int, leaf: int) -> int:
    """How often so many labels are halved until no part has more than `leaf`."""
    depth = 0
    while -(-labels // 2**depth) > leaf:
        depth += 1
    return depth


def grow(order: np.ndarray, leaf: int, branching: int) -> Tree:
    """The tree of an order: halved until no part has more than `leaf` labels, every log2(branching) halvings a level.

    The last of these levels may have fewer branches. Raises Problem where `branching` is no power of two.
    """
    each = branching.bit_length() - 1
    if branching < 2 or 2**each != branching:
        raise Problem(f"a node has {branching} branches; it must be a power of two, from 2 on")
    depth = halvings(len(order), leaf)
    bounds = [np.array([0, len(order)])]
    for _ in range(depth):
        sizes = np.diff(bounds[-1])
        halves = np.stack([middle(sizes), sizes - middle(sizes)], 1).ravel()
        bounds.append(np.concatenate([[0], halves.cumsum()]))
    stops = [*range(0, depth, each), depth]
    begins = [np.arange(2**stop + 1) * 2 ** (after - stop) for stop, after in pairwise(stops)]
    return Tree(np.asarray(order), (*begins, bounds[depth]))


@dataclass(eq=False)
class Matcher:
    """The weights [d, nodes] of each level trained so far, in columns, and how scores along a path are combined.

    `combine` is what a margin z adds to the logarithm of a path's score: "l3-hinge", -max(0, 1 - z)^3, PECOS's
    default, or "log-sigmoid". PECOS multiplies exp of it along the path, which is the same ranking. Beyond a margin of
    1 the hinge is flat, so labels can tie; z itself then decides, by a millionth.
    """

    tree: Tree
    combine: Combine = "l3-hinge"
    levels: list[sparse.csc_matrix] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.combine not in ("l3-hinge", "log-sigmoid"):
            raise unknown("way to combine scores", self.combine, ("l3-hinge", "log-sigmoid"))

    @property
    def nonzeros(self) -> int:
        return sum(level.nnz for level in self.levels)

    def log_scores(self, margins: np.ndarray) -> np.ndarray:
        if self.combine == "log-sigmoid":
            return -np.logaddexp(0, -margins)
        return -(np.maximum(0, 1 - margins) ** 3) + 1e-6 * np.minimum(margins, 10)

    def blocks(self, level: int) -> Iterator[tuple[int, int, int]]:
        """(node of the level above, its first child, the one after its last)."""
        begin = self.tree.begins[level]
        return zip(range(len(begin) - 1), begin[:-1].tolist(), begin[1:].tolist(), strict=True)

    def state_dict(self) -> dict[str, Any]:
        return {f"{i}.{p}": torch.as_tensor(getattr(m, p)) for i, m in enumerate(self.levels) for p in _ARRAYS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        count = len(state) // 4
        parts = [
            [state[f"{i}.{p}"].cpu().numpy() for p in ("data", "indices", "indptr", "shape")] for i in range(count)
        ]
        self.levels = [sparse.csc_matrix((d, i, p), shape=tuple(s.tolist())) for d, i, p, s in parts]

    def save(self, path: Path) -> None:
        """Write tree and weights to one safetensors file, whole or not at all."""
        begins = {f"begins.{i}": torch.as_tensor(begin) for i, begin in enumerate(self.tree.begins)}
        with appearing(path) as draft:
            tensors = {"order": torch.as_tensor(self.tree.order), **begins, **self.state_dict()}
            save_file(tensors, draft, metadata={"combine": self.combine})

    @classmethod
    def load(cls, path: Path) -> "Matcher":
        """The matcher of a file. Raises Problem where it holds none."""
        from safetensors import safe_open

        try:
            state = load_file(path)
            with safe_open(path, framework="pt") as file:
                combine = (file.metadata() or {})["combine"]
            order = state.pop("order").numpy()
            count = sum(name.startswith("begins.") for name in state)
            tree = Tree(order, tuple(state.pop(f"begins.{i}").numpy() for i in range(count)))
            found = cls(tree, combine)
            found.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise Problem(f"{path} holds no label tree ({error}); run the study again") from None
        return found


def positives(tree: Tree, y: sparse.csr_matrix, level: int) -> sparse.csr_matrix:
    """Which nodes of `level` have a true label below them, bool [n, nodes]; y [n, labels], in their own numbering."""
    place = np.empty(y.shape[1], np.int64)
    place[tree.order] = tree.above(level)
    rows, columns = y.nonzero()
    found = sparse.csr_matrix((np.ones(len(rows), bool), (rows, place[columns])), shape=(y.shape[0], tree.nodes(level)))
    found.sum_duplicates()
    return found.astype(bool)


def train_level(
    matcher: Matcher,
    x: sparse.csr_matrix,
    y: sparse.csr_matrix,
    cost: float,
    prune: float,
    reached: sparse.csr_matrix | None = None,
) -> int:
    """Train the next level of the matcher on documents x [n, d] and labels y [n, labels]; how many pairs it took.

    A node's children are told apart on the documents that belong to it, by a true label below (teacher-forcing
    negatives), and on those that a search would lead to it, `reached` [n, nodes above] (matcher-aware negatives), as in
    PECOS. Weights below `prune` in size are dropped.
    """
    level, tree = len(matcher.levels), matcher.tree
    own = positives(tree, y, level).tocsc()
    member = positives(tree, y, level - 1) if level else sparse.csr_matrix(np.ones((x.shape[0], 1), bool))
    member = (member if reached is None else member + reached).tocsc()
    columns, pairs = [], 0
    for node, first, last in matcher.blocks(level):
        rows = np.sort(member.indices[member.indptr[node] : member.indptr[node + 1]])
        part, used = drop_empty_columns(x[rows])
        pairs += len(rows) * (last - first)
        for begin in range(first, last, BLOCK):
            end = min(begin + BLOCK, last)
            marks = own[:, begin:end].tocsr()[rows].toarray()
            found = squared_hinge(part, np.where(marks, 1, -1), cost)
            found[np.abs(found) < prune] = 0
            columns.append(_widened(found, used, x.shape[1]))
    matcher.levels.append(sparse.hstack(columns, format="csc"))
    return pairs


def drop_empty_columns(x: sparse.csr_matrix) -> tuple[sparse.csr_matrix, np.ndarray]:
    """x without the columns that are empty in it, and the numbers of those that are left."""
    used, indices = np.unique(x.indices, return_inverse=True)
    return sparse.csr_matrix((x.data, indices, x.indptr), shape=(x.shape[0], len(used))), used


def _widened(weights: np.ndarray, used: np.ndarray, width: int) -> sparse.csc_matrix:
    found = sparse.csc_matrix(weights)
    indices = used[found.indices]
    return sparse.csc_matrix((found.data, indices, found.indptr), shape=(width, weights.shape[1]))
