import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etudes.retrieval.bm25 import BM25, words

TEXTS = st.lists(
    st.lists(st.sampled_from(["cat", "dog", "bird", "fish", "tree", "stone"])).map(" ".join), min_size=1, max_size=8
)


def naive(texts, query, k1=1.2, b=0.75):
    """Robertson and Zaragoza's formula, a text and a word at a time."""
    documents = [words(text) for text in texts]
    mean = max(sum(map(len, documents)) / len(documents), 1e-9)
    scores = []
    for document in documents:
        score = 0.0
        for word in words(query):
            df = sum(word in other for other in documents)
            tf = document.count(word)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / mean)) if tf else 0.0
        scores.append(score)
    return scores


@given(TEXTS, st.sampled_from(["cat", "cat dog", "stone stone bird", "absent"]))
def test_scores_are_those_of_the_formula(texts, query):
    np.testing.assert_allclose(BM25(texts).scores(query), naive(texts, query), atol=1e-12)


def test_it_agrees_with_a_peer():
    bm25s = pytest.importorskip("bm25s")
    texts = ["the cat sat on the mat", "a dog and a cat", "birds fly over trees", "cats chase birds birds birds"]
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index([words(text) for text in texts], show_progress=False)
    # Lucene leaves out the constant factor k1 + 1.
    np.testing.assert_allclose(BM25(texts).scores("bird cat"), peer.get_scores(["bird", "cat"]) * 2.2, rtol=1e-5)


def test_words_lose_their_plural_and_the_commonest_are_left_out():
    assert words("The cities' boxes, of glass: it passes us") == ["city", "boxe", "glass", "passe", "us"]
    assert len(BM25([]).scores("cat")) == 0
