"""How good ranked answers are: precision, recall and nDCG at k, and precision that pays more for rare answers; and how
good a number is at telling two kinds of things apart.

`ranked` is int [n, width], the answers to each of n questions from the best on; -1 stands for none. `truth` is a
sparse [n, answers] whose non-zeros are the true answers.
"""

import numpy as np
from scipy import sparse

from etudes.core.errors import Problem


def hits(ranked: np.ndarray, truth: sparse.csr_matrix) -> np.ndarray:
    """Whether each ranked answer is a true one: bool, in the shape of `ranked`. Raises Problem on unlike lengths."""
    if len(ranked) != truth.shape[0]:
        raise Problem(f"{len(ranked)} rankings for {truth.shape[0]} questions; give one a question")
    rows, columns = truth.nonzero()
    true = rows.astype(np.int64) * truth.shape[1] + columns
    asked = np.arange(len(ranked), dtype=np.int64)[:, None] * truth.shape[1] + ranked
    return np.isin(asked, true) & (ranked >= 0)


def precision_at(ranked: np.ndarray, truth: sparse.csr_matrix, k: int) -> float:
    """P@k: the share of true answers among the first k, mean over questions."""
    return float(hits(_first(ranked, k), truth).sum() / (k * len(ranked)))


def recall_at(ranked: np.ndarray, truth: sparse.csr_matrix, k: int) -> float:
    """The share of a question's true answers that are among the first k, mean over the questions that have some."""
    many = _number(truth)
    some = many > 0
    if not some.any():
        raise Problem("no question has a true answer; recall needs one")
    return float((hits(_first(ranked, k), truth).sum(1)[some] / many[some]).mean())


def ndcg_at(ranked: np.ndarray, truth: sparse.csr_matrix, k: int) -> float:
    """nDCG@k with gains 0 and 1 (Jarvelin and Kekalainen 2002): the sum of 1 / log2(1 + rank) over true answers, over
    the largest that could be had; mean over the questions that have true answers."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], discounts.cumsum()])[np.minimum(_number(truth), k)]
    if not best.any():
        raise Problem("no question has a true answer; nDCG needs one")
    found = hits(_first(ranked, k), truth)
    gained = found @ discounts[: found.shape[1]]
    return float((gained[best > 0] / best[best > 0]).mean())


def propensities(counts: np.ndarray, examples: int, a: float = 0.55, b: float = 1.5) -> np.ndarray:
    """The chance p_l that a true answer l is written down at all, from how many of the training examples have it.

    p_l = 1 / (1 + c exp(-a log(N_l + b))), c = (log N - 1) (b + 1)^a: Jain et al. 2016, "Extreme Multi-label Loss
    Functions", who fitted a = 0.55, b = 1.5, but a = 0.5, b = 0.4 for Wikipedia and 0.6, 2.6 for Amazon.
    """
    if examples < 3:  # c would be negative
        raise Problem(f"propensities need 3 examples or more, and there are {examples}")
    c = (np.log(examples) - 1) * (b + 1) ** a
    return 1 / (1 + c * np.exp(-a * np.log(np.asarray(counts, float) + b)))


def propensity_precision_at(ranked: np.ndarray, truth: sparse.csr_matrix, propensity: np.ndarray, k: int) -> float:
    """PSP@k: P@k where a true answer l counts 1 / p_l, over the largest that a ranking could have: Jain et al. 2016.

    As in the Extreme Classification Repository's own scripts, sums over all questions are divided by one another.
    """
    first = _first(ranked, k)
    gained = (hits(first, truth) / propensity[first]).sum()
    whole = sparse.csr_matrix(truth, dtype=float)
    whole.data = 1 / propensity[whole.indices]
    best = sum(np.sort(row)[::-1][:k].sum() for row in np.split(whole.data, whole.indptr[1:-1]))
    if not best:
        raise Problem("no question has a true answer; PSP needs one")
    return float(gained / best)


def auroc(values: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """Area under the receiver operating characteristic of each column as a detector of the feature, [columns].

    values: [n, columns]; feature: bool [n]. It is the probability that the value is higher at a random place with the
    feature than at one without, where a tie counts half: (R - p (p + 1) / 2) / (p q) with R the sum of the ranks of the
    p places with the feature, q without (Hanley and McNeil 1982). Raises Problem where it always or never holds.
    """
    from scipy.stats import rankdata

    with_it = int(feature.sum())
    without = len(feature) - with_it
    if not with_it or not without:
        raise Problem("an AUROC needs places with the feature and places without; take more")
    ranks = rankdata(values, axis=0)
    return (ranks[feature].sum(0) - with_it * (with_it + 1) / 2) / (with_it * without)


def _first(ranked: np.ndarray, k: int) -> np.ndarray:
    if k < 1:
        raise Problem(f"k is {k}; it must be at least 1")
    return ranked[:, :k]


def _number(truth: sparse.csr_matrix) -> np.ndarray:
    return np.asarray((truth != 0).sum(1)).ravel()
