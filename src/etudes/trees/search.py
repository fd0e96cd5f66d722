"""Beam search down a label tree, over sparse matrices, and what it costs."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from etudes.core.errors import Problem
from etudes.trees.tree import Matcher

ROOM = 20_000_000  # candidates held at once


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best nodes of a level for each document, from the best on: `nodes` int [n, width], -1 where there are fewer;
    their scores [n, width]; and the inner products that it took, mean over documents."""

    nodes: np.ndarray
    scores: np.ndarray
    products: float


def search(matcher: Matcher, x: sparse.csr_matrix, beam: int, width: int = 0, depth: int = 0) -> Ranking:
    """The best `width` nodes (0: `beam`) of level `depth` (0: the last) for documents x [n, d].

    At every level the `beam` best nodes are kept and their children scored. With a beam as wide as the widest level it
    is an exhaustive search. For labels, see `labels`. Raises Problem on a beam below 1.
    """
    if beam < 1:
        raise Problem(f"the beam is {beam}; it must be at least 1")
    depth = depth or matcher.tree.depth
    width = width or beam
    held = max(_candidates(matcher, beam, level) for level in range(depth))
    rows = max(1, ROOM // held)
    parts = [_search(matcher, x[i : i + rows], beam, width, depth) for i in range(0, x.shape[0], rows)]
    total = sum(part.products * len(part.nodes) for part in parts)
    most = max(part.nodes.shape[1] for part in parts)
    nodes = np.concatenate([_filled(part.nodes, most, -1) for part in parts])
    scores = np.concatenate([_filled(part.scores, most, -np.inf) for part in parts])
    return Ranking(nodes, scores, total / max(1, x.shape[0]))


def labels(matcher: Matcher, found: Ranking) -> np.ndarray:
    """The labels [n, width] of the nodes of the last level, -1 where there is none."""
    return np.where(found.nodes >= 0, matcher.tree.order[found.nodes], -1)


def reachable_nodes(matcher: Matcher, x: sparse.csr_matrix, beam: int) -> sparse.csr_matrix:
    """Which nodes of the last trained level a search leads the documents to: bool [n, nodes]."""
    depth = len(matcher.levels)
    found = search(matcher, x, beam, depth=depth)
    rows, places = np.nonzero(found.nodes >= 0)
    shape = (x.shape[0], matcher.tree.nodes(depth - 1))
    return sparse.csr_matrix((np.ones(len(rows), bool), (rows, found.nodes[rows, places])), shape=shape)


def _candidates(matcher: Matcher, beam: int, level: int) -> int:
    begin = matcher.tree.begins[level]
    return min(beam, len(begin) - 1) * int(np.diff(begin).max())


def _search(matcher: Matcher, x: sparse.csr_matrix, beam: int, width: int, depth: int) -> Ranking:
    n = x.shape[0]
    nodes, scores, products = np.zeros((n, 1), np.int64), np.zeros((n, 1), np.float32), 0
    for level in range(depth):
        begin = matcher.tree.begins[level]
        sizes = np.diff(begin)
        wide = int(sizes.max())
        shape = (n, nodes.shape[1], wide)
        next_scores, next_nodes = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
        docs, slots = np.nonzero(nodes >= 0)
        parents = nodes[docs, slots]
        products += int(sizes[parents].sum())
        by_parent = np.argsort(parents, kind="stable")
        bounds = np.searchsorted(parents[by_parent], np.arange(len(sizes) + 1))
        for node, first, last in matcher.blocks(level):
            pick = by_parent[bounds[node] : bounds[node + 1]]
            if len(pick):
                who, where = docs[pick], slots[pick]
                margins = ((x if len(who) == n else x[who]) @ matcher.levels[level][:, first:last].tocsr()).toarray()
                next_scores[who, where, : last - first] = scores[who, where, None] + matcher.log_scores(margins)
                next_nodes[who, where, : last - first] = np.arange(first, last)
        last_level = level + 1 == depth
        flat_nodes, flat_scores = next_nodes.reshape(n, -1), next_scores.reshape(n, -1)
        nodes, scores = _best(flat_nodes, flat_scores, width if last_level else beam, last_level)
    return Ranking(nodes, scores, products / max(1, n))


def _best(nodes: np.ndarray, scores: np.ndarray, count: int, in_order: bool) -> tuple[np.ndarray, np.ndarray]:
    """The `count` best of each row, in order of their scores if asked for; of equals those that come first."""
    if scores.shape[1] > count:
        # By the value that the last of them has: the places that argpartition gives of equals depend on the processor.
        last = np.partition(scores, -count, axis=1)[:, -count, None]
        better, equal = scores > last, scores == last
        keep = better | (equal & (equal.cumsum(1) <= count - better.sum(1, keepdims=True)))
        nodes, scores = nodes[keep].reshape(-1, count), scores[keep].reshape(-1, count)
    elif not in_order:
        return nodes, scores
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(nodes, order, 1), np.take_along_axis(scores, order, 1)


def _filled(values: np.ndarray, width: int, filling: float) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=filling)
