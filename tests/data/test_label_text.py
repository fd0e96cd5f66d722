import re

import numpy as np
import pytest
from scipy import sparse
from tests.data.test_extreme import write_mirror

from etudes.core.errors import Problem
from etudes.data import extreme, label_text
from etudes.data.extreme import Row, from_rows, split_of
from etudes.data.label_text import count_terms, documents_with_texts, kin, pieces, read_lf, read_pairs, read_sparse
from etudes.data.sources import SOURCES

LF = SOURCES["lf-amazontitles-131k"]


@pytest.fixture(autouse=True)
def fresh():
    for cached in (extreme.documents, label_text.documents_with_texts):
        cached.cache_clear()
    yield
    for cached in (extreme.documents, label_text.documents_with_texts):
        cached.cache_clear()


def lines(matrix):
    rows = [
        " ".join(f"{c}:{v:g}" for c, v in zip(row.indices, row.data, strict=True)) for row in sparse.csr_matrix(matrix)
    ]
    return "\n".join([f"{matrix.shape[0]} {matrix.shape[1]}", *rows, ""])


def write_lf(folder, train=40, test=5, terms=6, labels=4):
    """The files of an LF set, as the repository has them; the matrices by their names."""
    rng = np.random.default_rng(1)
    shapes = {"trn_X_Xf": (train, terms), "tst_X_Xf": (test, terms), "lbl_X_Xf": (labels, terms)}
    found = {name: (rng.random(shape) < 0.5) * rng.integers(1, 9, shape) / 4 for name, shape in shapes.items()}
    found |= {"trn_X_Y": rng.random((train, labels)) < 0.5, "tst_X_Y": rng.random((test, labels)) < 0.5}
    folder.mkdir(parents=True)
    for name, matrix in found.items():
        (folder / f"{name}.txt").write_text(lines(matrix.astype(float)))
    (folder / "filter_labels_train.txt").write_text("0 1\n19 3\n")
    (folder / "filter_labels_test.txt").write_text("4 2\n")
    return found


def test_the_lf_layout_is_read_whole(tmp_path):
    there = write_lf(tmp_path / "lf")
    d, texts = read_lf(LF, tmp_path / "lf")
    assert (len(d.train), len(d.validation), len(d.test)) == (38, 2, 5)
    assert not d.counted
    kept = np.arange(40) % 20 != 19
    assert np.array_equal(d.train.x.toarray(), there["trn_X_Xf"][kept])
    assert np.array_equal(d.validation.y.toarray(), there["trn_X_Y"][~kept])
    assert np.array_equal(d.test.y.toarray(), there["tst_X_Y"])
    assert np.array_equal(texts.x.toarray(), there["lbl_X_Xf"])
    assert np.argwhere(texts.related["train"].toarray()).tolist() == [[0, 1]]
    assert np.argwhere(texts.related["validation"].toarray()).tolist() == [[0, 3]]  # document 19 is held out
    assert np.argwhere(texts.related["test"].toarray()).tolist() == [[4, 2]]
    assert len(d.source["fingerprint"]) == 64


def test_the_lf_set_is_found_in_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Problem, match=r"trn_X_Xf\.txt"):
        documents_with_texts("lf-amazontitles-131k")
    write_lf(tmp_path / LF.folder)
    assert len(documents_with_texts("lf-amazontitles-131k")[0].test) == 5


def test_damaged_files_are_told_by_their_place(tmp_path):
    folder = tmp_path / "lf"
    write_lf(folder)
    (folder / "lbl_X_Xf.txt").write_text("3 6\n0:1\n\n1:1\n")
    with pytest.raises(Problem, match="unlike numbers of features or labels"):
        read_lf(LF, folder)
    (folder / "lbl_X_Xf.txt").write_text("2 6\n0:1\n0:x\n")
    with pytest.raises(Problem, match="line 3 of"):
        read_sparse(folder / "lbl_X_Xf.txt")
    (folder / "lbl_X_Xf.txt").write_text("2 6\n0:1\n6:1\n")
    with pytest.raises(Problem, match="2 rows of 6 columns"):
        read_sparse(folder / "lbl_X_Xf.txt")
    (folder / "filter_labels_test.txt").write_text("4 2\n5 0\n")
    with pytest.raises(Problem, match="beyond 5 documents and 4 labels"):
        read_pairs(folder / "filter_labels_test.txt", (5, 4))
    (folder / "filter_labels_test.txt").write_text("")
    assert read_pairs(folder / "filter_labels_test.txt", (5, 4)).nnz == 0


def test_a_name_is_taken_to_pieces():
    assert pieces("libqt5core5a") == "libqt5core5a qt core"
    assert pieces("works-with::image:raster") == "works with image raster"


def test_a_labels_text_is_its_packages_description(tmp_path, monkeypatch):
    rows = [Row(f"source-{i // 2}", f"text number{i} common words", ("libcommon2", f"{i % 40}")) for i in range(60)]
    monkeypatch.setenv("ETUDES_MIRROR", str(write_mirror(tmp_path / "mirror", rows)))
    d, texts = documents_with_texts("debian-depends")
    assert d.terms == tuple(sorted(d.terms))
    words = [d.terms[c] for c in texts.x[d.labels.index("libcommon2")].indices]
    assert words == ["common"]  # of its name's pieces, the one that documents have; no package is called so
    label = d.labels.index("3")  # the fixture calls the packages of a split by numbers
    tested = [row for row in rows if split_of(row.group) == "test"]
    about = tested[3] if len(tested) > 3 else [row for row in rows if split_of(row.group) != "test"][3]
    assert {d.terms[c] for c in texts.x[label].indices} == set(re.findall(r"\w\w+", about.text))


def test_kin_are_labels_of_the_documents_own_group():
    rows = [Row(f"g{i}", f"word{i} again", ("a", "b", "c")) for i in range(40)]
    d = from_rows(SOURCES["topics"], "embedded", rows)
    found = kin(d, {"a": d.groups[int(d.test.group[0])], "b": "elsewhere"})["test"].toarray()
    assert found[0].tolist() == [1, 0, 0]
    assert found[1:].sum() == 0


def test_counts_are_those_of_the_documents():
    found = count_terms(["a text, TEXT of words"], ("of", "text", "unheard")).toarray()
    assert found.tolist() == [[1, 2, 0]]


def test_generated_labels_have_some_of_their_words():
    d, texts = documents_with_texts("topics")
    label = d.labels.index("topic-00::0")
    assert {d.terms[c] for c in texts.x[label].indices} == {f"label0x0x{i}" for i in range(3)}
    assert texts.related["test"].nnz == 0
