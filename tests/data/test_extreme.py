import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from etudes.core.errors import Problem
from etudes.data import extreme
from etudes.data.extreme import SPLITS, Row, documents, from_rows, read_lists, read_repository, read_text, split_of
from etudes.data.sources import SOURCES

PACKAGES = """Package: {name}
Source: {source} (1.2)
Version: 1.2-1
Depends: libc6 (>= 2.34), libfoo1:any (>= 1), editor | vim,
 zlib1g
Pre-Depends: dpkg (>= 1.15)
Description: short words of {name}
Description-md5: {md5}
Tag: role::program, use::editing,
 implemented-in::c

"""
TRANSLATION = """Package: {name}
Description-md5: {md5}
Description-en: short words of {name}
 Long words of {name}, on
 two lines.
 .
 And a paragraph.

"""


@pytest.fixture(autouse=True)
def fresh():
    extreme.documents.cache_clear()
    yield
    extreme.documents.cache_clear()


def rows(count=60):
    return [Row(f"source-{i // 2}", f"text number{i} common words", ("a", f"b{i % 3}")) for i in range(count)]


def write_mirror(folder: Path, found=None) -> Path:
    import datasets

    target = folder / "debian" / "xmc-packages"
    for config in ("depends", "debtags"):
        (target / config).mkdir(parents=True)
        for split in ("train", "test"):
            part = [row for row in found or rows() if (split_of(row.group) == "test") == (split == "test")]
            table = {"uid": [str(i) for i in range(len(part))], "source": [row.group for row in part]}
            table |= {"content": [row.text for row in part], "labels": [list(row.labels) for row in part]}
            datasets.Dataset.from_dict(table).to_parquet(target / config / f"{split}-00000-of-00001.parquet")
    configs = "".join(
        f"- config_name: {c}\n  data_files:\n  - split: train\n    path: {c}/train-*.parquet\n"
        f"  - split: test\n    path: {c}/test-*.parquet\n"
        for c in ("depends", "debtags")
    )
    (target / "README.md").write_text(f"---\nlicense: other\nconfigs:\n{configs}---\n\nWritten by a test.\n")
    return folder


def write_lists(folder: Path, count=40, packed="") -> Path:
    names = [(f"package{i}", f"source{i // 2}", f"{i:032x}") for i in range(count)]
    packages = "".join(PACKAGES.format(name=n, source=s, md5=m) for n, s, m in names).encode()
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed]
    folder.mkdir()
    (folder / f"host_dists_stable_main_binary-amd64_Packages{packed}").write_bytes(pack(packages))
    translation = "".join(TRANSLATION.format(name=n, md5=m) for n, _, m in names[:-1])  # the last has none
    (folder / "host_dists_stable_main_i18n_Translation-en").write_text(translation)
    return folder


