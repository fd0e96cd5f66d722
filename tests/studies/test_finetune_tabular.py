import itertools
import math

import numpy as np
import pytest
import torch

from etudes.core import record
from etudes.core.errors import Problem
from etudes.core.run import Run, execute
from etudes.core.spec import Spec
from etudes.data.tables import Rows, Table, drawn_chances, table
from etudes.data.tokens import bpe
from etudes.nn.lora import LowRankLinear
from etudes.nn.t5 import T5
from etudes.retrieval.embedders import HashingEmbedder, embedder
from etudes.studies.adapt.finetune_tabular import STUDY, Config, choose_trained, first
from etudes.studies.adapt.finetune_tabular.asking import Asker, answer_odds, column_orders
from etudes.studies.adapt.finetune_tabular.cells import Reading, row_cells, row_network, row_words, take_out
from etudes.studies.adapt.finetune_tabular.findings import (
    OUTSIDE,
    answer_scores,
    boosted_trees,
    features,
    logistic,
    rank_scores,
    read_answers,
    share_cut,
    shared_vectors,
    vector_reader,
)
from etudes.studies.adapt.finetune_tabular.writing import WRITINGS, passages_of, writer
from etudes.tools.text_to_text import EncoderDecoder, own_words


@pytest.fixture(scope="module")
def people():
    return table("drawn-smokers")


def small_table():
    rows = Rows((("41", "some college"), ("19", "hs"), ("7.5", "master")), np.array([1, 0, 1]))
    return Table("small", ("age", "education"), (True, False), "smoker", rows, rows, rows, {})


def small_t5(people):
    torch.manual_seed(0)
    words = own_words(bpe([f"{text} smoker no yes" for text in passages_of(people)[:200]], 600))
    return EncoderDecoder(T5(words.size, 16, 2, 2, 8, 24), words)


def a_run(folder):
    spec = Spec("sketch", "smoke", "a", 0, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("plain", "age: 41, education: some college"),
        ("names-hidden", "f1: 41, f2: some college"),
        ("words-hidden", "age: 41, education: v3"),
        ("digits", "age: 4 1, education: some college"),
    ],
)
def test_a_row_is_written_as_a_list(how, expected):
    d = small_table()
    row = d.train.values[0]
    assert writer(d, how, marks=True).write(row) == expected
    assert writer(d, how, marks=True).write(row, [1, 0]) == ", ".join(expected.split(", ")[::-1])
    assert writer(d, how).write(row) == expected.replace(":", "").replace(",", "")


def test_every_digit_and_the_point_stand_alone():
    d = small_table()
    assert writer(d, "digits").write(d.train.values[2]) == "age 7 . 5 education master"


@pytest.mark.parametrize("how", WRITINGS)
def test_no_two_rows_are_written_alike(how, people):
    rows = sorted(set(people.train.values))[:400]
    assert len({writer(people, how).write(row) for row in rows}) == len(rows)


def test_passages_hold_no_answer_and_every_way_to_write(people):
    found = passages_of(people)
    assert len(found) == len(people.train)
    assert not any(people.target in text for text in found)
    for way, mark in enumerate(("gender ", "f1 ", "gender v", "age ")):
        assert found[way].startswith(mark) or mark in found[way]


def test_orders_of_columns_are_permutations_that_are_equally_frequent():
    orders = column_orders(3, 6000, np.random.default_rng(0))
    counts = [int((orders == order).all(1).sum()) for order in itertools.permutations(range(3))]
    assert sum(counts) == 6000
    assert max(abs(count - 1000) for count in counts) < 4 * math.sqrt(1000)


def test_an_answer_is_in_the_set_whole_or_wrong():
    answers = ["yes", " NO ", "yesno", "", "y", "no smoker"]
    assert read_answers(answers).tolist() == [1, 0, OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE]


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_sklearns_and_naive_loops(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, 2, 40), rng.integers(-1, 2, 40)
    odds = rng.integers(0, 6, 40).astype(float)  # with ties
    scores = answer_scores(found, labels)
    recall = metrics.recall_score(labels, found, labels=[0, 1], average="macro", zero_division=0)
    assert scores["balanced-accuracy"] == pytest.approx(recall)
    assert scores["error"] == pytest.approx(1 - metrics.accuracy_score(labels, found))
    assert scores["outside"] == np.mean(found == OUTSIDE)
    pairs = [(a > b) + 0.5 * (a == b) for a in odds[labels == 1] for b in odds[labels == 0]]
    ranked = rank_scores(odds, labels, 2.5)
    assert ranked["auc"] == pytest.approx(np.mean(pairs))
    expected = metrics.balanced_accuracy_score(labels, odds > 2.5)
    assert ranked["balanced-accuracy-cut"] == pytest.approx(expected)


