"""The two tasks: documents of one class each, on a tail made to measure; and documents with all their labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.data.extreme import Documents, Part, subset, tfidf
from etudes.data.label_text import LabelTexts, documents_with_texts
from etudes.data.labels import long_tail

if TYPE_CHECKING:
    from etudes.studies.extreme.long_tail_text import Config

Matrix = sparse.csr_matrix
SHOTS = ("head", "middle", "tail")
ASKED = ("validation", "test")
CANDIDATES = 150  # most frequent labels among which classes are looked for


@dataclass(frozen=True, eq=False)
class Split:
    """Documents x [n, terms] as TF-IDF, their labels y [n, labels], and the pairs that are not counted."""

    x: Matrix
    y: Matrix
    related: Matrix


@dataclass(frozen=True, eq=False)
class Task:
    train: Split
    validation: Split
    test: Split
    names: Matrix | None  # the labels' own texts [labels, terms], as TF-IDF
    counts: np.ndarray  # training documents of each label [labels]
    shots: dict[str, np.ndarray]  # head, middle, tail (and unseen): bool [labels]
    words: Matrix  # the training documents' counts of words
    weigh: Callable[[Matrix], Matrix]  # such counts as TF-IDF
    source: dict[str, str]


def distinct_classes(y: Matrix, group: np.ndarray, count: int) -> np.ndarray:
    """`count` labels [count], ascending, chosen so that many groups of documents have exactly one of them.

    y [n, labels], group [n]; the documents of a group share the weight 1. From the most frequent labels, the one with
    the least weight of documents that have it alone is left out, again and again. Raises Problem where there are fewer.
    """
    weight = 1 / np.bincount(group)[group]
    often = np.argsort(-(weight @ y), kind="stable")[: max(CANDIDATES, count)]
    if len(often) < count:
        raise Problem(f"{count} classes were asked for, and the set has {len(often)} labels; ask for fewer")
    has = y[:, often].tocsr()
    left = np.ones(len(often), np.float32)
    while left.sum() > count:
        sizes = (weight * (has @ left == 1)) @ has
        left[int(np.where(left > 0, sizes, np.inf).argmin())] = 0
    return np.sort(often[left > 0])


def one_of_each_group(
    y: Matrix, group: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [m] with exactly one of the chosen labels, one drawn from each group, and the place of their label [m]."""
    own = y[:, chosen]
    rows = rng.permutation(np.flatnonzero(np.asarray(own.sum(1)).ravel() == 1))
    _, first = np.unique(group[rows], return_index=True)
    rows = rows[np.sort(first)]
    return rows, np.asarray(own[rows].argmax(1)).ravel()


def split_classes(
    label: np.ndarray, cfg: "Config", rank: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """{split: places in `label` [m]}: as many of each class for validation and test, and a long tail to train on.

    `rank` [classes] says which class is the most frequent one, and so on. Raises Problem where a class is too small.
    """
    places: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    ends = np.cumsum([cfg.held_out, cfg.tested, cfg.largest])
    for c in range(cfg.classes):
        mine = rng.permutation(np.flatnonzero(label == c))
        if len(mine) < ends[-1]:
            raise Problem(f"a class has {len(mine)} documents, and {ends[-1]} are needed; lower --largest or --tested")
        for split, part in zip(("validation", "test", "train"), np.split(mine, ends), strict=False):
            places[split].append(part)
    whole = {split: np.concatenate(parts) for split, parts in places.items()}
    ranks = torch.from_numpy(np.argsort(rank)[label[whole["train"]]])
    whole["train"] = whole["train"][long_tail(ranks, cfg.classes, cfg.ratio, rng).numpy()]
    return whole


def single_label(cfg: "Config", run: Run, d: Documents, texts: LabelTexts | None) -> Task:
    """Documents that have exactly one of cfg.classes labels, one a group: nothing is both learnt from and asked about.

    The test and the validation documents are balanced, those of training follow an exponential profile.
    """
    pooled = [getattr(d, split) for split in ("train", "validation", "test")]
    x, y = (sparse.vstack([getattr(p, kind) for p in pooled]).tocsr() for kind in "xy")
    group = np.concatenate([p.group for p in pooled])
    chosen = distinct_classes(y, group, cfg.classes)
    rows, label = one_of_each_group(y, group, chosen, run.rng("documents"))
    rank = run.rng("ranks").permutation(cfg.classes)
    places = split_classes(label, cfg, rank, run.rng("splits"))
    one_hot = sparse.csr_matrix((np.ones(len(rows), np.float32), (np.arange(len(rows)), label)))
    parts = {s: Part(x[rows[where]], one_hot[where], rows[where]) for s, where in places.items()}
    says = (
        f"{d.source['says']}; of these, {len(places['train']):,} with exactly one of {cfg.classes} labels to train on"
    )
    some = replace(d, source=d.source | {"says": says}, **parts)
    thirds = np.array_split(rank, 3)
    shots = {name: np.isin(np.arange(cfg.classes), third) for name, third in zip(SHOTS, thirds, strict=True)}
    return _assemble(some, None if texts is None else texts.x[chosen], {}, shots)


def many_labels(cfg: "Config", run: Run, d: Documents, texts: LabelTexts | None) -> Task:
    """Documents with all their labels: about cfg.documents of training, by group, and at most cfg.questions of each
    other split. Labels are those that any of these documents has."""
    some = subset(d, cfg.documents, run.rng("documents"))
    rows = {split: run.rng(split).permutation(len(getattr(d, split)))[: cfg.questions] for split in ASKED}
    parts = {"train": some.train} | {split: getattr(d, split).take(np.sort(rows[split])) for split in ASKED}
    used = np.flatnonzero(sum(np.asarray(part.y.sum(0)).ravel() for part in parts.values()))
    some = replace(d, **{split: replace(part, y=part.y[:, used]) for split, part in parts.items()})
    counts = np.asarray(some.train.y.sum(0)).ravel()
    tail, head = (counts > 0) & (counts <= cfg.few), counts > cfg.many
    shots = {"head": head, "middle": (counts > cfg.few) & ~head, "tail": tail, "unseen": counts == 0}
    if texts is None:
        return _assemble(some, None, {}, shots)
    related = {split: texts.related[split][np.sort(rows[split])][:, used] for split in ASKED}
    return _assemble(some, texts.x[used], related, shots)


def _assemble(d: Documents, names: Matrix | None, related: dict[str, Matrix], shots: dict[str, np.ndarray]) -> Task:
    def weigh(*counts: Matrix) -> tuple[Matrix, ...]:
        return tfidf(d, *(Part(x, x, np.zeros(0)) for x in counts))

    x, validation, test, *own = weigh(d.validation.x, d.test.x, *([] if names is None else [names]))
    splits = [
        Split(matrix, part.y, related.get(split, sparse.csr_matrix(part.y.shape, dtype=np.float32)))
        for split, matrix, part in (
            ("train", x, d.train),
            ("validation", validation, d.validation),
            ("test", test, d.test),
        )
    ]
    counts = np.asarray(d.train.y.sum(0)).ravel()
    return Task(*splits, own[0] if own else None, counts, shots, d.train.x, lambda c: weigh(c)[1], d.source)


def task_of(cfg: "Config", run: Run) -> Task:
    d, texts = documents_with_texts(cfg.dataset)
    return (single_label if cfg.task == "one" else many_labels)(cfg, run, d, texts)
