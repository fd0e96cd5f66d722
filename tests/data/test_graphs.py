import pickle
import sys
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from etudes.core.errors import Problem
from etudes.data.graphs import both_ways, graph
from etudes.data.sources.mirror import mirror

# Planetoid's files are pickles of Python 2 (protocol 2), and name SciPy's matrices as SciPy did then.


class csr_matrix:
    """Pickles as SciPy's old matrix did: by copy_reg, with its state as a dictionary."""

    def __init__(self, x: np.ndarray) -> None:
        new = sparse.csr_matrix(x.astype(np.float32))
        self.__dict__ = {"_shape": new.shape, "data": new.data, "indices": new.indices, "indptr": new.indptr,
                         "maxprint": 50}  # fmt: skip

    def __reduce__(self):
        import copyreg

        return copyreg._reconstructor, (csr_matrix, object, None), self.__dict__


@pytest.fixture
def planetoid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A citeseer of 2 + 600 papers and 3 to test on, of which one number (603) has a gap, as the true one has."""
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    old = types.ModuleType("scipy.sparse.csr")
    old.csr_matrix = csr_matrix
    monkeypatch.setattr(csr_matrix, "__module__", "scipy.sparse.csr")
    monkeypatch.setitem(sys.modules, "scipy.sparse.csr", old)
    folder = tmp_path / "kimiyoung" / "planetoid" / "data"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    x, tx = (rng.random((602, 6)) < 0.4).astype(float), np.eye(6)[:3]
    ally, ty = np.eye(3)[np.arange(602) % 3], np.eye(3)[[2, 1, 0]]
    links = defaultdict(list, {0: [1, 1, 605], 1: [0, 1], 605: [0], 602: [604]})
    files = {"x": csr_matrix(x[:2]), "y": ally[:2], "allx": csr_matrix(x), "ally": ally, "tx": csr_matrix(tx),
             "ty": ty, "graph": links}  # fmt: skip
    for part, found in files.items():
        data = pickle.dumps(found, protocol=2)
        (folder / f"ind.citeseer.{part}").write_bytes(data)
    (folder / "ind.citeseer.test.index").write_text("605\n602\n604\n")
    return folder


def test_papers_stand_where_the_index_says(planetoid: Path) -> None:
    d = graph("citeseer")
    assert d.x.shape == (606, 6)
    whole = d.x.toarray()
    assert whole[605].tolist() == [1, 0, 0, 0, 0, 0]
    assert whole[602].tolist() == [0, 1, 0, 0, 0, 0]
    assert whole[604].tolist() == [0, 0, 1, 0, 0, 0]
    assert not whole[603].any()
    assert d.y[[605, 602, 604, 0, 1, 601]].tolist() == [2, 1, 0, 0, 1, 1]
    assert d.edges.T.tolist() == [[0, 1], [0, 605], [1, 0], [602, 604], [604, 602], [605, 0]]
    assert d.parts["train"].tolist() == [0, 1]
    assert d.parts["validation"].tolist() == [*range(2, 502)]
    assert d.parts["test"].tolist() == [602, 604, 605]
    assert (d.classes, int(d.groups.max())) == (3, 0)
    assert d.source["kind"] == "originals"
    assert d.source["fingerprint"] == graph("citeseer").source["fingerprint"]


def test_a_pickle_that_asks_for_anything_else_is_refused(planetoid: Path) -> None:
    (planetoid / "ind.citeseer.graph").write_bytes(pickle.dumps(Path("/"), protocol=2))
    with pytest.raises(Problem, match=r"ind\.citeseer\.graph: the pickle asks for pathlib"):
        graph("citeseer")


class Evil:
    def __reduce__(self):
        import copyreg

        return copyreg._reconstructor, (defaultdict, object, None)


def test_only_matrices_are_rebuilt(planetoid: Path) -> None:
    (planetoid / "ind.citeseer.graph").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(Problem, match="makes an object of a kind that is not read"):
        graph("citeseer")


@pytest.mark.parametrize(
    ("part", "text", "says"),
    [
        ("test.index", "605\n602\n", "does not hold citeseer"),
        ("test.index", "605\n602\nsix\n", "does not hold citeseer"),
        ("x", "nonsense", r"ind\.citeseer\.x: the pickle is damaged"),
    ],
)
def test_damaged_papers_are_named(planetoid: Path, part: str, text: str, says: str) -> None:
    (planetoid / f"ind.citeseer.{part}").write_text(text)
    with pytest.raises(Problem, match=says):
        graph("citeseer")
    (planetoid / f"ind.citeseer.{part}").unlink()
    with pytest.raises(Problem, match="citeseer"):
        graph("citeseer")


MOLECULES = """3
3 1
5 2 1 2
0 1 0
5 1 0 0.25
2 -1
0 1 1
0 1 0
1 1
2 0
"""


@pytest.fixture
def molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    folder = tmp_path / "muhanzhang" / "DGCNN-graphs" / "MUTAG"
    (folder / "10fold_idx").mkdir(parents=True)
    (folder / "MUTAG.txt").write_text(MOLECULES)
    for k in range(1, 11):
        (folder / "10fold_idx" / f"test_idx-{k}.txt").write_text(f"{k % 3}\n{(k + 1) % 3}\n")
    return folder


def test_molecules_are_read_as_they_are_written(molecules: Path) -> None:
    d = graph("mutag")
    assert d.y.tolist() == [1, 0, 1]  # classes in order: -1 and 1
    assert d.groups.tolist() == [0, 0, 0, 1, 1, 2]
    assert d.x.toarray().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]]  # tags 0, 2, 5
    assert d.edges.T.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0], [3, 4], [4, 3]]
    assert d.parts["fold-1"].tolist() == [1, 2]
    assert len(d.parts) == 10
    assert "3 molecules" not in d.source["says"]  # it says what is declared, and counts what was read
    assert "6 nodes, 3 edges, 3 features, 2 classes" in d.source["says"]


@pytest.mark.parametrize(("old", "new"), [("5 2 1 2", "5 2 1"), ("5 2 1 2", "5 2 1 3"), ("2 -1", "2"), ("2 0\n", "")])
def test_damaged_molecules_are_named(molecules: Path, old: str, new: str) -> None:
    (molecules / "MUTAG.txt").write_text(MOLECULES.replace(old, new))
    with pytest.raises(Problem, match=r"line \d+ of .*MUTAG\.txt is not as it should be"):
        graph("mutag")


def test_names_and_places_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="cora"):
        graph("coar")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    with pytest.raises(Problem, match="no source of 'cora' can be reached"):
        graph("cora")


def test_edges_go_both_ways_once() -> None:
    edges = both_ways(torch.tensor([[0, 1, 2, 2, 0], [1, 0, 2, 0, 1]]))
    assert edges.T.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    assert both_ways(np.zeros((2, 0), np.int64)).shape == (2, 0)


def test_drawn_papers_cite_their_own_subject() -> None:
    d = graph("drawn-papers")
    same = (d.y[d.edges[0]] == d.y[d.edges[1]]).double().mean().item()
    assert 0.75 < same < 0.95
    assert d.x.shape == (400, 200)
    assert d.source["fingerprint"] == graph("drawn-papers").source["fingerprint"]
    rows = torch.cat([*d.parts.values()])
    assert len(rows.unique()) == len(rows) == 400


def test_a_mirror_has_papers_as_they_are_published(planetoid: Path, tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "copy"
    assert mirror(target, ["citeseer"]) == [target / "kimiyoung" / "planetoid"]
    first = graph("citeseer").source["fingerprint"]
    monkeypatch.setenv("ETUDES_MIRROR", str(target))
    assert graph("citeseer").source["fingerprint"] == first
    with pytest.raises(Problem, match="drawn-papers is drawn where it is used"):
        mirror(target, ["drawn-papers"])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(Problem, match="citeseer"):
        mirror(tmp_path / "other", ["citeseer"])
