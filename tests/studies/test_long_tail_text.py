import numpy as np
import pytest
import torch
from scipy import sparse

from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.studies.extreme.long_tail_text import STUDY, Config, sampling
from etudes.studies.extreme.long_tail_text.findings import (
    as_matrix,
    f1_by_label,
    first_labels,
    many_quality,
    one_quality,
    without_kin,
)
from etudes.studies.extreme.long_tail_text.methods import ONE_ONLY
from etudes.studies.extreme.long_tail_text.networks import TextNetwork, bag, logits
from etudes.studies.extreme.long_tail_text.tasks import (
    Split,
    Task,
    distinct_classes,
    one_of_each_group,
    split_classes,
)

CPU = torch.device("cpu")


def matrix(values):
    return sparse.csr_matrix(np.array(values, np.float32))


def vectors(n=30, terms=12, seed=0):
    x = np.random.default_rng(seed).random((n, terms)) * (np.random.default_rng(seed + 1).random((n, terms)) < 0.6)
    return matrix(x / np.linalg.norm(x, axis=1, keepdims=True))


LABEL = np.repeat([0, 1, 2, 3], [16, 8, 4, 2])
COUNTS = np.array([16.0, 8.0, 4.0, 2.0])


# Examples


def test_documents_or_classes_are_drawn_alike():
    alike = sampling.drawing_probabilities(LABEL, COUNTS, 0.0)
    assert alike == pytest.approx(np.full(30, 1 / 30))
    balanced = sampling.drawing_probabilities(LABEL, COUNTS, 1.0)
    assert np.bincount(LABEL, balanced) == pytest.approx([0.25] * 4)
    root = np.bincount(LABEL, sampling.drawing_probabilities(LABEL, COUNTS, 0.5))
    assert root == pytest.approx(np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())


@pytest.mark.parametrize(("power", "sizes"), [(0.0, [16, 8, 4, 2]), (1.0, [2, 2, 2, 2]), (1 / 3, [8, 8, 4, 2])])
def test_undersampling_caps_the_classes(power, sizes):
    rows = sampling.undersample(LABEL, COUNTS, power, np.random.default_rng(0))
    assert np.bincount(LABEL[rows]).tolist() == sizes
    assert len(set(rows.tolist())) == len(rows)


def test_what_a_class_lacks():
    assert sampling.missing(COUNTS, 1.0).tolist() == [0, 8, 12, 14]
    assert sampling.missing(COUNTS, 0.0).tolist() == [0, 0, 0, 0]
    assert sampling.missing(COUNTS, 0.5).tolist() == [0, round(128**0.5) - 8, 4, round(32**0.5) - 2]


def test_a_mixed_document_has_no_word_that_its_class_has_not():
    words = matrix(np.random.default_rng(2).integers(0, 4, (30, 12)))
    made, classes = sampling.mix(words, LABEL, np.array([0, 3, 0, 40]), np.random.default_rng(0))
    assert np.bincount(classes, minlength=4).tolist() == [0, 3, 0, 40]
    for row, c in zip(made.toarray(), classes, strict=True):
        own = words[c == LABEL].toarray()
        assert (row[own.sum(0) == 0] == 0).all()
        assert (row <= 2 * own.max(0)).all()
    mean = made[classes == 3].toarray().mean(0)  # half of each of two documents: one document's words on average
    assert mean == pytest.approx(words[LABEL == 3].toarray().mean(0), abs=0.6)
    none, classes = sampling.mix(words, LABEL, np.zeros(4, int), np.random.default_rng(0))
    assert none.shape == (0, 12)
    assert len(classes) == 0


def test_smote_lies_between_a_document_and_one_of_its_nearest():
    x = vectors()
    made, classes = sampling.smote(x, LABEL, np.array([5, 0, 6, 7]), np.random.default_rng(0), neighbours=2)
    assert np.bincount(classes).tolist() == [5, 0, 6, 7]
    dense = x.toarray()
    for point, c in zip(made.toarray(), classes, strict=True):
        own = np.flatnonzero(c == LABEL)
        segments = []
        for i in own:
            near = sorted((j for j in own if j != i), key=lambda j: np.linalg.norm(dense[i] - dense[j]))[:2]
            segments += [distance_to_segment(point, dense[i], dense[j]) for j in near]
        assert min(segments) < 1e-5


