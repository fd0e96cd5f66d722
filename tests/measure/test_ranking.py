import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from etudes.core.errors import Problem
from etudes.measure.ranking import (
    hits,
    ndcg_at,
    precision_at,
    propensities,
    propensity_precision_at,
    recall_at,
)


def rankings(n=20, answers=15, width=8, seed=0):
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(answers)[:width] for _ in range(n)])
    ranked[rng.random(ranked.shape) < 0.1] = -1
    truth = rng.random((n, answers)) < 0.2
    truth[0] = False  # a question without an answer
    return ranked, sparse.csr_matrix(truth), truth


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(1, 12))
def test_all_are_the_naive_loop(seed, k):
    ranked, sparse_truth, truth = rankings(seed=seed)
    chance = propensities(truth.sum(0), 20)
    precision, recall, ndcg, gained, best = [], [], [], 0.0, 0.0
    for row, true in zip(ranked, truth, strict=True):
        good = [bool(answer >= 0 and true[answer]) for answer in row[:k]]
        precision.append(sum(good) / k)
        gained += sum(1 / chance[answer] for answer, is_good in zip(row, good, strict=False) if is_good)
        best += sum(sorted((1 / chance[true]).tolist(), reverse=True)[:k])
        if true.any():
            recall.append(sum(good) / true.sum())
            ideal = sum(1 / np.log2(i + 2) for i in range(min(k, true.sum())))
            ndcg.append(sum(1 / np.log2(i + 2) for i, is_good in enumerate(good) if is_good) / ideal)
    assert precision_at(ranked, sparse_truth, k) == pytest.approx(np.mean(precision))
    assert recall_at(ranked, sparse_truth, k) == pytest.approx(np.mean(recall))
    assert ndcg_at(ranked, sparse_truth, k) == pytest.approx(np.mean(ndcg))
    assert propensity_precision_at(ranked, sparse_truth, chance, k) == pytest.approx(gained / best)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_ndcg_agrees_with_a_peer(k):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, truth = rng.random((10, 15)), rng.random((10, 15)) < 0.2
    truth[:, 0] = True
    ranked = np.argsort(-scores, axis=1)
    assert ndcg_at(ranked, sparse.csr_matrix(truth), k) == pytest.approx(metrics.ndcg_score(truth, scores, k=k))


def test_the_true_answers_first_are_perfect():
    truth = sparse.csr_matrix(np.array([[1, 0, 0, 1], [0, 1, 0, 0]]))
    best, worst = np.array([[0, 3, 1, 2], [1, 0, 2, 3]]), np.array([[1, 2, -1, -1], [0, 2, 3, -1]])
    chance = np.array([0.1, 0.2, 0.3, 0.4])
    for k in (1, 2, 3):
        assert ndcg_at(best, truth, k) == propensity_precision_at(best, truth, chance, k) == pytest.approx(1)
        assert precision_at(worst, truth, k) == recall_at(worst, truth, k) == ndcg_at(worst, truth, k) == 0
    assert hits(best, truth).tolist() == [[True, True, False, False], [True, False, False, False]]


def test_propensities_are_the_papers():
    n = 10_000
    c = (np.log(n) - 1) * 2.5**0.55
    assert propensities(np.array([0, 7]), n) == pytest.approx([1 / (1 + c * 1.5**-0.55), 1 / (1 + c * 8.5**-0.55)])
    amazon = propensities(np.array([1, 10, 100, 1000]), 490_449, a=0.6, b=2.6)
    assert (np.diff(amazon) > 0).all()
    assert 0 < amazon[0] < amazon[-1] < 1


def test_a_rare_answer_counts_more():
    truth = sparse.csr_matrix(np.array([[1, 1]]))
    chance = propensities(np.array([1, 1000]), 2000)
    rare, common = (propensity_precision_at(np.array([[a, -1]]), truth, chance, 1) for a in (0, 1))
    assert rare == pytest.approx(1)
    assert common < 0.5


def test_what_cannot_be_measured_is_told():
    ranked, truth, _ = rankings()
    with pytest.raises(Problem, match="19 rankings for 20"):
        precision_at(ranked[1:], truth, 1)
    with pytest.raises(Problem, match="k is 0"):
        precision_at(ranked, truth, 0)
    nothing = sparse.csr_matrix((20, 15))
    for measure in (recall_at, ndcg_at, lambda r, t, k: propensity_precision_at(r, t, np.ones(15), k)):
        with pytest.raises(Problem, match="no question has a true answer"):
            measure(ranked, nothing, 3)
    with pytest.raises(Problem, match="3 examples or more"):
        propensities(np.ones(3), 2)
