"""How good found passages, answers and refusals are."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from etudes.measure import ranking

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normal_form(answer: str) -> str:
    """The answer in lower case without articles, punctuation and spare spaces: SQuAD's normal form (Rajpurkar et al.
    2016, arXiv:1606.05250, sec. 6.1)."""
    letters = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def exact_match(answer: str, gold: str) -> float:
    """1 where the two are the same in their normal form, else 0."""
    return float(normal_form(answer) == normal_form(gold))


def contains_answer(answer: str, gold: str) -> float:
    """1 where the answer holds all words of the gold one in a row, in their normal form, else 0."""
    return float(f" {normal_form(gold)} " in f" {normal_form(answer)} ")


def word_f1(answer: str, gold: str) -> float:
    """The F1 of the answer's words against the gold one's, as counted by SQuAD (sec. 6.1)."""
    a, b = normal_form(answer).split(), normal_form(gold).split()
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else float(a == b)


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The area under the ROC curve: the share of pairs in which the positive scores higher, ties counted half."""
    values = np.array([*positive, *negative], float)[:, None]
    return float(ranking.auroc(values, np.arange(len(values)) < len(positive))[0])


def balanced_accuracy(positive: Sequence[float], negative: Sequence[float], threshold: float) -> float:
    """The mean of the shares of positives at or above the threshold and of negatives below it."""
    return float((np.mean(np.asarray(positive) >= threshold) + np.mean(np.asarray(negative) < threshold)) / 2)


def best_threshold(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The score at which `balanced_accuracy` is largest; of several the smallest."""
    scores = sorted({*map(float, positive), *map(float, negative)})
    return max(scores, key=lambda score: (balanced_accuracy(positive, negative, score), -score))