def test_answers_outside_the_set_are_errors_of_both_answers():
    labels = np.array([0, 0, 1, 1])
    assert answer_scores(np.full(4, OUTSIDE), labels) == {"error": 1, "balanced-accuracy": 0, "outside": 1}
    assert answer_scores(np.zeros(4, int), labels)["balanced-accuracy"] == 0.5


def test_what_cannot_be_ranked_is_said():
    with pytest.raises(Problem, match="but one answer"):
        rank_scores(np.zeros(3), np.ones(3, int), 0)
    with pytest.raises(Problem, match="no numbers"):
        rank_scores(np.array([0, np.nan]), np.array([0, 1]), 0)


def test_above_the_cut_lies_the_share():
    odds = np.random.default_rng(0).permutation(100.0 * np.arange(200))
    assert np.mean(odds > share_cut(odds, 0.25)) == pytest.approx(0.25)


def test_odds_are_the_answers_losses(people):
    model = small_t5(people).eval()
    asker = Asker(model, writer(people, "plain"), "smoker")
    questions = asker.questions(people.test.at(np.arange(5)))
    found = answer_odds(model, questions, *asker.answers)
    for question, odds in zip(questions, found, strict=True):
        losses = [model.loss([question], [answer]) * len(answer) for answer in asker.answers]
        assert odds == pytest.approx((losses[0] - losses[1]).item(), abs=1e-4)
    assert np.ptp(found) > 0
    assert asker.odds(questions) == pytest.approx(found)


@pytest.mark.parametrize(("marks", "behind"), [(False, " smoker"), (True, ", smoker:")])
def test_a_question_is_the_row_and_the_column_that_is_asked(people, marks, behind):
    model = small_t5(people)
    asker = Asker(model, writer(people, "plain", marks), "smoker")
    rows = people.test.at(np.array([3]))
    (question,) = asker.questions(rows)
    text = model.words.decode([token for token in question if token < model.words.end])
    assert text == f"{asker.writer.write(rows.values[0])}{behind}"


def test_a_row_with_cells_taken_out_and_what_is_written_make_the_row(people):
    words = row_words(people, 600)
    how = writer(people, "digits")
    row = people.train.values[0]
    tokens, places = row_cells(row, how, words.encode)
    assert words.decode(tokens.tolist()) == how.write(row)
    assert tokens.tolist() == words.encode(how.write(row))  # as if it were read whole
    assert words.decode(tokens[places == 1].tolist()) == " " + how.value(row, 1)
    question, answer = take_out((tokens, places), np.array([1, 4]), words.end)
    marks = [words.end + 1, words.end + 2]
    assert [token for token in question if token > words.end] == marks
    spans = {marks[0]: answer[1 : answer.index(marks[1])], marks[1]: answer[answer.index(marks[1]) + 1 : -1]}
    filled = [piece for token in question[:-1] for piece in spans.get(token, [token])]
    assert filled == tokens.tolist()
    assert question[-1] == answer[-1] == words.end


def test_an_answer_is_one_more_cell(people):
    model = small_t5(people)
    asker = Asker(model, writer(people, "plain"), "smoker")
    first_mark = model.words.end + 1
    row = Table("asked", (*people.columns, "smoker"), people.numeric, "", *[people.train] * 3, {})
    cells = row_cells((*people.train.values[0], "yes"), writer(row, "plain"), model.words.encode)
    question, answer = take_out(cells, np.array([len(people.columns)]), model.words.end)
    assert asker.questions(people.train.at(np.array([0]))) == [question]
    assert asker.answers[1] == answer
    assert first_mark in question


def test_reading_rows_lowers_the_loss_on_their_cells(people, tmp_path):
    recipe = Reading(people.name, 16, 1, 8, 512, ("plain",), 0.3, 40, 16, 1e-2)
    run = a_run(tmp_path)
    model = row_network(run, recipe, people, True)
    first_weights = row_network(run, recipe, people, False)
    assert run.metrics["validation/nats-cells"] < 0.8 * math.log(model.words.size)
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), first_weights.parameters(), strict=True)]
    assert not all(same)


