"""Labels made wrong, rare or few. What draws takes labels int64 [n] and, last, a numpy Generator.

The draws do not depend on how much is asked for. So from the same seed a larger share spoils a superset, and a smaller
budget keeps a subset: what is compared across shares is paired.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from etudes.core.errors import Problem


def symmetric_noise(
    y: torch.Tensor, share: float, classes: int, rng: np.random.Generator, *, others: bool = False
) -> torch.Tensor:
    """The labels [n] with exactly round(share * n) of them replaced by uniformly random ones.

    Two kinds are called symmetric. Over all classes, a random label may hit the true one and stay right: one in
    `classes` does (mixup, arXiv:1710.09412, sec. 3.4). Over the `others` alone, each replaced label is wrong.
    """
    _check(y, share, classes)
    if others and classes < 2:
        raise Problem("with a single class no label can be replaced by another")
    order, drawn = rng.permutation(len(y)), rng.integers(classes - others, size=len(y))
    chosen = torch.from_numpy(order[: round(share * len(y))]).to(y.device)
    labels = torch.from_numpy(drawn).to(y)
    if others:
        labels = (y + 1 + labels) % classes
    noisy = y.clone()
    noisy[chosen] = labels[chosen]
    return noisy


def asymmetric_noise(
    y: torch.Tensor, share: float, mapping: Mapping[int, int], rng: np.random.Generator
) -> torch.Tensor:
    """The labels [n] where, in each class a of `mapping`, exactly round(share * n_a) become mapping[a].

    Asymmetric noise (Patrini et al. 2017, arXiv:1609.03683, sec. 5): classes are mistaken for similar ones. All are
    changed at once, so that a <-> b exchanges labels.
    """
    _check(y, share)
    order = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    noisy = y.clone()
    for old, new in mapping.items():
        rows = order[y[order] == old]
        noisy[rows[: round(share * len(rows))]] = new
    return noisy


ALIKE = {
    "cifar10": {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"},
    "fashion-mnist": {
        "Ankle boot": "Sneaker", "Sneaker": "Sandal", "Pullover": "Shirt", "Coat": "Dress", "Dress": "Coat",
    },
    "mnist": {"7": "1", "2": "7", "3": "8", "5": "6", "6": "5"},
    "mnist-5k": {"7": "1", "2": "7", "3": "8", "5": "6", "6": "5"},
}  # fmt: skip


def lookalikes(dataset: str, names: Sequence[str]) -> dict[int, int]:
    """{class: the class that looks alike}, for half of a set's classes by their names: what `asymmetric_noise` takes.

    Of CIFAR-10 and MNIST as in Patrini et al. 2017, sec. 5; of Fashion-MNIST as in Zhang & Sabuncu 2018,
    arXiv:1805.07836, sec. 4. Sets without such a list have every other class mistaken for the next.
    """
    if dataset in ALIKE:
        return {names.index(a): names.index(b) for a, b in ALIKE[dataset].items()}
    return {c: c + 1 for c in range(0, len(names) - 1, 2)}


def long_tail(y: torch.Tensor, classes: int, ratio: float, rng: np.random.Generator) -> torch.Tensor:
    """The rows, ascending, of a long-tailed subset: n_c = n_max * ratio^(-c / (classes - 1)) of class c, rounded down.

    n_max is the size of the smallest class of y, so that every class has enough; ratio = n_max / n_min
    (Cui et al. 2019, arXiv:1901.05555, sec. 5.1).
    """
    _check(y, 0, classes)
    if ratio < 1:
        raise Problem(f"the ratio of the largest to the smallest class is {ratio}, but must be at least 1")
    most = int(torch.bincount(y, minlength=classes).min())
    # The small addend keeps a power that should be whole, such as 32^(-1/5) = 1/2, from falling just below it.
    sizes = [int(most * ratio ** (-c / max(classes - 1, 1)) + 1e-9) for c in range(classes)]
    if not sizes[-1]:
        raise Problem(f"the smallest class has {most} rows, too few for a ratio of {ratio}; take at most {most}")
    return _first(y, dict(enumerate(sizes)), rng)


def balanced_subset(y: torch.Tensor, per_class: int, rng: np.random.Generator) -> torch.Tensor:
    """The rows, ascending, of `per_class` random examples of each class that y holds."""
    found, counts = y.unique(return_counts=True)
    least = int(counts.min()) if len(y) else 0
    if not 1 <= per_class <= least:
        raise Problem(f"{per_class} labels a class were asked for, but there must be 1 to {least} (the smallest class)")
    return _first(y, dict.fromkeys(found.tolist(), per_class), rng)


def _first(y: torch.Tensor, sizes: Mapping[int, int], rng: np.random.Generator) -> torch.Tensor:
    order = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    rows = [order[y[order] == label][:size] for label, size in sizes.items()]
    return torch.cat(rows).sort().values


def _check(y: torch.Tensor, share: float, classes: int | None = None) -> None:
    if not 0 <= share <= 1:
        raise Problem(f"the share of labels to change is {share}, but must be from 0 to 1")
    if classes is not None and len(y) and (int(y.min()) < 0 or int(y.max()) >= classes):
        raise Problem(f"the labels run from {int(y.min())} to {int(y.max())}, but {classes} classes were announced")
