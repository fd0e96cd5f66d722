"""Orders of labels, from which trees are cut: what differs between the ways of building a label tree.

A tree halves its order again and again, into equal parts, so all orders give trees of one shape with leaves of one
size. Only what stands together differs: labels of like documents (k-means), labels of the same documents (METIS),
labels of like names, of like frequency, or nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from etudes.core.errors import Problem

Halve = Callable[[np.ndarray], np.ndarray]  # labels -> the scores by which they are sorted: the larger half goes first
ROUNDS = 20  # of 2-means, at most


def label_features(x: sparse.csr_matrix, y: sparse.csr_matrix) -> sparse.csr_matrix:
    """PIFA, positive instance feature aggregation [labels, d]: the sum of a label's documents, of length 1.

    Documents x [n, d], labels y [n, labels]. PECOS, Yu et al. 2022.
    """
    summed = (y.T.tocsr() @ x).tocsr()
    length = np.sqrt(np.asarray(summed.multiply(summed).sum(1)).ravel())
    return (sparse.diags(1 / np.maximum(length, 1e-12)) @ summed).tocsr().astype(np.float32)


def halving_order(n: int, depth: int, halve: Halve) -> np.ndarray:
    """0 .. n-1 so ordered that every halving, `depth` times, puts those together that `halve` scores alike."""
    parts = [np.arange(n)]
    for _ in range(depth):
        found = []
        for part in parts:
            sorted_part = part[np.argsort(-halve(part), kind="stable")] if len(part) > 1 else part
            found += [sorted_part[: middle(len(part))], sorted_part[middle(len(part)) :]]
        parts = [np.sort(part) for part in found]
    return np.concatenate(parts)


def middle(n: Any) -> Any:
    """The size of the first half of n; n is a number or an array."""
    return (n + 1) // 2


def kmeans(features: sparse.csr_matrix, depth: int, rng: np.random.Generator) -> np.ndarray:
    """The order of hierarchical balanced spherical 2-means of label features [labels, d] of length 1.

    Each half has the labels that are, by cosine, nearer to its centre than to the other's, as far as both can be of
    one size: Prabhu et al. 2018 (Parabel), and PECOS.
    """

    def halve(part: np.ndarray) -> np.ndarray:
        own = features[part]
        size = middle(len(part))
        begin = own[np.sort(rng.choice(len(part), 2, replace=False))].toarray()
        scores = own @ (begin[0] - begin[1])
        first = np.zeros(len(part), bool)
        for _ in range(ROUNDS):
            before = first
            first = np.zeros(len(part), bool)
            first[np.argsort(-scores, kind="stable")[:size]] = True
            if (first == before).all():
                break
            scores = own @ (_centre(own, first) - _centre(own, ~first))
        return scores

    return halving_order(features.shape[0], depth, halve)


def _centre(rows: sparse.csr_matrix, chosen: np.ndarray) -> np.ndarray:
    summed = rows.T @ chosen.astype(np.float32)
    length = np.sqrt((summed * summed).sum())  # BLAS's norm would depend on the processor, and k-means with it
    return summed / max(float(length), 1e-12)


def cooccurrence(y: sparse.csr_matrix) -> sparse.csr_matrix:
    """How many documents two labels share [labels, labels], int64, without the diagonal."""
    plain = (y != 0).astype(np.int64)
    together = (plain.T @ plain).tolil()
    together.setdiag(0)
    together = together.tocsr()
    together.eliminate_zeros()
    return together


def isolated_nodes(graph: sparse.csr_matrix) -> np.ndarray:
    """The nodes that have no edge."""
    return np.flatnonzero(np.diff(graph.indptr) == 0)


def metis(graph: sparse.csr_matrix, depth: int, rng: np.random.Generator) -> np.ndarray:
    """The order of METIS's recursive bisection of a graph with integer weights (Karypis and Kumar 1998).

    METIS balances its halves to within a few nodes. So that leaves are as large as any other tree's, those that lose
    least by it move from the larger half to the smaller. Labels without an edge inside the part that is halved say
    nothing of where they belong: METIS is not asked about them, and by chance they fill up the halves.
    """
    try:
        import pymetis
    except ImportError:
        raise Problem("METIS needs the package pymetis; install etudes[extreme], or leave out its variants") from None

    def halve(part: np.ndarray) -> np.ndarray:
        own = graph[part][:, part].tocsr()
        scores = 1e-6 * rng.random(len(part))  # of isolated labels: between the halves
        joined = np.flatnonzero(np.diff(own.indptr) > 0)
        if len(joined) < 2:
            return scores
        own = own[joined][:, joined].tocsr()
        options = pymetis.Options(seed=int(rng.integers(2**31 - 1)))
        ties = {"xadj": own.indptr.tolist(), "adjncy": own.indices.tolist(), "eweights": own.data.tolist()}
        _, sides = pymetis.part_graph(2, options=options, **ties)
        sign = 1 - 2 * np.asarray(sides)
        # Within a half by what the label would lose on the other side; every first one before every second one.
        kept = own @ sign * sign
        rank = np.empty(len(joined))
        rank[np.argsort(kept, kind="stable")] = np.arange(1, len(joined) + 1)
        scores[joined] = sign * rank
        return scores

    return halving_order(graph.shape[0], depth, halve)


def name_order(names: list[str]) -> np.ndarray:
    """The order of the names: labels of one facet (facet::tag), or of one prefix, stand together."""
    return np.array(sorted(range(len(names)), key=names.__getitem__))


def frequency_order(y: sparse.csr_matrix) -> np.ndarray:
    """The most frequent label first."""
    return np.argsort(-np.asarray((y != 0).sum(0)).ravel(), kind="stable")