def distance_to_segment(point, a, b):
    u = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(point - a - u * (b - a))


def test_a_class_of_one_document_repeats_it_under_smote():
    x = vectors(3)
    made, _ = sampling.smote(x, np.array([0, 0, 1]), np.array([0, 2]), np.random.default_rng(0))
    assert np.allclose(made.toarray(), x[[2, 2]].toarray())


def test_imbalanced_learns_smote_makes_points_of_the_same_kind(monkeypatch):
    over = pytest.importorskip("imblearn.over_sampling")
    x = vectors()
    theirs, label = over.SMOTE(k_neighbors=1, random_state=0).fit_resample(x.toarray(), LABEL)
    assert np.bincount(label).tolist() == (COUNTS + sampling.missing(COUNTS, 1.0)).tolist()
    made, classes = sampling.smote(x, LABEL, sampling.missing(COUNTS, 1.0), np.random.default_rng(0), neighbours=1)
    dense = x.toarray()
    for points, of in ((theirs[30:], label[30:]), (made.toarray(), classes)):
        for point, c in zip(points, of, strict=True):
            own = dense[c == LABEL]
            distance = np.linalg.norm(own[:, None] - own[None], axis=2) + 9 * np.eye(len(own))
            nearest = distance.argmin(1)
            assert min(distance_to_segment(point, a, own[j]) for a, j in zip(own, nearest, strict=True)) < 1e-5


# Tasks


def test_classes_are_those_that_stand_alone():
    y = matrix([[1, 1, 0, 0]] * 9 + [[0, 0, 1, 0]] * 5 + [[0, 0, 0, 1]] * 4 + [[1, 0, 0, 0]] * 2)
    apart = np.arange(20)
    assert distinct_classes(y, apart, 3).tolist() == [0, 2, 3]  # label 1 never stands without label 0
    together = np.where((apart >= 9) & (apart < 14), 9, apart)  # label 2 is that of a single group
    assert distinct_classes(y, together, 2).tolist() == [0, 3]
    with pytest.raises(Problem, match="5 classes were asked for"):
        distinct_classes(y, apart, 5)


def test_one_document_of_each_group_is_kept():
    y = matrix([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]])
    group = np.array([0, 0, 1, 2, 3])
    rows, label = one_of_each_group(y, group, np.array([0, 1]), np.random.default_rng(0))
    assert len(rows) == 2  # of group 0 one, of group 3 the last, which has label 1 of the two chosen
    assert dict(zip(rows.tolist(), label.tolist(), strict=True))[4] == 1


def test_the_tail_is_exponential_and_what_is_asked_is_balanced():
    cfg = Config(classes=3, ratio=4.0, largest=16, held_out=2, tested=5)
    label = np.repeat([0, 1, 2], [40, 30, 23])
    rank = np.array([2, 0, 1])
    places = split_classes(label, cfg, rank, np.random.default_rng(0))
    assert np.bincount(label[places["train"]])[rank].tolist() == [16, 8, 4]
    assert np.bincount(label[places["validation"]]).tolist() == [2, 2, 2]
    assert np.bincount(label[places["test"]]).tolist() == [5, 5, 5]
    assert len(set(np.concatenate(list(places.values())).tolist())) == 28 + 6 + 15
    with pytest.raises(Problem, match="a class has 23 documents, and 24 are needed"):
        split_classes(label, Config(classes=3, largest=17, held_out=2, tested=5), rank, np.random.default_rng(0))


# Networks


