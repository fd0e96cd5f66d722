from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data import packages as module
from etudes.data.packages import (
    classes_of,
    connected_sample,
    facet_values,
    largest_component,
    packages,
    stems,
    word_bags,
)


@pytest.fixture(autouse=True)
def fresh():
    packages.cache_clear()
    yield
    packages.cache_clear()


def write_mirror(folder: Path, columns: tuple[str, ...] = ("uid", "source", "content", "labels")) -> None:
    import datasets

    target = folder / "debian" / "xmc-packages"
    tables = {
        "debtags": {
            "train": [("b", "s1", "Bee\nlong", ["role::program"]), ("a", "s0", "Ay", ["use::editing"])],
            "test": [("c", "s1", "See", ["role::program", "use::editing"])],
        },
        "depends": {
            "train": [("a", "s0", "Ay", ["b", "libc6", "d"]), ("d", "s2", "Dee", ["a"])],
            "test": [("c", "s1", "See", ["c", "b"])],
        },
    }
    for config, splits in tables.items():
        (target / config).mkdir(parents=True)
        for split, rows in splits.items():
            table = dict(zip(("uid", "source", "content", "labels"), map(list, zip(*rows, strict=True)), strict=True))
            kept = {name: table[name] for name in columns}
            datasets.Dataset.from_dict(kept).to_parquet(target / config / f"{split}-00000-of-00001.parquet")
    configs = "".join(
        f"- config_name: {c}\n  data_files:\n  - split: train\n    path: {c}/train-*.parquet\n"
        f"  - split: test\n    path: {c}/test-*.parquet\n"
        for c in tables
    )
    (target / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


def test_the_two_tables_make_one_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    write_mirror(tmp_path)
    d = packages("debian-graph")
    assert d.names == ("a", "b", "c")  # d has no tags, libc6 is no package here
    assert d.sources == ("s0", "s1", "s1")
    assert d.texts == ("Ay", "Bee\nlong", "See")
    assert d.tags[2] == ("role::program", "use::editing")
    assert d.edges.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert d.source["dataset"] == "debian-graph"
    assert d.source["kind"] == "mirror"


def test_packages_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="debian-graph"):
        packages("debian-grahp")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    with pytest.raises(Problem, match="no source of 'debian-graph' can be reached"):
        packages("debian-graph")
    write_mirror(tmp_path, ("source", "content", "labels"))
    with pytest.raises(Problem, match="needs the columns uid, source, content and labels"):
        packages("debian-graph")


TAGS = (
    ("role::program", "use::checking", "interface::x11", "interface::graphical"),
    ("role::program", "role::shared-lib", "implemented-in::c++"),
    ("role::TODO", "role::program", "use::editing"),
)


def test_a_value_is_one_or_none() -> None:
    assert facet_values(TAGS, "role") == ["program", "", "program"]
    assert facet_values(TAGS, "interface") == ["", "", ""]
    assert facet_values(TAGS, "interface", ("graphical",)) == ["x11", "", ""]
    assert classes_of(["b", "a", "", "b", "a", "c"], 2) == ("a", "b")
    assert classes_of(["b", "a", "b"], 1) == ("b", "a")


def test_no_text_gives_its_class_away() -> None:
    masked = stems(TAGS, ("role", "use", "implemented-in"))
    assert masked == {"program", "check", "shared", "lib", "c", "todo", "edit"}
    text = "A checker, libraries in C++; programs to edit cats. The Calibrated cat"
    x = word_bags([text, "", "cats and cat"], 4096, masked)
    assert x.shape == (3, 4096)
    assert x[0].nnz == 2  # cats, cat
    assert x[1].nnz == 0
    assert (x[0] != x[2]).nnz == 0
    assert {*x.data.tolist()} == {1.0}
    assert word_bags(["same words"], 64, masked).indices.max() < 64
    assert word_bags(["c library"], 64, frozenset()).nnz == 2


def hang_together(edges: torch.Tensor, nodes: np.ndarray) -> bool:
    """Whether all nodes are reached from the first, by a loop."""
    inside, reached, waiting = {*nodes.tolist()}, {int(nodes[0])}, [int(nodes[0])]
    while waiting:
        one = waiting.pop()
        for u, v in edges.T.tolist():
            if u == one and v in inside and v not in reached:
                reached.add(v)
                waiting.append(v)
    return reached == inside


def test_a_sample_hangs_together() -> None:
    rng = np.random.default_rng(0)
    d = packages("drawn-packages")
    n = len(d.names)
    nodes = np.arange(0, n, 2)
    whole = largest_component(d.edges, nodes, n)
    assert {*whole.tolist()} <= {*nodes.tolist()}
    assert hang_together(d.edges, whole)
    sample = connected_sample(d.edges, whole, 60, rng)
    assert len({*sample.tolist()}) == 60
    assert {*sample.tolist()} <= {*whole.tolist()}
    assert hang_together(d.edges, sample)
    other = connected_sample(d.edges, whole, 60, np.random.default_rng(1))
    assert sample.tolist() != other.tolist()
    assert connected_sample(d.edges, whole, 10**6, rng).tolist() == whole.tolist()


def test_the_largest_part_is_that_of_a_loop() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]])
    nodes = np.array([0, 1, 3, 4, 5])  # without 2 and 6: two parts
    assert largest_component(edges, nodes, 8).tolist() == [3, 4, 5]


def test_drawn_packages_share_tags_with_what_they_need() -> None:
    d = packages("drawn-packages")
    tags = [{*own} for own in d.tags]
    shared = np.mean([bool(tags[u] & tags[v]) for u, v in d.edges.T.tolist()])
    chance = np.mean([bool(tags[u] & tags[-v]) for u, v in d.edges.T.tolist()])
    assert shared > chance + 0.05
    assert all(d.sources[i] == d.sources[i + 1] and d.tags[i] == d.tags[i + 1] for i in range(0, len(d.names), 2))
    assert module.packages("drawn-packages") is d
