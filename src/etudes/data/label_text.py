"""Documents whose labels have texts of their own: products by title, packages by description, tags by their words.

Read are the "LF" sets of the Extreme Classification Repository in their own layout: trn_X_Xf.txt, tst_X_Xf.txt and
lbl_X_Xf.txt (features of documents and of labels), trn_X_Y.txt, tst_X_Y.txt, and filter_labels_train.txt,
filter_labels_test.txt with the pairs "document label" that are the same thing, and that no evaluation counts.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import sparse

from etudes.core.errors import Problem
from etudes.data.extreme import SPLITS, Documents, Part, documents
from etudes.data.sources import SOURCES, Source, cache_folder, read_mirror

TASK = "label-texts"
LAYOUT = ("trn_X_Xf", "tst_X_Xf", "lbl_X_Xf", "trn_X_Y", "tst_X_Y", "filter_labels_train", "filter_labels_test")


@dataclass(frozen=True, eq=False)
class LabelTexts:
    """What labels say of themselves, for some Documents."""

    x: sparse.csr_matrix  # [labels, terms], as the documents' x: counts, or weights that are ready for use
    related: dict[str, sparse.csr_matrix]  # split -> [documents, labels], 1 where the label is the document, or its kin


@lru_cache(maxsize=2)
def documents_with_texts(name: str) -> tuple[Documents, LabelTexts | None]:
    """The documents of a name and their labels' texts (None where labels are bare numbers). Problem as `documents`.

    debian-depends   a label is a package: its name in pieces and its description; kin are packages of one source
    debian-debtags   a label is a tag: its words
    topics           generated labels have half of their own words for a text
    lf-amazontitles-131k   files of the LF layout, in the mirror or the cache
    """
    source = SOURCES.get(name)
    if source is not None and source.task == TASK:
        return read_lf(source, _folder(source))
    d = documents(name)
    if name == "debian-depends":
        about = _packages()
        texts = [f"{pieces(label)} {about.get(label, ('', ''))[1]}" for label in d.labels]
        return d, LabelTexts(count_terms(texts, d.terms), kin(d, {label: of for label, (of, _) in about.items()}))
    if name == "topics":
        texts = [" ".join(f"label{int(a)}x{b}x{i}" for i in range(3)) for a, b in (t[6:].split("::") for t in d.labels)]
        return d, LabelTexts(count_terms(texts, d.terms), kin(d, {}))
    if d.terms:
        return d, LabelTexts(count_terms([pieces(label) for label in d.labels], d.terms), kin(d, {}))
    return d, None


def pieces(name: str) -> str:
    """A name, and the words that it is made of: "libqt5core5a" -> "libqt5core5a qt core"."""
    parts = re.split(r"[\W_]+", name.lower())
    words = [word for part in parts for word in re.split(r"\d+", part.removeprefix("lib")) if len(word) > 1]
    return " ".join(dict.fromkeys(filter(None, [*parts, *words])))


def count_terms(texts: Sequence[str], terms: Sequence[str]) -> sparse.csr_matrix:
    """Counts [texts, terms], float32, of words of two characters and more, in lower case; other words are left out."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(vocabulary=list(terms), dtype=np.float32).transform(texts).tocsr()


def kin(d: Documents, groups: Mapping[str, str]) -> dict[str, sparse.csr_matrix]:
    """{split: [documents, labels]}, 1 where the label's own group, {label: group}, is that of the document."""
    number = {name: i for i, name in enumerate(d.groups)}
    own = np.array([number.get(groups.get(label, ""), -1) for label in d.labels])
    some = np.flatnonzero(own >= 0)
    member = sparse.csr_matrix((np.ones(len(some), np.float32), (own[some], some)), shape=(len(number), len(d.labels)))
    return {split: member[getattr(d, split).group] for split in SPLITS}


def _packages() -> dict[str, tuple[str, str]]:
    """{package: (source package, description)} of all packages that the mirror's tables have."""
    found = {}
    for name in ("debian-debtags", "debian-depends"):
        for table in read_mirror(SOURCES[name]).values():
            if not {"uid", "source", "content"} <= {*table.column_names}:
                raise Problem(f"{SOURCES[name].folder} needs the columns uid, source and content; copy the set again")
            columns = (table[column][:] for column in ("uid", "source", "content"))
            found |= {uid: (of, text) for uid, of, text in zip(*columns, strict=True)}
    return found


# The LF layout


