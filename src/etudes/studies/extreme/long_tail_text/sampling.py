"""More examples of rare classes, or fewer of frequent ones. Made of training documents alone, after the split."""

import numpy as np
from scipy import sparse

Matrix = sparse.csr_matrix


def drawing_probabilities(label: np.ndarray, counts: np.ndarray, power: float) -> np.ndarray:
    """The chance [n] of each document to be drawn, so that a class of n_c comes with a chance that goes by n_c^(1 - p).

    p = 0 draws documents alike, p = 1 classes alike (Kang et al. 2019, arXiv:1910.09217, eq. 1).
    """
    chance = counts[label] ** -float(power)
    return chance / chance.sum()


def undersample(label: np.ndarray, counts: np.ndarray, power: float, rng: np.random.Generator) -> np.ndarray:
    """Rows, ascending, of which no class has more than n_max^(1 - p) n_min^p: p = 1 leaves all as the rarest."""
    cap = round(counts.max() ** (1 - power) * counts.min() ** power)
    order = rng.permutation(len(label))
    return np.sort(np.concatenate([order[label[order] == c][:cap] for c in range(len(counts))]))


def missing(counts: np.ndarray, power: float) -> np.ndarray:
    """How many documents each class [classes] lacks to have n_max^p n_c^(1 - p), rounded: p = 1 makes all alike."""
    return np.round(counts.max() ** power * counts ** (1 - power)).astype(int) - counts.astype(int)


def mix(words: Matrix, label: np.ndarray, lacks: np.ndarray, rng: np.random.Generator) -> tuple[Matrix, np.ndarray]:
    """Made-up documents of counted words and their classes: each word of two documents of the class is kept with a
    chance of a half. A class with one document alone mixes it with itself."""
    made, classes = [], np.repeat(np.arange(len(lacks)), lacks)
    for c in classes:
        pair = rng.choice(np.flatnonzero(label == c), 2, replace=True)
        both = words[pair].tocoo()
        kept = rng.binomial(both.data.astype(int), 0.5).astype(np.float32)
        made.append(sparse.csr_matrix((kept, (np.zeros(len(kept), int), both.col)), shape=(1, words.shape[1])))
    if not made:
        return words[:0], classes
    whole = sparse.vstack(made).tocsr()
    whole.eliminate_zeros()
    return whole, classes


def smote(
    x: Matrix, label: np.ndarray, lacks: np.ndarray, rng: np.random.Generator, neighbours: int = 5
) -> tuple[Matrix, np.ndarray]:
    """Made-up vectors and their classes: x_i + u (x_j - x_i), u uniform, x_j one of the nearest of the class.

    Chawla et al. 2002, arXiv:1106.1813, sec. 4.2. A class with fewer neighbours takes those that it has.
    """
    made = [x[:0]]
    for c in np.flatnonzero(lacks):
        own = x[np.flatnonzero(label == c)]
        distance = -(own @ own.T).toarray()  # rows are of one length, so the nearest has the largest inner product
        np.fill_diagonal(distance, np.inf)
        nearest = np.argsort(distance, 1, kind="stable")[:, : max(1, min(neighbours, own.shape[0] - 1))]
        first = rng.integers(own.shape[0], size=lacks[c])
        second = nearest[first, rng.integers(nearest.shape[1], size=lacks[c])]
        share = sparse.diags(rng.random(lacks[c]).astype(np.float32))
        made.append(own[first] + share @ (own[second] - own[first]))
    return sparse.vstack(made).tocsr(), np.repeat(np.arange(len(lacks)), lacks)
