import numpy as np
import pytest
from scipy import sparse

from etudes.trees import orders


def blocks(groups=4, each=8, seed=0):
    """Features and labels' graph of groups that have nothing in common, and each label's group, shuffled."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(groups), each))
    dense = np.zeros((len(group), groups * 5), np.float32)
    for label, of in enumerate(group):
        dense[label, of * 5 : of * 5 + 5] = rng.random(5) + 0.1
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    graph = (group[:, None] == group[None]) & ~np.eye(len(group), dtype=bool)
    return sparse.csr_matrix(dense), sparse.csr_matrix(graph.astype(np.int64) * 3), group


def documents(seed=0):
    rng = np.random.default_rng(seed)
    x = sparse.random(30, 12, density=0.4, format="csr", random_state=seed)
    y = sparse.csr_matrix((rng.random((30, 9)) < 0.2).astype(np.float32))
    return x, y


def test_label_features_are_the_naive_loop():
    x, y = documents()
    found = orders.label_features(x, y).toarray()
    for label in range(y.shape[1]):
        summed = sum((x[i].toarray()[0] for i in range(30) if y[i, label]), np.zeros(12))
        assert np.allclose(found[label], summed / max(np.linalg.norm(summed), 1e-12), atol=1e-6)


def test_cooccurrence_is_the_naive_loop():
    _, y = documents()
    found = orders.cooccurrence(y).toarray()
    dense = y.toarray() > 0
    for a in range(9):
        for b in range(9):
            assert found[a, b] == (0 if a == b else (dense[:, a] & dense[:, b]).sum())


def together(order, group, parts):
    """Whether every part of the order is of one group."""
    return all(len(set(group[part])) == 1 for part in np.array_split(order, parts))


def test_kmeans_finds_groups():
    features, _, group = blocks()
    found = [orders.kmeans(features, 2, np.random.default_rng(seed)) for seed in range(10)]
    assert all(sorted(order) == list(range(32)) for order in found)
    assert sum(together(order, group, 4) for order in found) >= 5
    assert not together(np.random.default_rng(0).permutation(32), group, 4)


def test_metis_finds_groups():
    pytest.importorskip("pymetis")
    _, graph, group = blocks()
    assert together(orders.metis(graph, 2, np.random.default_rng(0)), group, 4)


def test_metis_cuts_a_dumbbell_where_it_is_thin():
    pytest.importorskip("pymetis")
    dense = np.zeros((10, 10), np.int64)
    dense[:5, :5] = dense[5:, 5:] = 4
    np.fill_diagonal(dense, 0)
    dense[4, 5] = dense[5, 4] = 1
    order = orders.metis(sparse.csr_matrix(dense), 1, np.random.default_rng(0))
    assert {frozenset(order[:5].tolist()), frozenset(order[5:].tolist())} == {
        frozenset(range(5)),
        frozenset(range(5, 10)),
    }


@pytest.mark.parametrize("loners", [0, 1, 7, 12, 13])
def test_isolated_labels_fill_up_the_halves(loners):
    pytest.importorskip("pymetis")
    dense = np.zeros((13, 13), np.int64)
    joined = 13 - loners
    dense[:joined, :joined] = 1
    np.fill_diagonal(dense, 0)
    graph = sparse.csr_matrix(dense)
    assert len(orders.isolated_nodes(graph)) == (13 if joined == 1 else loners)
    for depth in (1, 2, 3):
        order = orders.metis(graph, depth, np.random.default_rng(0))
        assert sorted(order) == list(range(13))


def test_the_same_seed_gives_the_same_order():
    features, graph, _ = blocks()
    for make in (lambda s: orders.kmeans(features, 3, np.random.default_rng(s)),):
        assert np.array_equal(make(1), make(1))
        assert not np.array_equal(make(1), make(2))
    pytest.importorskip("pymetis")
    twice = [orders.metis(graph, 3, np.random.default_rng(1)) for _ in range(2)]
    assert np.array_equal(*twice)


def test_names_and_frequencies():
    assert orders.name_order(["b::x", "a::z", "b::a"]).tolist() == [1, 2, 0]
    y = sparse.csr_matrix(np.array([[0, 1, 1], [0, 0, 1]]))
    assert orders.frequency_order(y).tolist() == [2, 1, 0]


def test_halving_keeps_every_label_and_splits_evenly():
    sizes = []

    def halve(part):
        sizes.append(len(part))
        return -part.astype(float)

    assert orders.halving_order(11, 2, halve).tolist() == list(range(11))
    assert sizes == [11, 6, 5]