def _folder(source: Source) -> Path:
    root = os.environ.get("ETUDES_MIRROR")
    places = [Path(root) / source.folder] if root else []
    places.append(cache_folder() / "extreme" / source.name)
    for folder in places:
        if all((folder / f"{name}.txt").exists() for name in LAYOUT):
            return folder
    raise Problem(
        f"{source.name} cannot be had: put {', '.join(f'{name}.txt' for name in LAYOUT)} of the Extreme Classification "
        f"Repository (http://manikvarma.org/downloads/XC) into {' or '.join(map(str, places))}, or take debian-depends"
    )


def read_lf(source: Source, folder: Path) -> tuple[Documents, LabelTexts]:
    """The Documents and LabelTexts of a folder in the LF layout. Every twentieth training document is for validation.

    Raises Problem where the files have unlike numbers of documents, features or labels.
    """
    found = {name: read_sparse(folder / f"{name}.txt") for name in LAYOUT[:5]}
    x, test_x, label_x, y, test_y = found.values()
    if len({x.shape[1], test_x.shape[1], label_x.shape[1]}) > 1 or {y.shape[1], test_y.shape[1]} != {label_x.shape[0]}:
        raise Problem(f"the files in {folder} have unlike numbers of features or labels; get the set again")
    if x.shape[0] != y.shape[0] or test_x.shape[0] != test_y.shape[0]:
        raise Problem(f"the files in {folder} have unlike numbers of documents; get the set again")
    y.data[:], test_y.data[:] = 1, 1
    same, test_same = (
        read_pairs(folder / f"{kind}.txt", of.shape) for kind, of in zip(LAYOUT[5:], (y, test_y), strict=True)
    )
    held = np.arange(x.shape[0]) % 20 == 19
    whole = Part(x, y, np.arange(x.shape[0]))
    rows = [np.flatnonzero(~held), np.flatnonzero(held)]
    if not len(rows[1]):
        raise Problem(f"{folder} holds {x.shape[0]} training documents, too few to hold some out; get the set again")
    parts = [*map(whole.take, rows), Part(test_x, test_y, np.arange(x.shape[0], x.shape[0] + test_x.shape[0]))]
    digest = hashlib.sha256()
    for matrix in (*found.values(), same, test_same):
        for values in (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)):
            digest.update(values.tobytes())
    counts = ", ".join(f"{split} {len(part):,}" for split, part in zip(SPLITS, parts, strict=True))
    says = f"{source.folder}: documents {counts}; {y.shape[1]:,} labels; {source.says}"
    told = {"dataset": source.name, "kind": "files", "says": says, "fingerprint": digest.hexdigest()}
    names = tuple(f"{i:0{len(str(y.shape[1] - 1))}}" for i in range(y.shape[1]))
    d = Documents(source.name, *parts, names, counted=False, source=told)
    return d, LabelTexts(label_x, dict(zip(SPLITS, (same[rows[0]], same[rows[1]], test_same), strict=True)))


def read_sparse(path: Path) -> sparse.csr_matrix:
    """A matrix float32 [n, width] of a text file: a line "n width", then a line "column:value ..." for each row."""
    values: list[float] = []
    columns: list[int] = []
    ends = [0]
    try:
        with open(path, encoding="utf-8") as lines:
            n, width = map(int, next(lines).split())
            for line in lines:
                pairs = [pair.split(":") for pair in line.split()]
                columns += [int(column) for column, _ in pairs]
                values += [float(value) for _, value in pairs]
                ends.append(len(columns))
    except (OSError, StopIteration, ValueError) as error:
        raise Problem(f"line {len(ends) + 1} of {path} is not as it should be ({error}); get the file again") from None
    if len(ends) - 1 != n or (columns and not 0 <= min(columns) <= max(columns) < width):
        raise Problem(f"{path} announces {n} rows of {width} columns and holds others; get the file again")
    return sparse.csr_matrix((np.array(values, np.float32), columns, ends), shape=(n, width))


def read_pairs(path: Path, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A matrix [documents, labels] of ones where a text file has a line "document label"; an empty file has none."""
    try:
        pairs = np.array([line.split() for line in path.read_text(encoding="utf-8").splitlines()], np.int64)
    except (OSError, ValueError) as error:
        raise Problem(f"{path} does not hold pairs 'document label' ({error}); get the file again") from None
    pairs = pairs.reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or (pairs >= shape).any()):
        raise Problem(f"{path} has a pair beyond {shape[0]} documents and {shape[1]} labels; get the file again")
    return sparse.csr_matrix((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
