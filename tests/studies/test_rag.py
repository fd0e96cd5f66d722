import dataclasses
import json
import types

import numpy as np
import pytest

from etudes.core.catalogue import find
from etudes.core.run import Run, execute
from etudes.core.spec import TUNING
from etudes.data.questions import Question, Questions, capitals
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.scores import auroc, balanced_accuracy
from etudes.studies.retrieval.rag import Config, library, seed_questions
from etudes.studies.retrieval.rag.findings import (
    COLUMNS,
    answer_metrics,
    answer_scores,
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


@pytest.fixture
def searched(tmp_path):
    """The capitals and a searcher over their chunks of so many tokens."""

    def found(size):
        cfg = Config(datasets=("capitals",), embedder="hashing", size=size)
        spec = dataclasses.replace(STUDY.plan("smoke", seeds=1)[0], config=vars(cfg))
        (tmp_path / spec.key).mkdir(parents=True)
        return library(cfg, Run(spec, tmp_path / spec.key))

    return found


def asked(seed, parts, **more):
    return [q.text for q in seed_questions((capitals(),), seed, parts, **more)[0] if q.answer]


@pytest.mark.parametrize("parts", [3, 5, 16])
def test_seeds_share_no_question_and_together_have_all(parts):
    for first in (0, 500 - 500 % parts):
        together = [text for seed in range(parts) for text in asked(first + seed, parts)]
        assert len(together) == len(set(together))
        assert set(together) == {q.text for q in capitals().questions if q.split == "test" and q.answer}
    sizes = [len(asked(seed, parts)) for seed in range(parts)]
    assert max(sizes) - min(sizes) <= 1
    divisions = [asked(0, parts), asked(parts, parts), asked(0, parts, revision=2)]
    assert len({tuple(some) for some in divisions}) > 1


def test_tuning_seeds_ask_what_no_judging_seed_asks():
    of_validation = {q.text for q in capitals().questions if q.split == "validation"}
    for seed in range(TUNING, TUNING + 4):
        assert set(asked(seed, 4)) < of_validation


def test_questions_on_one_passage_stay_together_and_those_without_an_answer_come_last():
    of = [Question(f"{a}{i}", "x", a, 0, "test") for a in "abcdefgh" for i in range(3)]
    one = Questions("made", (), (*of, Question("none", "", "", 0, "test")), {})
    for parts in (2, 4, 8):
        for seed in range(parts):
            (part,) = seed_questions((one,), seed, parts)
            assert part[-1].text == "none"
            assert len({q.passage for q in part[:-1]}) == 8 // parts


def test_taking_the_passage_out_leaves_a_question_farther(searched):
    sets, searcher = searched(64)
    question = next(q for q in sets[0].questions if q.answer)
    for mode in ("bm25", "dense"):
        near, without = nearness(searcher, mode, question)
        assert near > without
    nowhere = Question("What is the capital of Atlantis?", "", "", 0, "test")
    assert np.diff(nearness(searcher, "dense", nowhere)) == 0


def test_nearness_is_the_largest_product_over_all_chunks(searched):
    sets, searcher = searched(16)
    encode = searcher.embedder.encode
    for question in sets[0].questions[:6]:
        products = [float(encode([chunk.text])[0] @ encode([question.text])[0]) for chunk in searcher.chunks]
        others = [p for p, c in zip(products, searcher.chunks, strict=True) if c.document != question.passage]
        assert nearness(searcher, "dense", question) == pytest.approx((max(products), max(others)))


def test_the_threshold_is_the_best_of_all_on_its_questions(searched):
    sets, searcher = searched(64)
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
    found = answer_metrics(rows, sets, 3, [0, 1])
    assert [found[f"test/recall{k}"] for k in ("-at-1", "-at-3", "-at-10", "")] == [0.5, 0.5, 1, 0.5]
    assert (found["test/reader-accuracy"], found["test/model-accuracy"], found["test/model-f1"]) == (0.5, 0.5, 0.25)
    assert found["test/hand-recall-at-10"] == found["test/hand-reader-accuracy"] == 0
    assert found["test/reciprocal-rank"] == (1 + 1 / 4) / 2
    assert "test/model-accuracy" not in answer_metrics(rows, sets, 3, [])
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


def test_the_chat_model_is_judged_by_what_it_was_asked(monkeypatch, tmp_path):
    """Even where the first set has fewer questions with an answer than it might be asked."""

    class Knowing:
        name, context = "knows all", 10_000

        def stream(self, messages, **settings):
            question = messages[-1]["content"].split("following question: ")[-1]
            yield next(q.answer for q in capitals().questions if q.text == question) or "nothing"

        def count(self, text):
            return len(text)

    monkeypatch.setattr("etudes.studies.retrieval.rag.chat", lambda name: Knowing())
    (spec,) = STUDY.plan("smoke", seeds=1, variants=["hybrid"], writer="smollm2-135m", writer_questions=1000)
    execute(STUDY, spec, tmp_path)
    assert json.loads((tmp_path / spec.key / "result.json").read_text())["test/model-accuracy"] == 1


def test_the_correlation_is_spearmans_over_the_variants_that_search_and_never_1():
    names = ("bm25", "dense", "hybrid", "reranked")
    both = {"closed-book": (0.0, 0.9), "random": (0.0, 0.8)}

    def trial(recalls, accuracies):
        found = both | dict(zip(names, zip(recalls, accuracies, strict=True), strict=True))
        return {name: {"test/recall": x, "test/reader-accuracy": y} for name, (x, y) in found.items()}

    up = (0.5, 0.6, 0.7, 0.9)
    assert recall_correlation(trial(up, (0.1, 0.2, 0.4, 0.3))) == pytest.approx(0.8)
    assert recall_correlation(trial(up, up)) == pytest.approx(0.9)  # half way from 0.8, the next, to 1
    assert recall_correlation(trial(up, up[::-1])) == pytest.approx(-0.9)
    assert recall_correlation(trial(up, (0.5,) * 4)) == 0


def test_the_compared_variants_differ_in_one_thing():
    changes = {variant.name: dict(variant.changes) for variant in STUDY.variants}
    assert changes["hybrid"] == {"writes": True}
    assert changes["closed-book"] == {"mode": "none", "writes": True}
    assert changes["dense-16"] == changes["dense"] | {"size": 16}
