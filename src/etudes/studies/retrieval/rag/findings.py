"""What a run of rag finds: how often the answer was found and given, and what claims read in that.

A run fills a row of COLUMNS a question: those of the first set of questions, then those of the next. Of a set's
questions those with an answer come first.
"""

from collections.abc import Sequence

import numpy as np

from etudes.core import Trial
from etudes.data.questions import Question
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.scores import auroc, balanced_accuracy, contains_answer, exact_match, word_f1
from etudes.train import Rows

DEEP = 10  # the last rank at which a chunk is looked for
ANSWERERS = ("reader", "model")  # the quoted sentence, and the chat model
SCORES = {"accuracy": contains_answer, "f1": word_f1, "exact": exact_match}
COLUMNS = ("rank", "near", "near_without", *(f"{who}_{score}" for who in ANSWERERS for score in SCORES))


def rank(question: Question, chunks: Sequence[Chunk]) -> int:
    """The rank, from 1, of the first chunk in which the whole answer stands where it should; 0 where none has it."""
    for place, c in enumerate(chunks, start=1):
        if c.document == question.passage and c.start <= question.start and question.end <= c.end:
            return place
    return 0


def answer_scores(answerer: str, answer: str, gold: str) -> dict[str, float]:
    """{column: score in [0, 1]} of an answer against the gold one; `answerer` is one of ANSWERERS."""
    return {f"{answerer}_{name}": score(answer, gold) for name, score in SCORES.items()}


def rows_of(sets: Sequence[Sequence[Question]], number: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a set's questions with an answer, and of those without."""
    begin, count = sum(map(len, sets[:number])), sum(bool(q.answer) for q in sets[number])
    return np.arange(begin, begin + count), np.arange(begin + count, begin + len(sets[number]))


def answer_metrics(
    rows: Rows, sets: Sequence[Sequence[Question]], top: int, by_model: Sequence[int] | np.ndarray
) -> dict[str, float]:
    """How often the answer was found and given, on the first set and, as `hand-...`, on the last (or only) one.

    An answer may rest on the `top` best chunks; the chat model answered the questions in the rows `by_model`.
    """
    metrics: dict[str, float] = {}
    for number, head in ((0, "test/"), (len(sets) - 1, "test/hand-")):
        known, _ = rows_of(sets, number)
        ranks = rows["rank"][known]
        for name, k in (*((f"recall-at-{k}", k) for k in (1, 3, DEEP)), ("recall", top)):
            metrics[head + name] = float(np.mean((ranks > 0) & (ranks <= k)))
        within = (ranks > 0) & (ranks <= DEEP)
        metrics[f"{head}reciprocal-rank"] = float(np.mean(within / np.maximum(ranks, 1)))
        for name in SCORES:
            metrics[f"{head}reader-{name}"] = float(rows[f"reader_{name}"][known].mean())
    if len(by_model):
        metrics |= {f"test/model-{name}": float(rows[f"model_{name}"][by_model].mean()) for name in SCORES}
    return metrics


def refusal_metrics(rows: Rows, sets: Sequence[Sequence[Question]], thresholds: Sequence[float]) -> dict[str, float]:
    """How well nearness tells questions with an answer from those without: of the first set the same questions when
    their passage is taken out, of the last set those that were written to have none (0.5, as by chance, without any).

    `thresholds` has one a set: the nearness from which on a question is answered.
    """
    known, _ = rows_of(sets, 0)
    near, without = rows["near"][known], rows["near_without"][known]
    by_hand, unanswerable = (rows["near"][some] for some in rows_of(sets, len(sets) - 1))
    some = len(unanswerable) > 0
    return {
        "test/auroc": auroc(near, without),
        "test/refusal-accuracy": balanced_accuracy(near, without, thresholds[0]),
        "test/hand-auroc": auroc(by_hand, unanswerable) if some else 0.5,
        "test/hand-refusal-accuracy": balanced_accuracy(by_hand, unanswerable, thresholds[-1]) if some else 0.5,
    }


def recall_correlation(trial: Trial) -> float:
    """Spearman's correlation, over the variants that search, of recall and the reader's accuracy; 0 where one of them
    is the same in all.

    Ranks of n variants without ties differ from the same by 12 / (n^3 - n) or more. Half of that is kept from 1, and
    from -1, where Fisher's scale ends.
    """
    from scipy.stats import rankdata

    blind = ("closed-book", "random")
    pairs = [(m["test/recall"], m["test/reader-accuracy"]) for name, m in trial.items() if name not in blind]
    a, b = (rankdata(column) for column in zip(*pairs, strict=True))
    most = 1 - 6 / (len(a) ** 3 - len(a))
    return float(np.clip(np.corrcoef(a, b)[0, 1], -most, most)) if np.ptp(a) and np.ptp(b) else 0.0
