"""Documents with many labels out of thousands, split so that no group of them is both learnt from and asked about.

The usual formats of extreme classification are read too: the text files of the Extreme Classification Repository
("documents features labels", then a line "l1,l2 feature:value ..." a document) and PECOS's X.trn.npz, Y.trn.npz.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, Source, cache_folder, mirror_folder, read_mirror, unreachable

SPLITS = ("train", "validation", "test")
TASK = "labels"
LISTS = Path("/var/lib/apt/lists")
USES = {"depends": (5, 3000), "debtags": (5, 10**9)}  # of a label in Debian's lists, or it is left out
REPOSITORY = ("eurlex-4k", "amazon-670k")


@dataclass(frozen=True, eq=False)
class Part:
    """Documents: x float32 [n, terms], y float32 [n, labels] of ones, and the number of each one's group [n]."""

    x: sparse.csr_matrix
    y: sparse.csr_matrix
    group: np.ndarray

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, rows: np.ndarray) -> "Part":
        return Part(self.x[rows], self.y[rows], self.group[rows])


@dataclass(frozen=True, eq=False)
class Documents:
    """A set of labelled documents. `x` are counts of terms where `counted`, else weights that are ready for use."""

    name: str
    train: Part
    validation: Part
    test: Part
    labels: tuple[str, ...]
    counted: bool
    source: dict[str, str]  # dataset, kind, says, fingerprint (sha256 of all texts, or values, and labels)
    terms: tuple[str, ...] = ()  # of the columns of x, where texts were counted
    groups: tuple[str, ...] = ()  # names of the groups by their numbers, where they have names


@dataclass(frozen=True)
class Row:
    """A document as it is read."""

    group: str
    text: str
    labels: tuple[str, ...]


@lru_cache(maxsize=2)
def documents(name: str) -> Documents:
    """The documents of a declared name. Raises Problem for another name, and where they cannot be had or are damaged.

    debian-depends, debian-debtags   descriptions of Debian's packages, from the mirror; split by source package
    apt-depends, apt-debtags         the same from this machine's package lists, or those in $ETUDES_APT_LISTS
    eurlex-4k, amazon-670k           files of the usual formats, in the mirror or the cache
    topics                           generated: see `topics`
    """
    source = SOURCES.get(name)
    if source is None or source.task != TASK:
        raise unknown("set of labelled documents", name, [s.name for s in SOURCES.values() if s.task == TASK])
    if name == "topics":
        return from_rows(source, "embedded", topics())
    if name in REPOSITORY:
        kind, folder = _repository_folder(source)
        return read_repository(source, folder, kind)
    if name.startswith("apt-"):
        folder = Path(os.environ.get("ETUDES_APT_LISTS", LISTS))
        return from_rows(source, "embedded", read_lists(folder, name.removeprefix("apt-")))
    if not mirror_folder(source):
        raise unreachable(source, {})
    return from_rows(source, "mirror", _mirrored(source))


def tfidf(d: Documents, *others: Part) -> tuple[sparse.csr_matrix, ...]:
    """TF-IDF of d.train and of the other parts, rows of length 1, float32, with a last column of ones as a bias.

    Term frequencies are 1 + log(count); the inverse document frequencies, and which terms there are (those in two
    training documents or more), are of d.train alone. Ready weights are only brought to length 1.
    """
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize

    used = np.flatnonzero(np.asarray((d.train.x != 0).sum(0)).ravel() >= 2)
    if not len(used):
        raise Problem(f"{d.name}: no term stands in two training documents; take more of them")
    found = [part.x[:, used] for part in (d.train, *others)]
    if d.counted:
        weights = TfidfTransformer(sublinear_tf=True).fit(found[0])
        found = [weights.transform(x) for x in found]
    ones = [sparse.csr_matrix(np.ones((x.shape[0], 1), np.float32)) for x in found]
    return tuple(
        sparse.hstack([normalize(x), one], format="csr", dtype=np.float32) for x, one in zip(found, ones, strict=True)
    )


def subset(d: Documents, count: int, rng: np.random.Generator) -> Documents:
    """The set with whole groups, drawn by chance, of about `count` training documents (0: all)."""
    if not count or count >= len(d.train):
        return d
    order = rng.permutation(int(d.train.group.max()) + 1)
    sizes = np.bincount(d.train.group, minlength=len(order))[order]
    chosen = order[: int(np.searchsorted(sizes.cumsum(), count)) + 1]
    return replace(d, train=d.train.take(np.flatnonzero(np.isin(d.train.group, chosen))))


