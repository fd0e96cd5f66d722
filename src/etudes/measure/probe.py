"""What linear probes and nearest neighbours find in features; and how well answers tell what was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.measure.ranking import auroc


@dataclass(frozen=True)
class Probe:
    """A linear detector of one kind of rows by their features; above 0 it says that a row is of the kind."""

    mean: Tensor  # [d] of the features that it was fitted to
    std: Tensor  # [d]
    weights: Tensor  # [d + 1], the last for a constant

    def scores(self, x: Tensor) -> Tensor:
        """float64 [n], of features [n, d]."""
        return _with_constant((x.double() - self.mean) / self.std) @ self.weights


def fit_probe(x: Tensor, kind: Tensor, penalty: float = 0.1) -> Probe:
    """The probe of features x: [n, d] that minimises, over standardised features, with kind bool [n] as t = 1 or -1,

        1/2 mean over the kind of (w x + b - t)^2 + 1/2 mean over the others of the same + penalty |w|^2.

    So both kinds weigh the same, however few rows one has (ridge regression, solved exactly in float64; Alain and
    Bengio 2017, arXiv:1610.01644, probe features by logistic regression). A feature that never changes counts nothing.
    Raises Problem where a kind has no row, features are not finite or the penalty is not above 0.
    """
    if x.ndim != 2 or kind.shape != x.shape[:1]:
        raise Problem(f"a probe needs features [n, d] and a kind [n], not {[*x.shape]} and {[*kind.shape]}")
    if not kind.any() or kind.all():
        raise Problem("a probe needs rows of the kind and rows that are not; give both")
    if not torch.isfinite(x).all():
        raise Problem("a probe needs finite features; the network has diverged")
    if penalty <= 0:
        raise Problem(f"a probe's penalty is {penalty:g}; it must be above 0")
    x = x.detach().double()
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    rows = _with_constant((x - mean) / std)
    ones = kind.double()
    share = ones / (2 * ones.sum()) + (1 - ones) / (2 * (1 - ones).sum())
    ridge = penalty * torch.eye(rows.shape[1], dtype=torch.float64, device=x.device)
    ridge[-1, -1] = 0
    target = 2 * ones - 1
    weighed = rows * share[:, None]
    return Probe(mean, std, torch.linalg.solve(weighed.T @ rows + ridge, weighed.T @ target))


def linear_classes(x: Tensor, y: Tensor, asked: Tensor, penalty: float = 0.1) -> Tensor:
    """The class int64 [m] of each row asked: [m, d] by the highest score of linear probes, one for each class of
    y: int64 [n], fitted to features x: [n, d]. Raises Problem where y has one class alone, and as `fit_probe`."""
    classes = y.unique()
    scores = torch.stack([fit_probe(x, y == c, penalty).scores(asked) for c in classes], 1)
    return classes[scores.argmax(1)]


def neighbour_classes(x: Tensor, y: Tensor, asked: Tensor, k: int = 20, temperature: float = 0.07) -> Tensor:
    """The class int64 [m] of each row asked: [m, d] by a vote of its k nearest of x: [n, d], of classes y: int64 [n].

    Near is by the cosine s of two rows, and a vote weighs exp(s / temperature) (Wu et al. 2018, arXiv:1805.01978,
    sec. 3.4, which has 0.07). At equal votes the smallest class wins. Raises Problem where there are fewer than k
    rows, or the temperature is not above 0.
    """
    if not 1 <= k <= len(x):
        raise Problem(f"{k} neighbours were asked for, but there must be 1 to {len(x)} (the rows that have a class)")
    if not temperature > 0:
        raise Problem(f"the temperature of the vote is {temperature}, but must be above 0")
    known = functional.normalize(x.detach().float(), dim=1)
    found = []
    for some in functional.normalize(asked.detach().float(), dim=1).split(1000):
        likeness, rows = (some @ known.T).topk(k, 1)
        weight = ((likeness - 1) / temperature).exp()  # a cosine is at most 1, so no power overflows
        found.append(weight.new_zeros(len(some), int(y.max()) + 1).scatter_add_(1, y[rows], weight).argmax(1))
    return torch.cat(found)


def balanced_accuracy(says: Tensor, kind: Tensor) -> float:
    """The mean of two shares: of the kind, bool [n], that is said to be of it, and of the others that are not; 0.5 is
    what saying always the same has. Raises Problem where there is none of either."""
    if not kind.any() or kind.all():
        raise Problem("a balanced accuracy needs rows of the kind and rows that are not; give both")
    return (says[kind].double().mean() + (~says[~kind]).double().mean()).item() / 2


def membership(members: Tensor, others: Tensor) -> float:
    """The area under the ROC curve of a number, such as minus the loss, as a sign that an example was trained on.

    members: [n] of examples that were, others: [m] of examples that were not. A network that cannot have seen any of
    them is not at 0.5 exactly, as the two sets differ by chance: compare with such a network, not with 0.5 (Shokri et
    al. 2017, arXiv:1610.05820, and Yeom et al. 2018, arXiv:1709.01604, by a threshold on the loss).
    """
    both = torch.cat([members, others]).detach().double().cpu()
    mine = torch.arange(len(both)) < len(members)
    return float(auroc(both[:, None].numpy(), mine.numpy())[0])


def _with_constant(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)
