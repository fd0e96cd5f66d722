import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import HashingEmbedder
from etudes.retrieval.index import Index
from etudes.retrieval.search import fuse, in_index, in_memory, maxsim

TEXTS = ["cats sleep all day", "dogs bark at night", "birds sing at dawn", "cats and dogs fight at night"]
CHUNKS = [Chunk(f"{i}.txt", 0, len(text), text) for i, text in enumerate(TEXTS)]


def searcher():
    return in_memory(CHUNKS, HashingEmbedder().encode(TEXTS), HashingEmbedder())


def test_fusion_is_the_sum_of_reciprocal_ranks():
    found = fuse([[3, 1, 2], [1, 4]])
    assert found == {1: 1 / 62 + 1 / 61, 3: 1 / 61, 4: 1 / 62, 2: 1 / 63}
    assert list(found) == [1, 3, 4, 2]
    assert fuse([]) == {}


def test_late_interaction_is_the_mean_of_each_tokens_best():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    assert maxsim(a, b) == pytest.approx(sum(max(float(x @ y) for y in b) for x in a) / 3)
    assert maxsim(a, b[:0]) == 0.0


@pytest.mark.parametrize("mode", ["bm25", "dense", "hybrid", "reranked"])
def test_every_mode_finds_what_shares_its_words(mode):
    hits = searcher().search("do dogs bark?", 2, mode)
    assert hits[0].chunk.text == TEXTS[1]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.scores[mode] == hit.score for hit in hits)


def test_bm25_finds_nothing_without_shared_words_and_bad_input_is_told():
    assert searcher().search("whales", 3, "bm25") == []
    with pytest.raises(Problem, match="did you mean 'hybrid'"):
        searcher().search("x", 1, "hybryd")
    with pytest.raises(Problem, match="k is 0"):
        searcher().search("x", 0)


def test_an_index_and_the_memory_rank_alike(tmp_path):
    pytest.importorskip("qdrant_client")
    index = Index(tmp_path / "index", HashingEmbedder(), 8, 0)
    for i, text in enumerate(TEXTS):
        index.add(Document(f"{i}.txt", "", text))
    for question in ("cats at night", "who sings?"):
        for mode in ("dense", "hybrid"):
            a, b = (s.search(question, 4, mode) for s in (in_index(index), searcher()))
            np.testing.assert_allclose([hit.score for hit in a], [hit.score for hit in b], atol=1e-6)
    index.close()