# Texts, split by their groups


def split_of(group: str) -> str:
    """Where a group's documents belong: by the MD5 of its name, a tenth each to test and to validation."""
    digit = int(hashlib.md5(group.encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return {0: "test", 1: "validation"}.get(digit, "train")


def from_rows(source: Source, kind: str, found: Iterable[Row]) -> Documents:
    """The Documents of rows of text: words of two characters and more, in lower case, counted.

    A text that stands in an earlier split, under another group, is left out of the later one.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in found:
        rows[split_of(row.group)].append(row)
    met: set[str] = set()
    total = sum(map(len, rows.values()))
    for split in SPLITS:
        rows[split] = [row for row in rows[split] if row.text not in met]
        met |= {row.text for row in rows[split]}
        if not rows[split]:
            raise Problem(f"{source.name} has no document in its split '{split}'; get the whole set")
    whole = [row for split in SPLITS for row in rows[split]]
    names = sorted({label for row in whole for label in row.labels})
    counter = CountVectorizer(dtype=np.float32)
    counts = counter.fit_transform([row.text for row in whole]).tocsr()
    y = _matrix([row.labels for row in whole], {name: i for i, name in enumerate(names)})
    groups, group = np.unique([row.group for row in whole], return_inverse=True)
    digest = hashlib.sha256()
    for row in whole:
        digest.update("\0".join([row.group, row.text, *row.labels, ""]).encode())
    ends = np.cumsum([0, *(len(rows[split]) for split in SPLITS)])
    parts = [Part(counts, y, group).take(np.arange(begin, end)) for begin, end in pairwise(ends)]
    more = f"{total - len(whole):,} left out whose text stands in an earlier split"
    d = _assemble(source, kind, parts, tuple(names), True, digest.hexdigest(), more)
    return replace(d, terms=tuple(counter.get_feature_names_out().tolist()), groups=tuple(groups.tolist()))


def _matrix(found: Sequence[Sequence[str]], places: Mapping[str, int]) -> sparse.csr_matrix:
    indices = [places[label] for labels in found for label in dict.fromkeys(labels)]
    indptr = np.cumsum([0, *(len(set(labels)) for labels in found)])
    y = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(found), len(places)))
    y.sort_indices()
    return y


def _assemble(
    source: Source, kind: str, parts: Sequence[Part], names: tuple[str, ...], counted: bool, digest: str, more: str
) -> Documents:
    counts = ", ".join(f"{split} {len(part):,}" for split, part in zip(SPLITS, parts, strict=True))
    says = f"{source.folder}: documents {counts}; {len(names):,} labels; {'; '.join(filter(None, (source.says, more)))}"
    told = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": digest}
    return Documents(source.name, *parts, names, counted, told)


def _mirrored(source: Source) -> Iterator[Row]:
    tables = read_mirror(source)
    for split in tables:
        if not {"source", "content", "labels"} <= {*tables[split].column_names}:
            raise Problem(f"{mirror_folder(source)} needs the columns source, content and labels; copy the set again")
        columns = (tables[split][name][:] for name in ("source", "content", "labels"))
        yield from (Row(group, text, tuple(labels)) for group, text, labels in zip(*columns, strict=True))


# Debian's package lists


def read_lists(folder: Path, kind: str) -> list[Row]:
    """The documents of apt's lists in `folder`: a package's description with what it depends on, or with its debtags.

    Of *_Packages come the fields, of *_Translation-en the long descriptions. Versions, architectures and all but the
    first of alternatives are left out of Depends and Pre-Depends; a label with fewer or more uses than USES is none.
    """
    if kind not in USES:
        raise unknown("kind of labels", kind, USES)
    packages = [entry for path in _lists(folder, "_Packages") for entry in stanzas(_plain(path))]
    if not packages:
        raise Problem(f"{folder} holds no package lists (*_Packages); run apt-get update, or name another folder")
    long = {}
    for path in _lists(folder, "_Translation-en"):
        for entry in stanzas(_plain(path)):
            long[entry.get("Package"), entry.get("Description-md5")] = entry.get("Description-en", "")
    rows = {}
    for entry in packages:
        if "Package" not in entry:
            raise Problem(f"a list in {folder} has an entry without a package's name; run apt-get update again")
        text = long.get((entry["Package"], entry.get("Description-md5"))) or entry.get("Description", "")
        group = entry.get("Source", entry["Package"]).split(" ")[0]
        if text and (found := _labels(entry, kind)):
            rows[entry["Package"]] = Row(group, text, found)
    uses = Counter(label for row in rows.values() for label in row.labels)
    low, high = USES[kind]
    kept = (
        replace(row, labels=tuple(name for name in row.labels if low <= uses[name] <= high)) for row in rows.values()
    )
    return [row for row in kept if row.labels]


def _labels(entry: Mapping[str, str], kind: str) -> tuple[str, ...]:
    if kind == "debtags":
        found = re.split(r",\s*", entry.get("Tag", ""))
    else:
        wanted = ", ".join(filter(None, (entry.get("Depends"), entry.get("Pre-Depends"))))
        found = [re.split(r"[\s(:|]", one.strip(), maxsplit=1)[0] for one in wanted.split(",")]
    return tuple(sorted({one.strip() for one in found} - {""}))


def stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The entries of a control file, deb822(5): "Field: value" lines, continued by lines that begin with a space, until
    a blank line. A continuation loses its first space, and a dot alone stands for a blank line."""
    entry: dict[str, str] = {}
    name = ""
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if entry:
                yield entry
            entry, name = {}, ""
        elif line[0] in " \t":
            entry[name] = entry.get(name, "") + "\n" + ("" if line[1:] == "." else line[1:])
        else:
            name, _, value = line.partition(":")
            entry[name] = value.strip()
    if entry:
        yield entry


def _lists(folder: Path, ending: str) -> list[Path]:
    return sorted(p for p in folder.glob(f"*{ending}*") if p.name.endswith((ending, ".gz", ".xz", ".lz4")))


def _plain(path: Path) -> list[str]:
    helper = shutil.which("apt-helper") or "/usr/lib/apt/apt-helper"
    try:
        if path.suffix == ".lz4":
            done = subprocess.run([helper, "cat-file", str(path)], capture_output=True, check=True)
            return done.stdout.decode().splitlines()
        read = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
        return read(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, ValueError, lzma.LZMAError, subprocess.CalledProcessError) as error:
        raise Problem(f"{path} cannot be read ({error}); run apt-get update again") from None


# The usual formats


def _repository_folder(source: Source) -> tuple[str, Path]:
    root = os.environ.get("ETUDES_MIRROR")
    places = {"mirror": Path(root) / source.folder} if root else {}
    places["cache"] = cache_folder() / "extreme" / source.name
    for kind, folder in places.items():
        if _files(folder):
            return kind, folder
    raise Problem(
        f"{source.name} cannot be had: put X.trn.npz, Y.trn.npz, X.tst.npz and Y.tst.npz of PECOS's xmc-base, or the "
        "*train.txt and *test.txt of the Extreme Classification Repository (http://manikvarma.org/downloads/XC), into "
        f"{' or '.join(map(str, places.values()))}, or take debian-depends"
    )


def _files(folder: Path) -> dict[str, list[Path]]:
    """{"train": [X, Y] or [a text], "test": the same}; {} where the folder has neither format whole."""
    packed = {s: [folder / f"{kind}.{short}.npz" for kind in "XY"] for s, short in (("train", "trn"), ("test", "tst"))}
    if all(path.exists() for paths in packed.values() for path in paths):
        return packed
    plain = {split: sorted(folder.glob(f"*{split}.txt"))[:1] for split in ("train", "test")}
    return plain if all(plain.values()) else {}


def read_repository(source: Source, folder: Path, kind: str) -> Documents:
    """The Documents of a folder in one of the usual formats. Every twentieth training document is for validation.

    Raises Problem where the two splits have unlike numbers of features or labels, or a file is not what it should be.
    """
    files = _files(folder)
    (x, y), (test_x, test_y) = (read_packed(*p) if len(p) == 2 else read_text(*p) for p in files.values())
    if x.shape[1] != test_x.shape[1] or y.shape[1] != test_y.shape[1]:
        raise Problem(f"the two splits in {folder} have unlike numbers of features or labels; get the set again")
    digest = hashlib.sha256()
    for matrix in (x, y, test_x, test_y):
        for values in (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)):
            digest.update(values.tobytes())
    names = tuple(f"{i:0{len(str(y.shape[1] - 1))}}" for i in range(y.shape[1]))
    held = np.arange(x.shape[0]) % 20 == 19
    whole = Part(x, y, np.arange(x.shape[0]))
    parts = [whole.take(np.flatnonzero(~held)), whole.take(np.flatnonzero(held))]
    if not len(parts[1]):
        raise Problem(f"{folder} holds {x.shape[0]} training documents, too few to hold some out; get the set again")
    parts.append(Part(test_x, test_y, np.arange(x.shape[0], x.shape[0] + test_x.shape[0])))
    more = "labels are numbers: their order by name is that of the files"
    return _assemble(source, kind, parts, names, False, digest.hexdigest(), more)


def read_packed(x: Path, y: Path) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Documents [n, d] and labels [n, labels] of two files of scipy.sparse.save_npz, as PECOS keeps them."""
    try:
        found = [sparse.load_npz(path).tocsr().astype(np.float32) for path in (x, y)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Problem(
            f"{x.parent} does not hold two sparse matrices {x.name}, {y.name} ({error}); get them again"
        ) from None
    if found[0].shape[0] != found[1].shape[0]:
        raise Problem(f"{x} and {y} have {found[0].shape[0]} and {found[1].shape[0]} rows; get them again")
    found[1].data[:] = 1
    return found[0], found[1]


def read_text(path: Path) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Documents [n, d] and labels [n, labels] of a text file of the Extreme Classification Repository."""
    true: list[tuple[int, ...]] = []
    values, columns, ends = [], [], []
    try:
        with open(path, encoding="utf-8") as lines:
            n, width, labels = map(int, next(lines).split())
            ends.append(0)
            for line in lines:
                marks, _, features = line.rstrip("\n").partition(" ")
                pairs = [pair.split(":") for pair in features.split()]
                true.append(tuple(map(int, filter(None, marks.split(",")))))
                columns += [int(place) for place, _ in pairs]
                values += [float(value) for _, value in pairs]
                ends.append(len(columns))
    except (OSError, StopIteration, ValueError) as error:
        raise Problem(f"line {len(ends) + 1} of {path} is not as it should be ({error}); get the file again") from None
    if len(true) != n:
        raise Problem(f"{path} announces {n} documents and holds {len(true)}; get the file again")
    if columns and not 0 <= min(columns) <= max(columns) < width:
        raise Problem(f"{path} announces {width} features and has one numbered {max(columns)}; get the file again")
    if any(not 0 <= label < labels for some in true for label in some):
        raise Problem(f"{path} announces {labels} labels and has others; get the file again")
    x = sparse.csr_matrix((np.array(values, np.float32), columns, ends), shape=(n, width))
    places = np.repeat(np.arange(n), [len(some) for some in true])
    flat = np.array([label for some in true for label in some], np.int64)
    y = sparse.csr_matrix((np.ones(len(flat), np.float32), (places, flat)), shape=(n, labels))
    y.data[:] = 1
    return x, y


# Generated


def topics(groups: int = 300, count: int = 12, each: int = 8) -> list[Row]:
    """Generated documents, two a group: `count` topics of `each` labels, popular by Zipf's law, the same at each call.

    A group has one topic and its own one to three labels, one in ten of which is of any topic; a document has 40 words:
    of ten, six of its labels' words, two of its topic's, two of all. It asks of a classifier no more than to see that.
    """
    rng = np.random.default_rng(20221014)
    popular = 1 / np.arange(1, each + 1)
    rows = []
    for group in range(groups):
        topic = int(rng.integers(count))
        chosen = set()
        for _ in range(int(rng.integers(1, 4))):
            of = int(rng.integers(count)) if rng.random() < 0.1 else topic
            chosen.add((of, int(rng.choice(each, p=popular / popular.sum()))))
        found = sorted(chosen)
        for _ in range(2):
            words = []
            for kind in rng.random(40):
                of, label = found[int(rng.integers(len(found)))]
                own, shared, common = rng.integers(6), rng.integers(10), rng.integers(100)
                name = f"label{of}x{label}x{own}" if kind < 0.6 else f"topic{topic}x{shared}"
                words.append(name if kind < 0.8 else f"common{common}")
            rows.append(Row(f"group-{group}", " ".join(words), tuple(f"topic-{of:02}::{label}" for of, label in found)))
    return rows