def test_the_mirror_is_read_and_split_by_source(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", str(write_mirror(tmp_path / "mirror")))
    d = documents("debian-depends")
    assert d.labels == ("a", "b0", "b1", "b2")
    assert sum(len(getattr(d, split)) for split in SPLITS) == 60
    groups = [set(getattr(d, split).group.tolist()) for split in SPLITS]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert d.source["kind"] == "mirror"
    assert len(d.source["fingerprint"]) == 64
    assert (np.asarray(d.test.y.sum(1)) == 2).all()
    assert documents("debian-depends") is d


def test_without_a_mirror_it_says_what_to_do():
    with pytest.raises(Problem, match=r"no source of 'debian-depends'.*ETUDES_MIRROR"):
        documents("debian-depends")
    with pytest.raises(Problem, match="did you mean 'debian-depends'"):
        documents("debian-depend")
    with pytest.raises(Problem, match="no set of labelled documents 'cifar10'"):
        documents("cifar10")


def test_a_text_of_an_earlier_split_is_left_out():
    found = rows()
    plain = from_rows(SOURCES["topics"], "embedded", found)
    again = next(row for row in found if split_of(row.group) == "train")
    test = next(row.group for row in found if split_of(row.group) == "test")
    other = from_rows(SOURCES["topics"], "embedded", [*found, Row(test, again.text, ("a",))])
    assert len(other.test) == len(plain.test)
    assert "1 left out" in other.source["says"]
    assert other.source["fingerprint"] == plain.source["fingerprint"]
    with pytest.raises(Problem, match="no document in its split 'test'"):
        from_rows(SOURCES["topics"], "embedded", [row for row in found if split_of(row.group) != "test"])


def test_tfidf_is_the_formula_and_knows_the_training_part_alone():
    d = documents("topics")
    x, test = extreme.tfidf(d, d.test)
    used = np.flatnonzero(np.asarray((d.train.x != 0).sum(0)).ravel() >= 2)
    n = len(d.train)
    idf = np.log((1 + n) / (1 + np.asarray((d.train.x[:, used] != 0).sum(0)).ravel())) + 1
    for part, found in ((d.train, x), (d.test, test)):
        counts = part.x[:5, used].toarray()
        wanted = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * idf
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        assert np.allclose(found[:5, :-1].toarray(), wanted, atol=1e-5)
        assert (found[:, -1].toarray() == 1).all()


def test_a_subset_is_of_whole_groups():
    d = documents("topics")
    few = extreme.subset(d, 100, np.random.default_rng(0))
    assert 100 <= len(few.train) < 110
    whole = np.bincount(d.train.group)
    kept = np.bincount(few.train.group, minlength=len(whole))
    assert all(k in (0, w) for k, w in zip(kept, whole, strict=True))
    assert extreme.subset(d, 0, np.random.default_rng(0)) is d
    other = extreme.subset(d, 100, np.random.default_rng(1))
    assert set(other.train.group) != set(few.train.group)


def test_topics_are_always_the_same():
    assert extreme.topics(20) == extreme.topics(20)
    assert all(1 <= len(row.labels) <= 3 for row in extreme.topics(50))


@pytest.mark.parametrize("packed", ["", ".gz", ".xz"])
def test_apts_lists_are_read(tmp_path, packed):
    found = {row.group: row for row in read_lists(write_lists(tmp_path / "lists", packed=packed), "depends")}
    row = found["source0"]
    assert row.labels == ("dpkg", "editor", "libc6", "libfoo1", "zlib1g")
    assert row.text == "short words of package1\nLong words of package1, on\ntwo lines.\n\nAnd a paragraph."
    tags = read_lists(tmp_path / "lists", "debtags")
    assert tags[0].labels == ("implemented-in::c", "role::program", "use::editing")
    assert tags[-1].text == "short words of package39"


def test_apts_lists_make_documents(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_APT_LISTS", str(write_lists(tmp_path / "lists", 60)))
    d = documents("apt-debtags")
    assert len(d.labels) == 3
    assert d.source["dataset"] == "apt-debtags"


def test_rare_labels_are_none(tmp_path):
    assert read_lists(write_lists(tmp_path / "few", 4), "depends") == []
    assert len(read_lists(write_lists(tmp_path / "more", 5), "depends")) == 5


def test_lists_that_are_none_are_told(tmp_path):
    with pytest.raises(Problem, match="holds no package lists"):
        read_lists(tmp_path, "depends")
    with pytest.raises(Problem, match="no kind of labels 'suggests'"):
        read_lists(tmp_path, "suggests")
    (tmp_path / "x_Packages").write_text("Version: 1\n\n")
    with pytest.raises(Problem, match="without a package's name"):
        read_lists(tmp_path, "depends")
    (tmp_path / "x_Packages").unlink()
    (tmp_path / "x_Packages.gz").write_bytes(b"none")
    with pytest.raises(Problem, match="cannot be read"):
        read_lists(tmp_path, "depends")


TEXT = "4 6 3\n0,2 0:0.5 3:1.25\n1 5:2\n 1:1\n2 \n"


def test_the_repositorys_text_is_read(tmp_path):
    path = tmp_path / "toy_train.txt"
    path.write_text(TEXT)
    x, y = read_text(path)
    assert x.toarray().tolist() == [[0.5, 0, 0, 1.25, 0, 0], [0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 0, 0], [0] * 6]
    assert y.toarray().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4 6 3", "5 6 3", "announces 5 documents and holds 4"),
        ("4 6 3", "4 5 3", "announces 5 features and has one numbered 5"),
        ("4 6 3", "4 6 2", "announces 2 labels and has others"),
        ("4 6 3", "four", "line 1 of"),
        ("5:2", "5=2", "line 3 of"),
        ("0,2", "0,x", "line 2 of"),
    ],
)
def test_a_damaged_text_is_told(tmp_path, old, new, words):
    path = tmp_path / "toy_train.txt"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(Problem, match=words):
        read_text(path)


def write_packed(folder: Path, n=40, d=7, labels=12) -> None:
    folder.mkdir(parents=True)
    for seed, split in enumerate(("trn", "tst")):
        for name, width in (("X", d), ("Y", labels)):
            found = sparse.random(n, width, 0.4, format="csr", dtype=np.float32, random_state=seed)
            sparse.save_npz(folder / f"{name}.{split}.npz", found)


def test_packed_files_are_read_from_the_cache(tmp_path, monkeypatch):
    write_packed(tmp_path / "cache" / "extreme" / "eurlex-4k")
    d = documents("eurlex-4k")
    assert (len(d.train), len(d.validation), len(d.test)) == (38, 2, 40)
    assert d.labels[:2] == ("00", "01")
    assert not d.counted
    assert set(d.train.y.data) == {1.0}
    x, _ = extreme.tfidf(d, d.test)
    assert np.allclose(np.linalg.norm(x[:, :-1].toarray(), axis=1)[x[:, :-1].getnnz(1) > 0], 1, atol=1e-5)
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    write_packed(tmp_path / "mirror" / "xmc" / "eurlex-4k", n=60)
    extreme.documents.cache_clear()
    assert documents("eurlex-4k").source["kind"] == "mirror"


def test_text_files_are_read_from_a_folder(tmp_path):
    body = "".join(f"{i % 3} {i % 6}:1\n" for i in range(40))
    for split in ("train", "test"):
        (tmp_path / f"toy_{split}.txt").write_text(f"40 6 3\n{body}")
    d = read_repository(SOURCES["eurlex-4k"], tmp_path, "cache")
    assert (len(d.train), len(d.validation), len(d.test), len(d.labels)) == (38, 2, 40, 3)


def test_packed_files_that_are_none_are_told(tmp_path):
    with pytest.raises(Problem, match=r"eurlex-4k cannot be had: put X\.trn\.npz"):
        documents("eurlex-4k")
    folder = tmp_path / "set"
    write_packed(folder)
    sparse.save_npz(folder / "X.tst.npz", sparse.random(40, 9, 0.4, format="csr"))
    with pytest.raises(Problem, match="unlike numbers of features"):
        read_repository(SOURCES["eurlex-4k"], folder, "cache")
    sparse.save_npz(folder / "X.tst.npz", sparse.random(3, 7, 0.4, format="csr"))
    with pytest.raises(Problem, match="3 and 40 rows"):
        read_repository(SOURCES["eurlex-4k"], folder, "cache")
    (folder / "X.tst.npz").write_bytes(b"none")
    with pytest.raises(Problem, match="does not hold two sparse matrices"):
        read_repository(SOURCES["eurlex-4k"], folder, "cache")
