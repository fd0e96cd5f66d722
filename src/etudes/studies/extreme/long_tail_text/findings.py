"""How good scores of labels are, on the head, the middle and the tail apart."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from etudes.measure.ranking import hits, ndcg_at, precision_at, propensity_precision_at
from etudes.studies.extreme.long_tail_text.methods import Score, propensity
from etudes.studies.extreme.long_tail_text.tasks import Matrix, Split, Task

if TYPE_CHECKING:
    from etudes.studies.extreme.long_tail_text import Config

FIRST = 5  # labels that are predicted for a document that may have many
TOGETHER = 256  # documents that are scored at once


def f1_by_label(predicted: Matrix, truth: Matrix) -> np.ndarray:
    """F1 [labels] = 2 TP / (predicted + true) of matrices of ones [n, labels]; 0 for a label that is in neither."""
    right = np.asarray(predicted.multiply(truth).sum(0)).ravel()
    both = np.asarray(predicted.sum(0)).ravel() + np.asarray(truth.sum(0)).ravel()
    return np.divide(2 * right, both, out=np.zeros(len(both)), where=both > 0)


def first_labels(score: Score, split: Split, count: int, related: bool) -> np.ndarray:
    """The best `count` labels [n, count] of each document; with `related`, those that are its kin are passed over."""
    found = []
    for i in range(0, split.x.shape[0], TOGETHER):
        rows = slice(i, i + TOGETHER)
        scores = score(split.x[rows]).astype(np.float32)
        if related:
            scores[split.related[rows].nonzero()] = -np.inf
        best = np.argpartition(-scores, min(count, scores.shape[1] - 1), 1)[:, :count]
        order = np.argsort(-np.take_along_axis(scores, best, 1), 1, kind="stable")
        found.append(np.take_along_axis(best, order, 1))
    return np.concatenate(found)


def as_matrix(labels: np.ndarray, width: int) -> Matrix:
    """Ones [n, width] at each row's labels [n, k]."""
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    return sparse.csr_matrix((np.ones(labels.size, np.float32), (rows, labels.ravel())), shape=(len(labels), width))


def one_quality(task: Task, split: Split, score: Score) -> dict[str, float]:
    """Accuracy over balanced documents, that of each third of the classes, and under the classes' training shares."""
    best = first_labels(score, split, 1, related=False)
    right = hits(best, split.y)[:, 0]
    label = np.asarray(split.y.argmax(1)).ravel()
    by_class = np.bincount(label, right, len(task.counts)) / np.maximum(
        np.bincount(label, minlength=len(task.counts)), 1
    )
    f1 = f1_by_label(as_matrix(best, len(task.counts)), split.y)
    found = {"accuracy": by_class.mean(), "f1": f1.mean()}
    found["accuracy-as-trained"] = by_class @ task.counts / task.counts.sum()
    for name, members in task.shots.items():
        found |= {f"accuracy-{name}": by_class[members].mean(), f"f1-{name}": f1[members].mean()}
    return {name: float(number) for name, number in found.items()}


def without_kin(split: Split) -> Split:
    """The documents that have a label which is not their kin, with such labels alone."""
    y = split.y - split.y.multiply(split.related)
    y = y.tocsr()
    y.eliminate_zeros()
    rows = np.flatnonzero(np.diff(y.indptr))
    return Split(split.x[rows], y[rows], split.related[rows])


def many_quality(task: Task, split: Split, score: Score, chance: np.ndarray, related: bool = True) -> dict[str, float]:
    """Precision, nDCG and propensity-scored precision of the first labels, and F1 of those by shots."""
    part = without_kin(split) if related else split
    best = first_labels(score, part, FIRST, related)
    found = {f"p{k}": precision_at(best, part.y, k) for k in (1, 3, 5)}
    found |= {f"psp{k}": propensity_precision_at(best, part.y, chance, k) for k in (1, 3, 5)}
    found["ndcg5"] = ndcg_at(best, part.y, 5)
    f1 = f1_by_label(as_matrix(best, len(task.counts)), part.y)
    asked = np.asarray(part.y.sum(0)).ravel() > 0
    right = as_matrix(best, len(task.counts)).multiply(part.y)
    found["f1"] = float(f1[asked].mean())
    for name, members in task.shots.items():
        some = asked & members
        if some.any():
            found[f"f1-{name}"] = float(f1[some].mean())
            found[f"recall5-{name}"] = float(right[:, some].sum() / part.y[:, some].sum())
    return found


def results(cfg: "Config", task: Task, score: Score) -> dict[str, float]:
    """All numbers of a run, beside the trivial baseline: the most frequent labels for every document."""
    splits = {"validation": task.validation, "test": task.test}
    often = np.argsort(-task.counts, kind="stable")
    if cfg.task == "one":
        found = {f"{s}/{k}": n for s, split in splits.items() for k, n in one_quality(task, split, score).items()}
        found |= {
            f"train/{k}": n for k, n in one_quality(task, task.train, score).items() if k != "accuracy-as-trained"
        }
        return found | {"test/accuracy-frequent": float(task.test.y[:, often[0]].mean())}
    chance = propensity(cfg, task)
    found = {f"{s}/{k}": n for s, split in splits.items() for k, n in many_quality(task, split, score, chance).items()}
    whole = many_quality(task, task.test, score, chance, related=False)
    found |= {f"test/{name}-with-kin": whole[name] for name in ("p1", "psp5")}
    part = without_kin(task.test)
    frequent = np.tile(often[:FIRST], (part.x.shape[0], 1))
    found["test/ndcg5-frequent"] = ndcg_at(frequent, part.y, FIRST)
    found["test/kin"] = float(task.test.y.multiply(task.test.related).sum() / task.test.y.sum())
    return found
