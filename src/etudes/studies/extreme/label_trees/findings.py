"""What a run of label-trees finds: how good its first labels are, and what a claim reads in that."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse

from etudes.core.claims import Measure
from etudes.data.extreme import Part
from etudes.measure.ranking import ndcg_at, precision_at, propensity_precision_at, recall_at

FIRST = 10  # labels that are found for a document
TAIL = 4  # a label of the tail has so many training documents, or fewer


def quality(labels: np.ndarray, part: Part, counts: np.ndarray, propensity: np.ndarray) -> dict[str, float]:
    """{measure: number} of the first labels [n, FIRST] found for the documents of a part, -1 where there is none.

    counts [labels]: each label's training documents; propensity [labels]: the chance that a true label is written down
    at all. The recall of the tail is over the documents that have a label of it, and 0 where none has.
    """
    tail = part.y.multiply((counts > 0) & (counts <= TAIL)).tocsr()
    tail.eliminate_zeros()
    return {
        **{f"p{k}": precision_at(labels, part.y, k) for k in (1, 3, 5)},
        "ndcg5": ndcg_at(labels, part.y, 5),
        "psp5": propensity_precision_at(labels, part.y, propensity, 5),
        "recall10": recall_at(labels, part.y, FIRST),
        "recall10-tail": recall_at(labels, tail, FIRST) if tail.nnz else 0.0,
    }


def brief_quality(labels: np.ndarray, truth: sparse.csr_matrix) -> dict[str, float]:
    """{measure: number} of the first labels [n, FIRST] against the true ones [n, labels]: beams are compared in it."""
    return {
        "p1": precision_at(labels, truth, 1),
        "ndcg5": ndcg_at(labels, truth, 5),
        "recall10": recall_at(labels, truth, FIRST),
    }


def recall_loss(beam: int) -> Measure:
    """A measure: the share of the recall at 10 of a search of the whole tree that so narrow a beam loses."""
    return lambda trial: 1 - trial["kmeans"][f"test/recall10-beam-{beam}"] / trial["kmeans"]["test/recall10-exhaustive"]


def means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """{name: mean} over the numbers of several trees, which have the same names."""
    return {name: math.fsum(numbers[name] for numbers in found) / len(found) for name in found[0]}
