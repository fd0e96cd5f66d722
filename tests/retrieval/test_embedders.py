import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.retrieval.embedders import Hashing, Remembering, embedder


def test_hashed_words_are_unit_vectors_alike_where_words_are_shared():
    vectors = embedder("hashing").encode(["one red cat", "the red cat", "law", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    assert Hashing().count("one, two") == 3


def test_remembering_asks_once_and_gives_the_same(monkeypatch):
    inner, calls = Hashing(), []
    plain = inner.encode
    monkeypatch.setattr(inner, "encode", lambda texts: calls.append(texts) or plain(texts))
    model = Remembering(inner)
    first, second = model.encode(["a cat"]), model.encode(["a cat"])
    assert len(calls) == 1
    np.testing.assert_array_equal(first, second)
    assert model.limit == inner.limit
    assert [len(v) for v in model.tokens(["a cat", ""])] == [2, 0]


def test_an_unknown_name_is_told():
    with pytest.raises(Problem, match="did you mean 'minilm'"):
        embedder("minilmm")


@pytest.mark.network
def test_the_carried_model_knows_meaning():
    model = embedder("minilm")
    cat, kitten, law = model.encode(["a cat", "a kitten", "tax law"])
    np.testing.assert_allclose(np.linalg.norm(cat), 1, atol=1e-5)
    assert cat @ kitten > 0.6 > 0.4 > cat @ law
    assert (model.width, model.limit) == (384, 256)
    text = "Hello, déjà vu"
    assert "".join(text[a:b] for a, b in model.spans(text)) == "Hello,déjàvu"
    assert model.count(text) == len(model.spans(text)) + 2
    (tokens,) = model.tokens([text])
    assert tokens.shape == (len(model.spans(text)), 384)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
    assert model.encode([]).shape == (0, 384)
