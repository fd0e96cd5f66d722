from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from etudes.core.record import load
from etudes.core.run import execute
from etudes.data.extreme import Part, documents, subset, tfidf
from etudes.reports.build import build
from etudes.studies.extreme.label_trees import BEAMS, STUDY
from etudes.studies.extreme.label_trees.findings import TAIL, brief_quality, means, quality, recall_loss
from etudes.trees.search import labels, search
from etudes.trees.tree import Matcher, grow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("trees")
    plan = STUDY.plan("smoke", seeds=1, trees=1)
    for spec in plan:
        execute(STUDY, spec, root)
    return plan, root, {record.spec.variant: record for record in load(plan, root)}


def test_all_trees_have_one_shape(runs):
    trees = {name: Matcher.load(record.folder / "tree.safetensors").tree for name, record in runs[2].items()}
    leaves = {name: np.diff(tree.begins[-1]).tolist() for name, tree in trees.items() if name != "flat"}
    assert all(sizes == leaves["kmeans"] for sizes in leaves.values())
    assert trees["flat"].depth == 1
    assert trees["kmeans-deep"].depth > trees["kmeans"].depth > trees["kmeans-wide"].depth
    assert all(np.array_equal(trees["kmeans"].order, trees[f"kmeans-{kind}"].order) for kind in ("deep", "wide"))
    kinds = ("kmeans", "metis", "names", "frequency", "random")
    assert len({tuple(trees[name].order.tolist()) for name in kinds}) == len(kinds)


def test_the_saved_tree_gives_the_reported_numbers(runs):
    record = runs[2]["kmeans"]
    matcher = Matcher.load(record.folder / "tree.safetensors")
    d = subset(documents("topics"), 0, np.random.default_rng(0))
    _, test = tfidf(d, d.test)
    known = np.flatnonzero(np.asarray(d.train.y.sum(0)).ravel())
    found = search(matcher, test, record.spec.config["beam"], 10)
    first = known[labels(matcher, found)[:, 0]]
    right = [bool(d.test.y[row, label]) for row, label in enumerate(first)]
    assert record.metrics["test/p1"] == pytest.approx(np.mean(right))
    assert record.metrics["test/products"] == found.products
    assert record.metrics["parameters"] == matcher.nonzeros


def test_trees_beat_the_most_frequent_labels_and_wider_beams_cost_more(runs):
    for name, record in runs[2].items():
        assert record.metrics["test/p1"] > record.metrics["test/p1-frequent"] + 0.1, name
        if name != "flat":
            cost = [record.metrics[f"test/products-beam-{beam}"] for beam in BEAMS]
            assert cost == sorted(cost)
            assert cost[0] < cost[-1]
    assert runs[2]["flat"].metrics["test/products"] == runs[2]["flat"].metrics["train/labels"]


def test_the_matchers_negatives_are_more(runs):
    pairs = {name: [line["train/pairs"] for line in runs[2][name].log] for name in ("kmeans", "kmeans-matcher")}
    assert pairs["kmeans"][0] == pairs["kmeans-matcher"][0]
    assert pairs["kmeans"][1] < pairs["kmeans-matcher"][1]


def test_the_tail_is_what_has_few_training_documents():
    truth = sparse.csr_matrix(np.array([[1, 1, 1, 1]], np.float32))
    part = Part(truth, truth, np.array([0]))
    counts = np.array([0, TAIL, TAIL + 1, 1])
    labels = np.array([[1, 2, -1, -1, -1, -1, -1, -1, -1, -1]])
    found = quality(labels, part, counts, np.ones(4))
    assert found["recall10-tail"] == pytest.approx(1 / 2)  # of labels 1 and 3
    assert found["recall10"] == pytest.approx(1 / 2)
    assert found["p1"] == 1
    assert found["p5"] == pytest.approx(2 / 5)
    assert found["psp5"] == pytest.approx(2 / 4)  # of what could be had; no label pays more where all are certain
    assert brief_quality(labels, truth) == {name: found[name] for name in ("p1", "ndcg5", "recall10")}
    assert quality(labels, part, np.full(4, TAIL + 1), np.ones(4))["recall10-tail"] == 0


def test_what_a_beam_loses_is_a_share_of_the_whole_search():
    trial = {"kmeans": {"test/recall10-beam-10": 0.45, "test/recall10-exhaustive": 0.5}}
    assert recall_loss(10)(trial) == pytest.approx(0.1)


def most_products(tree, beam):
    """The most inner products that a search can compute for a document: of the kept nodes' children, at every level."""
    return sum(min(beam, len(begins) - 1) * int(np.diff(begins).max()) for begins in tree.begins)


@pytest.mark.parametrize("name", ["kmeans", "kmeans-deep", "kmeans-wide"])
def test_a_search_takes_no_more_products_than_the_trees_shape_says(runs, name):
    record = runs[2][name]
    tree = Matcher.load(record.folder / "tree.safetensors").tree
    for beam in BEAMS:
        assert 0 < record.metrics[f"test/products-beam-{beam}"] <= most_products(tree, beam)


def test_the_products_grow_with_the_depth_of_a_tree_and_not_with_its_labels():
    few, many = (grow(np.arange(labels), 32, 16) for labels in (4096, 16 * 4096))
    assert many.depth == few.depth + 1
    assert most_products(many, 10) == most_products(few, 10) + 10 * 16
    assert most_products(many, 10) < 0.02 * 16 * 4096  # of every label against the rest


def test_wide_trees_take_more_products_than_deep_ones_where_the_beam_is_narrow():
    deep, wide = (grow(np.arange(4096), 32, branching) for branching in (2, 256))
    assert most_products(wide, 1) > 2 * most_products(deep, 1)
    assert most_products(wide, 10) > most_products(deep, 10)


def test_numbers_of_several_trees_are_their_means(tmp_path):
    assert means([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}]) == {"a": 2.0, "b": 2.0}
    pairs = {}
    for variant in ("kmeans", "flat"):
        (spec,) = STUDY.plan("smoke", seeds=1, variants=[variant], trees=2)
        execute(STUDY, spec, tmp_path)
        (record,) = load([spec], tmp_path)
        pairs[variant] = [line["train/nonzeros"] for line in record.log]
    depth = len(pairs["kmeans"]) // 2
    assert pairs["kmeans"][:depth] != pairs["kmeans"][depth:]  # two trees, of two draws
    assert record.metrics["parameters"] == sum(pairs["flat"])  # one order, and so one tree


def test_the_front_has_a_point_for_each_beam(runs):
    plan, root, records = runs
    report = build(STUDY, plan, load(plan, root))
    for chart in STUDY.charts[:2]:
        counts = Counter(row["group"] for row in chart.draw(report).layer[-1].data.values)
        assert counts == {name: 1 if name == "flat" else len(BEAMS) + 1 for name in records}


def test_amazons_propensities_are_the_papers():
    config = STUDY.plan("amazon", variants=["kmeans"])[0].config
    assert (config["propensity_a"], config["propensity_b"], config["leaf"]) == (0.6, 2.6, 100)
