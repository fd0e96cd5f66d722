"""Chunks ranked for a question: by meaning, by words, by both, and looked at again."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.retrieval.bm25 import BM25, words
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.embedders import Embedder
from etudes.retrieval.index import Index
from etudes.retrieval.terms import terms

Mode = Literal["bm25", "dense", "hybrid", "reranked"]
POOL = 30  # chunks of each ranking that are fused, and of the fused one that are looked at again
CONSTANT = 60  # of reciprocal rank fusion, as its authors have it


@dataclass(frozen=True)
class Hit:
    """A chunk found: its score in the mode asked for, and every score that it has: bm25, dense, hybrid, reranked."""

    chunk: Chunk
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


def fuse(rankings: Sequence[Sequence[int]], constant: int = CONSTANT) -> dict[int, float]:
    """{item: sum over the rankings that have it of 1 / (constant + rank)}, best first; ranks count from 1.

    Reciprocal rank fusion: Cormack, Clarke and Buettcher 2009, SIGIR, sec. 1.
    """
    found: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            found[item] = found.get(item, 0.0) + 1 / (constant + rank)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def maxsim(question: np.ndarray, text: np.ndarray) -> float:
    """The mean over the question's tokens [q, d] of the largest product with one of the text's tokens [t, d].

    Khattab and Zaharia 2020, ColBERT, arXiv:2004.12832, eq. 3, which has the sum.
    """
    if not len(question) or not len(text):
        return 0.0
    return float((question @ text.T).max(axis=1).mean())


class Searcher:
    """What ranks a set of chunks. `nearest(vector, k)` gives (place among the chunks, product), best first."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        embedder: Embedder,
        nearest: Callable[[np.ndarray, int], Sequence[tuple[int, float]]],
        reranker: str = "",
        cut: Callable[[str], list[str]] = words,
    ) -> None:
        """reranker: a cross-encoder "owner/name" of the hub; "": late interaction of the embedder's token vectors,
        which were not trained for it. cut: what makes the words that BM25 counts."""
        self.chunks, self.embedder, self.nearest, self.reranker = chunks, embedder, nearest, reranker
        self.words = BM25([chunk.text for chunk in chunks], cut=cut)

    def search(self, question: str, k: int = 5, mode: Mode = "hybrid") -> list[Hit]:
        """The k best chunks for a question, best first. Raises Problem for another mode."""
        if mode not in get_args(Mode):
            raise unknown("search mode", mode, get_args(Mode))
        if k < 1:
            raise Problem(f"k is {k}; ask for at least 1 chunk")
        pool = max(k, POOL)
        scores: dict[int, dict[str, float]] = {}
        rankings = {}
        if mode != "dense":
            found = self.words.scores(question)
            order = [int(i) for i in np.argsort(-found, kind="stable")[:pool] if found[i] > 0]
            rankings["bm25"] = [(i, float(found[i])) for i in order]
        if mode != "bm25":
            rankings["dense"] = list(self.nearest(self.embedder.encode([question])[0], pool))
        for name, ranking in rankings.items():
            for i, score in ranking:
                scores.setdefault(i, {})[name] = score
        if mode in ("hybrid", "reranked"):
            for i, score in fuse([[i for i, _ in ranking] for ranking in rankings.values()]).items():
                scores[i]["hybrid"] = score
        if mode == "reranked":
            best = sorted(scores, key=lambda i: (-scores[i]["hybrid"], i))[:POOL]
            for i, score in zip(best, self._again(question, [self.chunks[i].text for i in best]), strict=True):
                scores[i]["reranked"] = score
        held = [i for i in scores if mode in scores[i]]
        order = sorted(held, key=lambda i: (-scores[i][mode], i))[:k]
        return [Hit(self.chunks[i], scores[i][mode], scores[i]) for i in order]

    def _again(self, question: str, texts: Sequence[str]) -> list[float]:
        if self.reranker:
            return [float(s) for s in _cross_encoder(self.reranker).predict([(question, text) for text in texts])]
        (asked,) = self.embedder.tokens([question])
        return [maxsim(asked, self.embedder.tokens([text])[0]) for text in texts]


@functools.cache
def _cross_encoder(name: str) -> Any:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        raise Problem("cross-encoders run on sentence-transformers; install etudes[retrieval]") from None
    try:
        return CrossEncoder(name)
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(f"the cross-encoder {name} cannot be loaded ({words}); connect, or name none") from None


def in_memory(chunks: Sequence[Chunk], vectors: np.ndarray, embedder: Embedder) -> Searcher:
    """A searcher over chunks whose vectors, float32 [n, width], are at hand."""

    def nearest(vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        products = vectors @ vector
        return [(int(i), float(products[i])) for i in np.argsort(-products, kind="stable")[:k]]

    return Searcher(chunks, embedder, nearest)


def in_index(index: Index, reranker: str = "") -> Searcher:
    """A searcher over what an index holds now, in several languages; make another when its documents change."""
    chunks = index.chunks()
    places = {(chunk.document, chunk.start): i for i, chunk in enumerate(chunks)}

    def nearest(vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        found = [(places.get((chunk.document, chunk.start), -1), score) for chunk, score in index.nearest(vector, k)]
        return sorted(((i, score) for i, score in found if i >= 0), key=lambda pair: (-pair[1], pair[0]))

    return Searcher(chunks, index.embedder, nearest, reranker, terms)


def with_passage(hits: Sequence[Hit], document: str, place: int, chunks: Sequence[Chunk]) -> list[Hit]:
    """As many hits, before them the chunk that has a place of a document, among the hits or not."""
    every = [*hits, *(Hit(chunk, 0.0) for chunk in chunks)]
    first = next(h for h in every if h.chunk.document == document and h.chunk.start <= place < h.chunk.end)
    return [first, *(hit for hit in hits if hit is not first)][: len(hits) or 1]