def test_lora_changes_nothing_at_first_and_few_numbers_later(people, tmp_path):
    plain, adapted = (small_t5(people) for _ in range(2))
    opt = choose_trained(Config(method="lora", rank=1), a_run(tmp_path), adapted)
    layers = [layer for layer in adapted.modules() if isinstance(layer, LowRankLinear)]
    assert len(layers) == 2 * (4 + 3) + 2 * (8 + 3)  # of attentions and of gated layers, in two blocks here and there
    trained = {id(p) for group in opt.param_groups for p in group["params"]}
    assert trained == {id(p) for layer in layers for p in (layer.a, layer.b)}
    asker = [Asker(model, writer(people, "plain"), "smoker") for model in (plain, adapted)]
    some = people.test.at(np.arange(4))
    odds = [one.odds(one.questions(some)) for one in asker]
    assert odds[0] == pytest.approx(odds[1])


def test_full_trains_everything_at_its_own_rate(people, tmp_path):
    model = small_t5(people)
    opt = choose_trained(Config(lr=0.5, lora_lr=0.25), a_run(tmp_path), model)
    assert sum(p.numel() for p in opt.param_groups[0]["params"]) == sum(p.numel() for p in model.parameters())
    assert opt.param_groups[0]["lr"] == 0.5


def test_trees_come_near_the_best_ranking_and_logistic_regression_does_not(people):
    labels = people.test.labels
    best = rank_scores(drawn_chances(people.test.values), labels, 0.5)["auc"]
    trees = rank_scores(boosted_trees(people, people.train, 0.1, 100, 6, 0)(people.test), labels, 0)["auc"]
    lines = rank_scores(logistic(people, people.train)(people.test), labels, 0)["auc"]
    assert best - 0.03 < trees < best + 0.005
    assert lines < trees - 0.03


def test_trees_rank_as_those_of_lightgbm(people):
    peer = pytest.importorskip("lightgbm")
    how = {"learning_rate": 0.1, "n_estimators": 100, "num_leaves": 6, "min_child_samples": 5, "verbose": -1}
    theirs = peer.LGBMClassifier(**how).fit(features(people, people.train), people.train.labels)
    odds = theirs.predict_proba(features(people, people.test))[:, 1]
    ours = boosted_trees(people, people.train, 0.1, 100, 6, 0)(people.test)
    aucs = [rank_scores(found, people.test.labels, 0)["auc"] for found in (odds, ours)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.01)


def test_a_word_that_training_lacks_is_no_number():
    d = small_table()
    other = Rows((("30", "phd"), ("30", "hs")), np.array([0, 1]))
    found = features(d, other)
    assert np.isnan(found[0, 1])
    assert found[1].tolist() == [30, 0]


def test_vectors_are_computed_once_and_read_by_logistic_regression(people, tmp_path, monkeypatch):
    run = a_run(tmp_path)
    linear = pytest.importorskip("sklearn.linear_model")
    texts = ["a b", "c", "a b"]
    vectors = shared_vectors(run, "hashing", texts)
    assert {*vectors} == {"a b", "c"}
    few = people.train.at(np.arange(40))
    how = writer(people, "plain")
    odds = vector_reader(run, few, [people.validation, people.test], how, "hashing", 2.0)(people.test)
    x = [embedder("hashing").encode([how.write(row) for row in part.values]) for part in (few, people.test)]
    theirs = linear.LogisticRegression(C=0.5, max_iter=1000).fit(x[0], few.labels).decision_function(x[1])
    assert odds == pytest.approx(theirs, abs=1e-3)
    monkeypatch.setattr(HashingEmbedder, "encode", None)
    again = shared_vectors(run, "hashing", texts)
    assert all(again[text].tolist() == vectors[text].tolist() for text in texts)


def test_a_few_rows_are_the_first():
    d = small_table()
    assert first(d.test, 0) is d.test
    assert first(d.test, 2).values == d.test.values[:2]
    assert len(first(d.test, 9)) == 3


def test_a_smoke_run_tells_what_the_report_shows(tmp_path):
    found = {}
    for spec in STUDY.plan("smoke", variants=("full", "trees"), seeds=1):
        assert execute(STUDY, spec, tmp_path) == "done"
        found[spec.variant] = record.read(tmp_path / spec.key).metrics
    assert {*STUDY.words} <= {*found["full"]}
    assert found["trees"]["test/error-majority"] == found["full"]["test/error-majority"]
    assert found["full"]["test/outside"] == 1  # two steps teach no word