def test_the_network_is_a_weighted_sum_of_vectors_and_a_linear_layer():
    x = vectors(5)
    model = TextNetwork(12, 4, 3).eval()
    hidden = np.maximum(x.toarray() @ model.words.weight.detach().numpy(), 0)
    expected = hidden @ model.classify.weight.detach().numpy().T + model.classify.bias.detach().numpy()
    assert logits(model, x) == pytest.approx(expected, abs=1e-5)
    cosine = TextNetwork(12, 4, 3, cosine=True).eval()
    assert np.abs(logits(cosine, x)).max() <= 1 + 1e-6
    empty = matrix(np.zeros((1, 12)))
    assert model(bag(empty, CPU)).detach().numpy()[0] == pytest.approx(model.classify.bias.detach().numpy())


def test_the_papers_network_has_so_many_parameters():
    with torch.device("meta"):
        model = TextNetwork(40_000, 300, 131_073)
    assert sum(p.numel() for p in model.parameters()) == 40_000 * 300 + 131_073 * 301


# Findings


def test_f1_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    predicted, truth = (rng.random((2, 40, 6)) < 0.3).astype(np.float32)
    truth[:, 5] = predicted[:, 5] = 0
    ours = f1_by_label(matrix(predicted), matrix(truth))
    assert ours == pytest.approx(metrics.f1_score(truth, predicted, average=None, zero_division=0))


def task(y, related=None, shots=None):
    y = matrix(y)
    split = Split(matrix(np.eye(y.shape[0])), y, matrix(np.zeros(y.shape) if related is None else related))
    counts = np.asarray(y.sum(0)).ravel()
    return Task(split, split, split, None, counts, shots or {}, split.x, lambda c: c, {})


def test_accuracy_is_the_mean_over_classes_and_over_shots():
    shots = {"head": np.array([True, False]), "tail": np.array([False, True])}
    some = task([[1, 0], [1, 0], [1, 0], [0, 1]], shots=shots)
    scores = np.array([[2, 1], [2, 1], [1, 2], [2, 1]], np.float32)
    found = one_quality(some, some.test, lambda x: scores[np.ravel(x.argmax(1))])
    assert found["accuracy-head"] == pytest.approx(2 / 3)
    assert found["accuracy-tail"] == 0
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["accuracy-as-trained"] == pytest.approx(0.75 * 2 / 3)


def test_kin_are_neither_predicted_nor_true():
    y = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    kin = [[1, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]
    some = task(y, kin)
    part = without_kin(some.test)
    assert part.y.toarray().tolist() == [[0, 1, 0, 0, 0, 0]]  # the second document has no other label
    score = lambda x: np.tile(np.array([[9, 5, 1, 3, 8, 2]], np.float32), (x.shape[0], 1))  # noqa: E731
    assert first_labels(score, part, 2, related=True).tolist() == [[1, 3]]
    assert first_labels(score, part, 2, related=False).tolist() == [[0, 4]]
    assert many_quality(some, some.test, score, np.ones(6))["p1"] == 1
    assert many_quality(some, some.test, score, np.ones(6), related=False)["p1"] == 0.5
    assert as_matrix(np.array([[1, 3]]), 6).toarray().tolist() == [[0, 1, 0, 1, 0, 0]]


# The study


def test_many_labels_refuse_what_is_for_one(tmp_path):
    assert "ldam" in ONE_ONLY
    (spec,) = STUDY.plan("smoke", seeds=1, variants=["many-plain"], method="ldam")
    with pytest.raises(Problem, match="ldam is for documents of one class"):
        execute(STUDY, spec, tmp_path)


def test_without_strength_corrections_change_nothing(tmp_path):
    plan = [
        spec
        for name in ("plain", "adjusted", "combined")
        for spec in STUDY.plan("smoke", seeds=1, variants=[name], strength=0.0)
    ]
    for spec in plan:
        execute(STUDY, spec, tmp_path)
    plain, *others = load(plan, tmp_path)
    for record in others:
        assert record.metrics["test/accuracy"] == plain.metrics["test/accuracy"]


def test_propensities_of_amazon_are_jains():
    config = STUDY.plan("paper", variants=["many-plain"])[0].config
    assert (config["propensity_a"], config["propensity_b"], config["hidden"]) == (0.6, 2.6, 300)
