"""The peer that networks must beat: logistic regression on the 1-, 2- and 3-grams of a name."""

from collections.abc import Sequence

import numpy as np

from etudes.data.names import Row
from etudes.studies.language.names.findings import labels
from etudes.studies.language.names.reader import spell


class Trigrams:
    """scikit-learn's logistic regression on whether a name has an n-gram, n = 1 to 3, with marks where it begins and
    ends. `c` is the inverse of the penalty; `balanced` weighs all languages alike."""

    def __init__(self, rows: Sequence[Row], languages: Sequence[str], c: float, balanced: bool = False) -> None:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        self._grams = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, binary=True)
        x = self._grams.fit_transform(_marked(rows))
        weights = "balanced" if balanced else None
        self._model = LogisticRegression(C=c, max_iter=100, tol=1e-3, class_weight=weights)
        self._model.fit(x, labels(rows, languages))

    @property
    def parameters(self) -> int:
        return int(self._model.coef_.size + self._model.intercept_.size)

    def guesses(self, rows: Sequence[Row]) -> np.ndarray:
        """The most probable language int64 [n] of each row's name."""
        return np.asarray(self._model.predict(self._grams.transform(_marked(rows))))


def _marked(rows: Sequence[Row]) -> list[str]:
    return [f"^{spell(name)}$" for name, _ in rows]
