"""Graphs whose nodes have features: papers that cite each other, and sets of molecules, one class a graph.

Read from the files that others have read them from for years: Planetoid's ind.* files of Cora and Citeseer (Yang et al.
2016, arXiv:1603.08861), with its split; and the text files of DGCNN (Zhang et al. 2018) with its ten folds.
"""

import collections
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, Source, originals_folder, unreachable
from etudes.data.sources.formats import NumpyOnly, unpickle

TASK = "graph"
PAPERS = ("cora", "citeseer")
VALIDATION = 500  # papers after those to learn from, by which Planetoid's readers choose


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph of n nodes, or several side by side; a row of `y` is a node, or a graph where there are several."""

    name: str
    x: sparse.csr_matrix  # features float32 [n, d]
    edges: Tensor  # int64 [2, m], each edge in both directions, none twice and none from a node to itself
    y: Tensor  # classes int64 [rows]
    groups: Tensor  # int64 [n], of each node the number of its graph: 0 where there is but one
    parts: dict[str, Tensor]  # rows: train, validation, test; or fold-1 to fold-10, each a tenth to test on
    classes: int
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of features, edges and classes)


def graph(name: str) -> Graph:
    """The graph of a declared name. Problem for another name, and where its files are absent or damaged."""
    source = SOURCES.get(name)
    if source is None or source.task != TASK:
        raise unknown("graph", name, [s.name for s in SOURCES.values() if s.task == TASK])
    if source.embedded:
        return drawn_papers(source)
    folder = originals_folder(source)
    if folder is None:
        raise unreachable(source, {})
    return read_planetoid(source, folder) if name in PAPERS else read_molecules(source, folder)


def both_ways(edges: np.ndarray | Tensor) -> Tensor:
    """Edges int64 [2, k] in both directions, in order, none twice, and none from a node to itself."""
    edges = torch.as_tensor(np.asarray(edges), dtype=torch.int64).reshape(2, -1)
    edges = torch.cat([edges, edges.flip(0)], 1)
    return edges[:, edges[0] != edges[1]].unique(dim=1)


def assemble(
    source: Source, kind: str, x: Any, edges: Tensor, y: np.ndarray, groups: np.ndarray, parts: dict[str, Any]
) -> Graph:
    """The Graph of what was read, with its fingerprint."""
    x = sparse.csr_matrix(x, dtype=np.float32)
    y, groups = y.astype(np.int64), groups.astype(np.int64)
    digest = hashlib.sha256()
    for values in (x.indptr.astype(np.int64), x.indices.astype(np.int64), x.data, edges.numpy(), y, groups):
        digest.update(np.ascontiguousarray(values).tobytes())
    classes = int(y.max()) + 1
    says = f"{source.says}; {x.shape[0]:,} nodes, {edges.shape[1] // 2:,} edges, {x.shape[1]:,} features"
    about = {"dataset": source.name, "kind": kind, "says": f"{says}, {classes} classes"}
    rows = {part: torch.as_tensor(np.asarray(found), dtype=torch.int64) for part, found in parts.items()}
    labels, members = torch.from_numpy(y), torch.from_numpy(groups)
    return Graph(source.name, x, edges, labels, members, rows, classes, about | {"fingerprint": digest.hexdigest()})


# Planetoid


class _Rows:
    """What a pickled matrix of SciPy remembers: data, indices, indptr and _shape."""


def _new(kind: Any, base: Any, state: Any) -> _Rows:
    if kind is not _Rows:
        raise Problem("the pickle makes an object of a kind that is not read; do not trust that file")
    return _Rows()


class _PlanetoidOnly(NumpyOnly):
    """Beside arrays, reads sparse matrices into _Rows, without SciPy, and dictionaries of lists."""

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)  # Python 2's names
        known = {
            "scipy.sparse.csr.csr_matrix": _Rows,
            "scipy.sparse._csr.csr_matrix": _Rows,
            "collections.defaultdict": collections.defaultdict,
            "builtins.list": list,
            "builtins.object": object,
            "copyreg._reconstructor": _new,
        }
        return known.get(f"{module}.{name}") or super().find_class(module, name)


def read_planetoid(source: Source, folder: Path) -> Graph:
    """Cora or Citeseer of `ind.NAME.{x,y,tx,ty,allx,ally,graph,test.index}` in the folder or in its folder "data".

    Rows of allx come first, then those of tx in the order that test.index says. Citeseer's index has gaps: papers
    without words, edges or a class, whose class is 0 here and which are in no part. The split is Planetoid's:
    the rows of x to learn from, 500 after them to choose by, those of tx to test on.
    """
    place = folder if (folder / f"ind.{source.name}.x").exists() else folder / "data"
    x, tx, allx = (_matrix(place / f"ind.{source.name}.{part}") for part in ("x", "tx", "allx"))
    ty, ally = (_read(place / f"ind.{source.name}.{part}") for part in ("ty", "ally"))
    links = _read(place / f"ind.{source.name}.graph")
    index = place / f"ind.{source.name}.test.index"
    try:
        order = np.array(index.read_text().split(), np.int64)
        n = int(order.max()) + 1
        if not (len(order) == tx.shape[0] == len(ty) and order.min() >= allx.shape[0] == len(ally)):
            raise ValueError("its files do not fit each other")
        whole = sparse.lil_matrix((n, allx.shape[1]), dtype=np.float32)
        whole[: allx.shape[0]], whole[order] = allx, tx
        y = np.zeros(n, np.int64)
        y[: len(ally)], y[order] = ally.argmax(1), ty.argmax(1)
        edges = both_ways(np.array([(u, v) for u, found in links.items() for v in found], np.int64).T)
        if len(edges.T) and int(edges.max()) >= n:
            raise ValueError("an edge goes to no paper")
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise Problem(f"{place} does not hold {source.name} ({error}); get Planetoid's folder data again") from None
    known = x.shape[0]
    parts = {"train": np.arange(known), "validation": np.arange(known, known + VALIDATION), "test": np.sort(order)}
    return assemble(source, "originals", whole, edges, y, np.zeros(n), parts)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise Problem(f"{path} is absent; get Planetoid's folder data again")
    try:
        return unpickle(path.read_bytes(), _PlanetoidOnly)
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from None


def _matrix(path: Path) -> sparse.csr_matrix:
    found = _read(path)
    try:
        state = vars(found)
        shape = state.get("_shape", state.get("shape"))
        return sparse.csr_matrix((state["data"], state["indices"], state["indptr"]), shape=shape, dtype=np.float32)
    except (TypeError, KeyError, ValueError) as error:
        raise Problem(f"{path} holds no sparse matrix ({error}); get Planetoid's folder data again") from None


# Molecules


def read_molecules(source: Source, folder: Path) -> Graph:
    """A set of `NAME/NAME.txt`: the number of graphs; of each a line "nodes class", then a line a node: "tag degree
    neighbours ...". Features are the tag, one column each; what follows the neighbours is left out. Of
    `NAME/10fold_idx/test_idx-K.txt` come the parts fold-1 to fold-10."""
    name = source.name.upper()
    path = folder / name / f"{name}.txt"
    y, tags, links, groups = [], [], [], []
    line = 0
    try:
        lines = iter(path.read_text(encoding="utf-8").splitlines())
        line, count = 1, int(next(lines))
        for number in range(count):
            line += 1
            size, label = map(int, next(lines).split())
            y.append(label)
            begin = len(tags)
            for node in range(begin, begin + size):
                line += 1
                tag, degree, *rest = next(lines).split()
                near = [int(one) for one in rest[: int(degree)]]
                if len(near) != int(degree) or not all(0 <= one < size for one in near):
                    raise ValueError("neighbours that are not there")
                tags.append(int(tag))
                groups.append(number)
                links += [(node, begin + one) for one in near]
        folds = {
            f"fold-{k}": np.loadtxt(folder / name / "10fold_idx" / f"test_idx-{k}.txt", np.int64) for k in range(1, 11)
        }
    except (OSError, ValueError, StopIteration) as error:
        raise Problem(f"line {line} of {path} is not as it should be ({error}); get the set again") from None
    _, label = np.unique(y, return_inverse=True)
    kinds, column = np.unique(tags, return_inverse=True)
    x = sparse.csr_matrix((np.ones(len(tags)), column, np.arange(len(tags) + 1)), shape=(len(tags), len(kinds)))
    edges = both_ways(np.array(links, np.int64).reshape(-1, 2).T)
    return assemble(source, "originals", x, edges, label, np.array(groups), folds)


# Drawn


def drawn_papers(source: Source, count: int = 400, subjects: int = 4, words: int = 200) -> Graph:
    """Made-up papers, the same at each call: each has twelve words, half of them of its subject's share of the
    dictionary, and about four citations, four in five of them within its subject."""
    rng = np.random.default_rng(20160902)
    y = rng.integers(subjects, size=count)
    share = words // subjects
    own = y[:, None] * share + rng.integers(share, size=(count, 6))
    column = np.concatenate([own, rng.integers(words, size=(count, 6))], 1)
    x = sparse.lil_matrix((count, words), dtype=np.float32)
    x[np.arange(count)[:, None], column] = 1
    near = [np.flatnonzero(y == subject) for subject in range(subjects)]
    pairs = [
        (u, int(rng.choice(near[y[u]]) if rng.random() < 0.8 else rng.integers(count)))
        for u in range(count)
        for _ in range(2)
    ]
    parts = {"train": np.arange(80), "validation": np.arange(80, 200), "test": np.arange(200, count)}
    return assemble(source, "embedded", x, both_ways(np.array(pairs).T), y, np.zeros(count), parts)
