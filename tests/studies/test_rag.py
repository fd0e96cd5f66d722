import dataclasses

import numpy as np
import pytest

from etudes.core.catalogue import find
from etudes.core.run import Run
from etudes.data.questions import Question, capitals
from etudes.retrieval.chunks import Chunk
from etudes.studies.retrieval.rag import PARTS, Config, drawn, library, near
from etudes.studies.retrieval.rag.findings import Sheet, over_both, rank, tracks

STUDY = find("rag")


def run_of(seed):
    run = object.__new__(Run)
    run.spec = dataclasses.replace(STUDY.plan("smoke", seeds=1)[0], seed=seed)
    return run


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
    parts = [[q.text for q in drawn(run_of(seed), sets, 1000)[0]] for seed in range(PARTS)]
    together = [text for part in parts for text in part]
    assert len(together) == len(set(together))
    assert set(together) == {q.text for q in capitals().questions if q.split == "test"}
    assert all(q.answer for q in drawn(run_of(0), sets, 2)[0][:2])


def test_taking_the_passage_out_leaves_a_question_farther():
    sets, searcher, vectors = library("capitals", "hashing", 64)
    asked = next(q for q in sets[0].questions if q.answer)
    for mode in ("bm25", "dense"):
        whole, without = near(Config(mode=mode), searcher, vectors, asked)
        assert whole > without
    lost = Question("What is the capital of Atlantis?", "", "", 0, "test")
    assert np.diff(near(Config(mode="dense"), searcher, vectors, lost)) == 0


def test_the_sheet_goes_on_from_its_state():
    a, b = Sheet(3), Sheet(3)
    a.rows[1] = 7.0
    b.load_state_dict(a.state_dict())
    assert b.column("rank").tolist() == [0, 7, 0]


def test_claims_read_the_numbers_of_a_trial():
    trial = {
        name: {"test/recall": x, "test/reader-accuracy": y, "test/recall-at-1": x}
        for name, x, y in (("bm25", 0.5, 0.3), ("dense", 0.6, 0.4), ("hybrid", 0.9, 0.5), ("closed-book", 0.0, 0.9))
    }
    assert tracks(trial) == pytest.approx(1.0)
    assert over_both(trial) == pytest.approx(0.3)


def test_the_compared_variants_differ_in_one_thing():
    changes = {variant.name: dict(variant.changes) for variant in STUDY.variants}
    assert changes["hybrid"] == {"writes": True}
    assert changes["closed-book"] == {"mode": "none", "writes": True}
    assert changes["dense-16"] == changes["dense"] | {"size": 16}
