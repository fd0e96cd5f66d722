"""How good answers are, and what a linear classifier reads out of vectors that stay as they are."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from etudes.core import Run
from etudes.core.files import appearing
from etudes.data.sentences import Sentence
from etudes.measure.error import evaluation_mode
from etudes.tools.encoders import Encoder, shorten

TOGETHER = 64  # sentences that are read at once
AGREED = 100  # per cent of a sentence's judges


def class_scores(found: np.ndarray, sentences: Sequence[Sentence], classes: int) -> dict[str, float]:
    """Of classes that were named, int [n]: `error`, the share of wrong ones; `macro-f1`, the mean over classes of
    2 TP / (2 TP + FP + FN), 0 for a class that is neither there nor named; `error-agreed`, the error on the sentences
    on which all judges agreed, and `error-disputed` on the others, each where there are some."""
    labels = np.array([s.label for s in sentences])
    wrong = found != labels
    f1 = []
    for label in range(classes):
        hits = int(((found == label) & (labels == label)).sum())
        f1.append(2 * hits / max(1, int((found == label).sum() + (labels == label).sum())))
    agreed = np.array([s.agreement >= AGREED for s in sentences])
    scores = {"error": float(wrong.mean()), "macro-f1": sum(f1) / classes}
    for name, part in (("agreed", agreed), ("disputed", ~agreed)):
        if part.any():
            scores[f"error-{name}"] = float(wrong[part].mean())
    return scores


def majority(learnt: Sequence[Sentence], asked: Sequence[Sentence]) -> np.ndarray:
    """The commonest class of what was learnt, for each sentence that is asked: [n]."""
    labels = [s.label for s in learnt]
    return np.full(len(asked), max(sorted(set(labels)), key=labels.count))


def spread(sentences: Sequence[Sentence], most: int) -> tuple[Sentence, ...]:
    """So many of the sentences at most, from all over their order; 0: all."""
    if not 0 < most < len(sentences):
        return tuple(sentences)
    return tuple(sentences[i * len(sentences) // most] for i in range(most))


def count_words(learnt: Sequence[str], asked: Sequence[str]) -> tuple[Any, Any]:
    """Sparse features of texts [n, words and pairs of words]: counts, put as 1 + log, times the inverse share of the
    texts learnt from that have them, in unit norm. Only what stands in those is known."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return known.fit_transform(learnt), known.transform(asked)


def standardise(learnt: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both [n, d], each feature less its mean among the learnt, over its deviation there; a constant one is 0."""
    mean, deviation = learnt.mean(0), learnt.std(0)
    scale = np.where(deviation > 0, deviation, np.inf)
    return (learnt - mean) / scale, (asked - mean) / scale


def read_classes(x: Any, labels: Sequence[int], asked: Any, penalty: float) -> np.ndarray:
    """The classes [n] of features `asked` by logistic regression on features x and their labels, which minimises

    sum of -log p(label) + penalty / 2 |w|^2.
    """
    from sklearn.linear_model import LogisticRegression

    return np.asarray(LogisticRegression(C=1 / penalty, max_iter=2000).fit(x, labels).predict(asked))


def read_all(model: nn.Module, encoder: Encoder, texts: Sequence[str], most: int) -> np.ndarray:
    """What the encoder, or a network on it, gives for texts, each shortened to `most` tokens: float32 [n, d]."""
    rows = [shorten(encoder.encode(text), most) for text in texts]
    order = np.argsort([len(row) for row in rows], kind="stable")  # alike in length together: little is padded
    found: list[np.ndarray] = []
    with evaluation_mode(model):
        for begin in range(0, len(rows), TOGETHER):
            found.append(model([rows[i] for i in order[begin : begin + TOGETHER]]).float().cpu().numpy())
    return np.concatenate(found)[np.argsort(order)]


def shared_vectors(
    run: Run, settings: dict[str, Any], make: Callable[[Run], Encoder], texts: Sequence[str], most: int
) -> dict[str, np.ndarray]:
    """{text: vector} by an encoder that stays as it is, computed once for all seeds; `settings` decide which it is."""

    def keep(own: Run) -> None:
        with own.autocast(), torch.no_grad():
            found = read_all(encoder := make(own), encoder, texts, most)
        with appearing(own.path("vectors.safetensors")) as draft:
            save_file({"vectors": found}, str(draft))
        own.result(**{"train/vectors": len(found)})

    made = run.once("vectors", settings | {"tokens": most}, keep, seed=0)
    return dict(zip(texts, load_file(made.folder / "vectors.safetensors")["vectors"], strict=True))
