import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etudes.retrieval.scores import (
    auroc,
    balanced_accuracy,
    best_threshold,
    contains_answer,
    exact_match,
    normal_form,
    word_f1,
)

SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=8)


def test_answers_are_compared_as_squad_does():
    assert normal_form("The  Cat's, hat!") == "cats hat"
    assert exact_match("an Answer.", "answer") == 1.0
    assert exact_match("answers", "answer") == 0.0
    assert contains_answer("It was 308 points.", "308") == 1.0
    assert contains_answer("It was 1308 points.", "308") == 0.0
    assert word_f1("in the year 1993", "1993") == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1))
    assert word_f1("no", "yes") == 0.0
    assert word_f1("", "") == 1.0


@settings(deadline=None)  # SciPy's statistics take a second to import
@given(SCORES, SCORES)
def test_auroc_counts_pairs(a, b):
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(a, b)]
    assert auroc(a, b) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 30)
    assert auroc(a, b) == pytest.approx(metrics.roc_auc_score([1] * 40 + [0] * 30, np.concatenate([a, b])))


@given(SCORES, SCORES)
def test_no_threshold_is_better_than_the_best(a, b):
    best = balanced_accuracy(a, b, best_threshold(a, b))
    assert all(balanced_accuracy(a, b, x) <= best + 1e-12 for x in np.arange(-0.5, 6, 0.5) if x <= max([*a, *b]))
