"""What is measured: how well odds rank the rows, and how often answers that were written are right."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from safetensors.numpy import load_file, save_file

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.core.files import appearing
from etudes.data.tables import ANSWERS, Rows, Table
from etudes.retrieval.embedders import embedder
from etudes.studies.adapt.finetune_tabular.writing import Writer

OUTSIDE = -1  # what an answer counts that is not in the set
Scorer = Callable[[Rows], np.ndarray]  # log odds of yes of each row


def read_answers(written: Sequence[str]) -> np.ndarray:
    """The number of each answer, letter by letter but for case and spaces around it; else OUTSIDE.

    >>> read_answers(["yes", " No", "yesterday", ""]).tolist()
    [1, 0, -1, -1]
    """
    places = {answer: i for i, answer in enumerate(ANSWERS)}
    return np.array([places.get(text.strip().lower(), OUTSIDE) for text in written])


def answer_scores(found: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`error`, the share of wrong answers; `balanced-accuracy`, the mean over no and yes of the share that is found of
    each; `outside`, the share of answers that are neither, which are wrong. Raises Problem without both labels."""
    return {
        "error": float(np.mean(found != labels)),
        "balanced-accuracy": float(np.mean([np.mean(found[labels == i] == i) for i in _both(labels)])),
        "outside": float(np.mean(found == OUTSIDE)),
    }


def rank_scores(odds: np.ndarray, labels: np.ndarray, cut: float) -> dict[str, float]:
    """`auc`, the chance that a yes has higher odds than a no, ties counting half; and the `balanced-accuracy-cut` of
    saying yes above the cut. Raises Problem without both labels, and on odds that are no numbers."""
    from sklearn.metrics import roc_auc_score

    _both(labels)
    if not np.isfinite(odds).all():
        raise Problem("the odds of some rows are no numbers; lower the learning rate")
    cut_scores = answer_scores((odds > cut).astype(int), labels)
    return {"auc": float(roc_auc_score(labels, odds)), "balanced-accuracy-cut": cut_scores["balanced-accuracy"]}


def _both(labels: np.ndarray) -> tuple[int, int]:
    if set(np.unique(labels)) != {0, 1}:
        raise Problem("a part of the table has but one answer, so that nothing can be ranked; take more of its rows")
    return 0, 1


def share_cut(odds: np.ndarray, share: float) -> float:
    """The odds above which this share of the rows lies."""
    return float(np.quantile(odds, 1 - share))


def features(table: Table, part: Rows) -> np.ndarray:
    """A row a person, float64 [n, columns]: numbers as they are, words by their place in the training rows' alphabet;
    a word that is not there is nan."""
    columns = []
    for i, numeric in enumerate(table.numeric):
        known = {} if numeric else {w: k for k, w in enumerate(sorted({row[i] for row in table.train.values}))}
        columns.append([float(row[i]) if numeric else known.get(row[i], np.nan) for row in part.values])
    return np.array(columns, float).T


def boosted_trees(table: Table, learnt: Rows, rate: float, trees: int, leaves: int, seed: int) -> Scorer:
    """Gradient boosting on the rows' values themselves; each leaf holds 5 rows at least."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    words = [not numeric for numeric in table.numeric]
    model = HistGradientBoostingClassifier(
        learning_rate=rate, max_iter=trees, max_leaf_nodes=leaves, min_samples_leaf=5, early_stopping=False,
        categorical_features=words, random_state=seed,
    )  # fmt: skip
    model.fit(features(table, learnt), learnt.labels)
    return lambda part: model.decision_function(features(table, part))


def logistic(table: Table, learnt: Rows) -> Scorer:
    """Logistic regression on standardised numbers and on a 0 or 1 for each word of a column."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [i for i, numeric in enumerate(table.numeric) if numeric]
    words = [i for i, numeric in enumerate(table.numeric) if not numeric]
    known = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(
        ColumnTransformer([("numbers", StandardScaler(), numbers), ("words", known, words)]),
        LogisticRegression(max_iter=1000),
    )
    model.fit(features(table, learnt), learnt.labels)
    return lambda part: model.decision_function(features(table, part))


def shared_vectors(run: Run, name: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """{text: vector [width]} by an embedder of that name, computed once for all seeds."""
    different = sorted(set(texts), key=lambda text: (len(text), text))

    def keep(own: Run) -> None:
        found = embedder(name).encode(different)
        with appearing(own.path("vectors.safetensors")) as draft:
            save_file({"vectors": found}, str(draft))
        own.result(**{"train/texts": len(found)})

    content = hashlib.sha256("\n".join(different).encode()).hexdigest()
    made = run.once("vectors", {"embedder": name, "texts": content}, keep, seed=0)
    return dict(zip(different, load_file(made.folder / "vectors.safetensors")["vectors"], strict=True))


def vector_reader(run: Run, learnt: Rows, asked: Sequence[Rows], how: Writer, name: str, penalty: float) -> Scorer:
    """Logistic regression on the vectors that an embedder makes of rows as texts, with half of the penalty on the
    squares of its weights; for the rows that are asked, and no others. The embedder stays as it is."""
    from sklearn.linear_model import LogisticRegression

    vectors = shared_vectors(run, name, [how.write(row) for part in asked for row in part.values])
    x = embedder(name).encode([how.write(row) for row in learnt.values])
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(x, learnt.labels)
    return lambda part: model.decision_function(np.stack([vectors[how.write(row)] for row in part.values]))
