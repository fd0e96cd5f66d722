"""When not to answer: the nearest chunk is too far from the question."""

from collections.abc import Sequence

import numpy as np

from etudes.data.questions import Question
from etudes.retrieval.scores import best_threshold
from etudes.retrieval.search import Searcher


def nearness(searcher: Searcher, mode: str, question: Question) -> tuple[float, float]:
    """How near the nearest chunk is to a question, and how near the nearest one of other passages than its own.

    By the BM25 score in the mode "bm25", in all others by the product of the vectors.
    """
    if mode == "bm25":
        scores = searcher.words.scores(question.text)
    else:
        (vector,) = searcher.embedder.encode([question.text])
        scores = np.zeros(len(searcher.chunks))
        for place, product in searcher.nearest(vector, len(scores)):
            scores[place] = product
    others = np.array([chunk.document != question.passage for chunk in searcher.chunks])
    return float(scores.max()), float(scores[others].max())


def threshold(
    searcher: Searcher, mode: str, questions: Sequence[Question], count: int, rng: np.random.Generator
) -> float:
    """The nearness from which on it is best to answer, on questions of validation: at most `count` of those with an
    answer against those without one, or where a set has none, against the same when their passage is taken out."""
    known, unanswerable = ([q for q in questions if bool(q.answer) == has] for has in (True, False))
    chosen = rng.permutation(len(known))[:count]
    pairs = [nearness(searcher, mode, known[i]) for i in chosen]
    negative = [nearness(searcher, mode, q)[0] for q in unanswerable] or [without for _, without in pairs]
    return best_threshold([near for near, _ in pairs], negative)
