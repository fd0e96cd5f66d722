import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import fetch
from etudes.retrieval import embedders
from etudes.retrieval.embedders import MINILM, CachedEmbedder, HashingEmbedder, HubEmbedder, embedder


def test_hashed_words_are_unit_vectors_alike_where_words_are_shared():
    vectors = embedder("hashing").encode(["one red cat", "the red cat", "law", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    assert HashingEmbedder().count("one, two") == 3


def test_remembering_asks_once_and_gives_the_same(monkeypatch):
    inner, calls = HashingEmbedder(), []
    plain = inner.encode
    monkeypatch.setattr(inner, "encode", lambda texts: calls.append(texts) or plain(texts))
    model = CachedEmbedder(inner)
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


@pytest.mark.network
def test_the_carried_model_is_the_one_that_sentence_transformers_runs(monkeypatch):
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer
    ours, theirs = embedder("minilm"), HubEmbedder("peer", theirs(str(fetch(MINILM, cache_folder())), device="cpu"))
    words = [f"{word}s" for word in ["cat", "dog", "law", "sea", "rain", "stone", "paper", "light"]]
    texts = ["", "a", " é 日本 🙂 [SEP] x\n", *(" ".join(words[i % 8] for i in range(n)) for n in (3, 40, 254, 600))]
    found = ours.encode(texts)
    np.testing.assert_allclose(found, theirs.encode(texts), atol=1e-5)
    np.testing.assert_allclose(found, np.concatenate([ours.encode([text]) for text in texts]), atol=1e-6)
    for one, other in zip(ours.tokens(texts), theirs.tokens(texts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert [ours.count(text) for text in texts] == [theirs.count(text) for text in texts]
    assert [ours.spans(text) for text in texts] == [theirs.spans(text) for text in texts]
    assert (ours.limit, ours.width) == (theirs.limit, theirs.width)
    monkeypatch.setattr(embedders, "TOGETHER", 50)
    np.testing.assert_allclose(found, ours.encode(texts), atol=1e-6)


@pytest.mark.network
def test_the_carried_multilingual_model_knows_meaning_across_languages():
    model = embedder("e5-small")
    cat, chat, law = model.encode(["a cat", "un chat", "le droit fiscal"])
    assert cat @ chat > cat @ law + 0.05
    assert (model.width, model.limit) == (384, 512)
    text = "Hello, déjà  vu"
    assert [text[a:b] for a, b in model.spans(text)] == ["Hello", ",", "déjà", "vu"]
    assert model.count(text) == model.count("a") - 1 + len(model.spans(text))
    (tokens,) = model.tokens([text])
    assert tokens.shape == (len(model.spans(text)), 384)
