import numpy as np
import pytest
import torch
from scipy import sparse

from etudes.core.errors import Problem
from etudes.trees import search as beams
from etudes.trees.orders import halving_order
from etudes.trees.search import labels, reachable_nodes, search
from etudes.trees.tree import Matcher, Tree, drop_empty_columns, grow, halvings, positives, train_level


def random_matcher(count=37, leaf=3, branching=4, d=12, combine="l3-hinge", seed=0):
    rng = np.random.default_rng(seed)
    matcher = Matcher(grow(rng.permutation(count), leaf, branching), combine)
    for level in range(matcher.tree.depth):
        dense = rng.standard_normal((d, matcher.tree.nodes(level))).astype(np.float32)
        matcher.levels.append(sparse.csc_matrix(dense * (rng.random(dense.shape) < 0.7)))
    x = sparse.random(9, d, density=0.6, format="csr", random_state=seed, dtype=np.float32)
    return matcher, x


def path_scores(matcher, x):
    """Every label's score, by walking from the root to it: the naive loop."""
    scores = np.zeros((x.shape[0], len(matcher.tree.order)))
    for level in range(matcher.tree.depth):
        margins = (x @ matcher.levels[level]).toarray()
        node = matcher.tree.above(level)
        for place, label in enumerate(matcher.tree.order):
            scores[:, label] += matcher.log_scores(margins)[:, node[place]]
    return scores


def learnt(count=40, leaf=5, branching=2, seed=0):
    rng = np.random.default_rng(seed)
    y = sparse.csr_matrix((rng.random((80, count)) < 0.08).astype(np.float32))
    x = sparse.hstack([y @ sparse.random(count, 30, 0.3, random_state=seed), np.ones((80, 1))], "csr", np.float32)
    return Matcher(grow(rng.permutation(count), leaf, branching)), x, y


@pytest.mark.parametrize(
    ("count", "leaf", "branching"), [(37, 3, 4), (64, 4, 2), (5, 10, 2), (100, 7, 16), (9, 1, 256)]
)
def test_a_tree_has_equal_leaves_and_every_label_once(count, leaf, branching):
    tree = grow(np.random.default_rng(0).permutation(count), leaf, branching)
    assert sorted(tree.order) == list(range(count))
    sizes = np.diff(tree.begins[-1])
    assert sizes.max() <= leaf or tree.depth == 1
    assert sizes.max() - sizes.min() <= 1
    assert all(np.diff(begin).max() <= branching for begin in tree.begins[:-1])
    assert tree.nodes(tree.depth - 1) == count
    assert len(tree.begins[0]) == 2
    for level in range(1, tree.depth):
        assert len(tree.begins[level]) - 1 == tree.nodes(level - 1)


def test_leaves_are_the_halves_that_the_order_was_made_of():
    asked = []

    def halve(part):
        asked.append(frozenset(part.tolist()))
        return np.zeros(len(part))

    tree = grow(halving_order(37, halvings(37, 3), halve), 3, 2)
    for level in range(tree.depth - 1):
        nodes = tree.above(level)
        for node in range(tree.nodes(level)):
            below = frozenset(tree.order[nodes == node].tolist())
            assert below in asked or level == tree.depth - 2


def test_branches_are_a_power_of_two():
    for branching in (0, 1, 3, 12):
        with pytest.raises(Problem, match="power of two"):
            grow(np.arange(10), 2, branching)


@pytest.mark.parametrize("combine", ["l3-hinge", "log-sigmoid"])
@pytest.mark.parametrize(("leaf", "branching"), [(3, 2), (3, 4), (3, 16), (50, 2)])
def test_a_wide_beam_is_an_exhaustive_search(leaf, branching, combine):
    matcher, x = random_matcher(leaf=leaf, branching=branching, combine=combine)
    found = search(matcher, x, 37)
    naive = path_scores(matcher, x)
    ranked = labels(matcher, found)
    assert (np.sort(ranked, axis=1) == np.arange(37)).all()
    assert np.allclose(np.take_along_axis(naive, ranked, 1), -np.sort(-naive, axis=1), atol=1e-3)  # some are equal
    assert np.allclose(found.scores, -np.sort(-naive, axis=1), atol=1e-3)
    assert found.products == sum(matcher.tree.nodes(level) for level in range(matcher.tree.depth))


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_a_beam_is_the_naive_loop(beam):
    matcher, x = random_matcher(branching=2)
    found = search(matcher, x, beam)
    for row in range(x.shape[0]):
        kept, products = [(0.0, 0)], 0
        for level, begin in enumerate(matcher.tree.begins):
            margins = matcher.log_scores((x[row] @ matcher.levels[level]).toarray()[0])
            children = [(score + margins[c], c) for score, n in kept for c in range(begin[n], begin[n + 1])]
            products += len(children)
            kept = sorted(children, key=lambda pair: -pair[0])[:beam]
        assert found.nodes[row, : len(kept)].tolist() == [node for _, node in kept]
        assert search(matcher, x[row], beam).products == products


