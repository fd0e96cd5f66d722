import types

import numpy as np
import pytest

from etudes.core.catalogue import find
from etudes.data.questions import Question, capitals
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.scores import auroc, balanced_accuracy
from etudes.studies.retrieval.rag import PARTS, library, seed_questions
from etudes.studies.retrieval.rag.findings import (
    COLUMNS,
    answer_metrics,
    answer_scores,
    fusion_gain,
    rank,
    recall_correlation,
    refusal_metrics,
    rows_of,
)
from etudes.studies.retrieval.rag.refusal import nearness, threshold
from etudes.train import Rows

STUDY = find("rag")


def test_a_chunk_counts_where_it_holds_the_whole_answer_in_its_place():
    asked = Question("Where?", "Oslo", "norway", 10, "test")
    chunks = [
        Chunk("sweden", 0, 50, "Oslo"),
        Chunk("norway", 0, 13, "half of it: Os"),
        Chunk("norway", 20, 40, "Oslo again, in another place"),
        Chunk("norway", 8, 14, "in Oslo"),
    ]
    assert rank(asked, chunks) == 4
    assert rank(asked, chunks[:3]) == 0


def test_seeds_share_no_question_and_together_have_all():
    sets = (capitals(),)
    parts = [[q.text for q in seed_questions(sets, seed, 1000)[0]] for seed in range(PARTS)]
    together = [text for part in parts for text in part]
    assert len(together) == len(set(together))
    assert set(together) == {q.text for q in capitals().questions if q.split == "test"}
    few = seed_questions(sets, 0, 2)[0]
    assert [bool(q.answer) for q in few[:3]] == [True, True, False]


def test_taking_the_passage_out_leaves_a_question_farther():
    sets, searcher = library(("capitals",), "hashing", 64)
    question = next(q for q in sets[0].questions if q.answer)
    for mode in ("bm25", "dense"):
        near, without = nearness(searcher, mode, question)
        assert near > without
    nowhere = Question("What is the capital of Atlantis?", "", "", 0, "test")
    assert np.diff(nearness(searcher, "dense", nowhere)) == 0


def test_nearness_is_the_largest_product_over_all_chunks():
    sets, searcher = library(("capitals",), "hashing", 16)
    encode = searcher.embedder.encode
    for question in sets[0].questions[:6]:
        products = [float(encode([chunk.text])[0] @ encode([question.text])[0]) for chunk in searcher.chunks]
        others = [p for p, c in zip(products, searcher.chunks, strict=True) if c.document != question.passage]
        assert nearness(searcher, "dense", question) == pytest.approx((max(products), max(others)))


def test_the_threshold_is_the_best_of_all_on_its_questions():
    sets, searcher = library(("capitals",), "hashing", 64)
    some = [q for q in sets[0].questions if q.split == "validation"]
    pairs = [nearness(searcher, "dense", q) for q in some if q.answer]
    unanswerable = [nearness(searcher, "dense", q)[0] for q in some if not q.answer]
    for questions, negative in (
        (some, unanswerable),
        ([q for q in some if q.answer], [without for _, without in pairs]),  # the same when their passage is taken out
    ):
        chosen = threshold(searcher, "dense", questions, 1000, np.random.default_rng(0))
        accuracies = [balanced_accuracy([a for a, _ in pairs], negative, x) for x in np.linspace(-1, 1, 2001)]
        assert balanced_accuracy([a for a, _ in pairs], negative, chosen) >= max(accuracies) > 0.5


def two_sets():
    """Two questions with an answer and one without; then one with and two without."""
    answers = (("a", "b", ""), ("c", "", ""))
    return [[types.SimpleNamespace(answer=answer) for answer in some] for some in answers]


def test_numbers_are_read_from_the_rows_of_their_set():
    sets = two_sets()
    assert [rows.tolist() for number in (0, 1) for rows in rows_of(sets, number)] == [[0, 1], [2], [3], [4, 5]]
    rows = Rows(6, *COLUMNS)
    numbers = {
        0: (1, 0.9, 0.3),
        1: (4, 0.5, 0.6),
        2: (0, 0.2, 0.2),
        3: (0, 0.7, 0.1),
        4: (0, 0.8, 0.8),
        5: (0, 0.1, 0.1),
    }
    for row, (place, near, without) in numbers.items():
        rows.put(row, rank=place, near=near, near_without=without)
    rows.put(0, reader_accuracy=1, model_accuracy=1, model_f1=0.5)
    found = answer_metrics(rows, sets, 3, 2)
    assert [found[f"test/recall{k}"] for k in ("-at-1", "-at-3", "-at-10", "")] == [0.5, 0.5, 1, 0.5]
    assert (found["test/reader-accuracy"], found["test/model-accuracy"], found["test/model-f1"]) == (0.5, 0.5, 0.25)
    assert found["test/hand-recall-at-10"] == found["test/hand-reader-accuracy"] == 0
    assert "test/model-accuracy" not in answer_metrics(rows, sets, 3, 0)
    refused = refusal_metrics(rows, sets, (0.5, 0.75))
    assert refused["test/auroc"] == auroc([0.9, 0.5], [0.3, 0.6]) == 0.75
    assert refused["test/refusal-accuracy"] == 0.75
    assert refused["test/hand-auroc"] == 0.5
    assert refused["test/hand-refusal-accuracy"] == 0.25
    assert refusal_metrics(rows, sets[:1], (0.5,))["test/hand-auroc"] == 1


def test_an_answer_is_scored_for_who_gave_it():
    assert answer_scores("model", "In Oslo", "Oslo") == {
        "model_accuracy": 1,
        "model_f1": pytest.approx(2 / 3),
        "model_exact": 0,
    }


def test_claims_read_the_numbers_of_a_trial():
    trial = {
        name: {"test/recall": x, "test/reader-accuracy": y, "test/recall-at-1": x}
        for name, x, y in (("bm25", 0.5, 0.3), ("dense", 0.6, 0.4), ("hybrid", 0.9, 0.5), ("closed-book", 0.0, 0.9))
    }
    assert recall_correlation(trial) == pytest.approx(1.0)
    assert fusion_gain(trial) == pytest.approx(0.3)


def test_the_compared_variants_differ_in_one_thing():
    changes = {variant.name: dict(variant.changes) for variant in STUDY.variants}
    assert changes["hybrid"] == {"writes": True}
    assert changes["closed-book"] == {"mode": "none", "writes": True}
    assert changes["dense-16"] == changes["dense"] | {"size": 16}