@pytest.mark.parametrize("beam", [1, 7, 50])
def test_of_equals_the_first_ones_are_kept(beam):
    rng = np.random.default_rng(beam)
    matcher = Matcher(grow(np.arange(300), 300, 2))
    matcher.levels.append(sparse.csc_matrix(rng.integers(-1, 2, (3, 300)).astype(np.float32)))
    x = sparse.csr_matrix(rng.integers(0, 2, (20, 3)).astype(np.float32))
    scores = matcher.log_scores((x @ matcher.levels[0]).toarray())
    for found, row in zip(search(matcher, x, beam).nodes.tolist(), scores, strict=True):
        assert found == sorted(range(300), key=lambda place: (-row[place], place))[:beam]


def test_parts_of_the_documents_give_the_same(monkeypatch):
    matcher, x = random_matcher()
    whole = search(matcher, x, 3)
    monkeypatch.setattr(beams, "ROOM", 20)
    parts = search(matcher, x, 3)
    assert np.array_equal(whole.nodes, parts.nodes)
    assert whole.products == pytest.approx(parts.products)


def test_fewer_nodes_than_asked_for_are_filled_up():
    matcher, x = random_matcher(count=3, leaf=5)
    assert (labels(matcher, search(matcher, x, 10, 10))[:, 3:] == -1).all()
    with pytest.raises(Problem, match="beam is 0"):
        search(matcher, x, 0)


def test_the_positives_of_a_level_are_the_naive_loop():
    matcher, _, y = learnt()
    for level in range(matcher.tree.depth):
        found = positives(matcher.tree, y, level).toarray()
        wanted = np.zeros_like(found)
        for place, node in enumerate(matcher.tree.above(level)):
            wanted[:, node] |= y[:, matcher.tree.order[place]].toarray()[:, 0] > 0
        assert np.array_equal(found, wanted)


def test_a_level_is_learnt_from_the_documents_of_the_parent_alone():
    matcher, x, y = learnt()
    for level in range(matcher.tree.depth):
        pairs = train_level(matcher, x, y, 1.0, 0.0)
        above = positives(matcher.tree, y, level - 1).toarray() if level else np.ones((80, 1), bool)
        sizes = np.diff(matcher.tree.begins[level])
        assert pairs == (above.sum(0) * sizes).sum()
        for node, first, last in matcher.blocks(level):
            own = np.flatnonzero(above[:, node])
            used = np.flatnonzero(abs(x[own]).sum(0))
            touched = np.flatnonzero(abs(matcher.levels[level][:, first:last]).sum(1))
            assert set(touched) <= set(used)


def test_negatives_of_the_search_add_documents():
    matcher, x, y = learnt()
    train_level(matcher, x, y, 1.0, 0.0)
    led = reachable_nodes(matcher, x, 1)
    assert led.shape == (80, matcher.tree.nodes(0))
    assert (np.asarray(led.sum(1)) == 1).all()
    more = train_level(Matcher(matcher.tree, levels=matcher.levels[:1]), x, y, 1.0, 0.0, led)
    both = (positives(matcher.tree, y, 0) + led).toarray()
    assert more == (both.sum(0) * np.diff(matcher.tree.begins[1])).sum()
    assert more > train_level(matcher, x, y, 1.0, 0.0)


def test_small_weights_are_dropped():
    counts = []
    for prune in (0.0, 0.1, 0.5):
        matcher, x, y = learnt()
        train_level(matcher, x, y, 1.0, prune)
        counts.append(matcher.nonzeros)
        assert np.abs(matcher.levels[0].data).min() >= prune
    assert counts[0] > counts[1] > counts[2]


def test_what_was_learnt_is_found_again():
    matcher, x, y = learnt()
    while len(matcher.levels) < matcher.tree.depth:
        train_level(matcher, x, y, 100.0, 0.0)
    first = labels(matcher, search(matcher, x, 10))[:, 0]
    some = np.flatnonzero(np.asarray(y.sum(1)).ravel())
    assert np.asarray(y[some, first[some]]).mean() > 0.9


def test_a_saved_tree_is_the_same(tmp_path):
    matcher, x = random_matcher(combine="log-sigmoid")
    matcher.save(tmp_path / "tree.safetensors")
    again = Matcher.load(tmp_path / "tree.safetensors")
    assert again.combine == "log-sigmoid"
    assert np.array_equal(again.tree.order, matcher.tree.order)
    assert np.array_equal(search(again, x, 3).nodes, search(matcher, x, 3).nodes)
    again.levels = []
    again.load_state_dict(matcher.state_dict())
    assert all((a != b).nnz == 0 for a, b in zip(again.levels, matcher.levels, strict=True))


def test_what_is_no_tree_is_told(tmp_path):
    (tmp_path / "tree.safetensors").write_bytes(b"none")
    with pytest.raises(Problem, match="holds no label tree"):
        Matcher.load(tmp_path / "tree.safetensors")
    from safetensors.torch import save_file

    save_file({"order": torch.arange(3)}, tmp_path / "other.safetensors")
    with pytest.raises(Problem, match="holds no label tree"):
        Matcher.load(tmp_path / "other.safetensors")
    with pytest.raises(Problem, match="did you mean 'l3-hinge'"):
        Matcher(Tree(np.arange(2), (np.array([0, 2]),)), "l2-hinge")


def test_narrowing_leaves_the_products_as_they_are():
    x = sparse.random(5, 40, density=0.1, format="csr", random_state=0)
    part, used = drop_empty_columns(x)
    w = np.random.default_rng(0).random((40, 2))
    assert np.allclose(part @ w[used], x @ w)
    assert (np.asarray(abs(part).sum(0)) > 0).all()
