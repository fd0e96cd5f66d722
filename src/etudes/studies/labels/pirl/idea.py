"""The loss of pretext-invariant representations, the memory bank that it compares with, and how invariant features are.

Numbers of equations and sections are those of Misra and van der Maaten 2020, arXiv:1912.01991.
"""

import math

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem


def nce(z: Tensor, own: Tensor, others: Tensor, temperature: float = 0.07) -> Tensor:
    """The mean over rows of -log h(m, z) - sum over N negatives m' of log(1 - h(m', z)), in nats (eqs. 3 and 4).

    h(m, z) = exp(s(m, z) / T) / (exp(s(m_I, z) / T) + sum over negatives of exp(s(m', z) / T)), s the cosine. z: [n, d]
    are representations of n pictures, own: [n, d] the memory's rows m_I of these, others: [N, d] those of other
    pictures. All h of a row add up to 1. Computed in float32. Raises Problem without negatives, or where T is not
    above 0.
    """
    if not len(others):
        raise Problem("the loss needs at least one negative; raise --negatives")
    if not temperature > 0:
        raise Problem(f"the temperature is {temperature}, but must be above 0")
    with torch.autocast(z.device.type, enabled=False):  # bf16 has two digits of a cosine
        z = functional.normalize(z.float(), dim=1)
        own, others = functional.normalize(own.float(), dim=1), functional.normalize(others.float(), dim=1)
        likeness = torch.cat([(z * own).sum(1, keepdim=True), z @ others.T], 1) / temperature
        log_h = functional.log_softmax(likeness, 1)
        # 1 - h at most 1 - 1e-6 of a row whose negative takes all of it, where the logarithm would be infinite
        rest = torch.log1p(-log_h[:, 1:].exp().clamp(max=1 - 1e-6))
        return -(log_h[:, 0] + rest.sum(1)).mean()


def pirl_loss(
    picture: Tensor, changed: Tensor, own: Tensor, others: Tensor, weight: float = 0.5, temperature: float = 0.07
) -> Tensor:
    """weight L(m_I, g(v_It)) + (1 - weight) L(m_I, f(v_I)), L being `nce` (eq. 5).

    picture: [n, d] are f(v_I) of pictures as they are, changed: [n, d] g(v_It) of their transformed copies. Both are to
    be like the memory's row of their picture, and so like each other. A term of weight 0 is not computed.
    """
    terms = [(changed, weight), (picture, 1 - weight)]
    return torch.stack([share * nce(z, own, others, temperature) for z, share in terms if share]).sum()


class MemoryBank:
    """m_I: a unit row [d] for each of n pictures, the running mean of its representations (sec. 2.2).

    Rows are addressed by the picture's number in the set, whatever batch it comes in.
    """

    def __init__(self, representations: Tensor, momentum: float = 0.5) -> None:
        self.rows = functional.normalize(representations.detach().float(), dim=1)
        self.momentum = momentum

    def update(self, pictures: Tensor, representations: Tensor) -> None:
        """Rows of `pictures`, int64 [n], move to momentum * row + (1 - momentum) * unit representation [n, d], and are
        made unit again."""
        new = functional.normalize(representations.detach().float(), dim=1)
        mixed = self.momentum * self.rows[pictures] + (1 - self.momentum) * new
        self.rows[pictures] = functional.normalize(mixed, dim=1)

    def negatives(self, pictures: Tensor, count: int, rng: numpy.random.Generator) -> Tensor:
        """Rows [count, d] of other pictures, each at most once: none is of `pictures`, so no positive is among them.

        All pictures of a batch share them. Where there are not so many others, all others are taken.
        """
        free = torch.ones(len(self.rows), dtype=torch.bool)
        free[pictures.cpu()] = False
        others = free.nonzero()[:, 0]
        drawn = torch.from_numpy(rng.choice(len(others), min(count, len(others)), replace=False))
        return self.rows[others[drawn].to(self.rows.device)]

    def state_dict(self) -> dict[str, Tensor]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.rows = state["rows"].to(self.rows.device)


def permutation_set(pieces: int, count: int, rng: numpy.random.Generator) -> Tensor:
    """Orders of pieces that a network is to tell apart, int64 [count, pieces]: all where there are no more.

    Else each is, of 100 drawn ones, that which differs in most places from the nearest of those before it (Noroozi and
    Favaro 2016, arXiv:1603.09246, algorithm 1, which looks at all orders). No order comes twice. Raises Problem on no
    orders.
    """
    if count < 1 or pieces < 2:
        raise Problem(f"a puzzle needs 2 pieces and an order, not {pieces} pieces in {count} orders")
    if math.factorial(pieces) <= max(count, 1000):
        every = torch.cartesian_prod(*[torch.arange(pieces)] * pieces)
        every = every[(every.sort(1).values == torch.arange(pieces)).all(1)]
        return every[torch.from_numpy(numpy.sort(rng.permutation(len(every))[:count]))]
    chosen = rng.permuted(numpy.tile(numpy.arange(pieces), (1, 1)), axis=1)
    for _ in range(count - 1):
        drawn = rng.permuted(numpy.tile(numpy.arange(pieces), (100, 1)), axis=1)
        far = (drawn[:, None] != chosen[None]).sum(2).min(1)
        if far.max() == 0:
            raise Problem(f"{count} orders of {pieces} pieces could not be drawn; take fewer")
        chosen = numpy.concatenate([chosen, drawn[far.argmax()][None]])
    return torch.from_numpy(chosen)


def invariance(features: Tensor, changed: Tensor) -> float:
    """How much more like its own picture a transformed copy is than other pictures are, by the cosine of features.

    features: [n, d] of n pictures, changed: [n, d] of their transformed copies. (own - other) / (1 - other), own the
    mean cosine of a picture and its copy, other that of a picture and another one's copy. 1: the transformation changes
    nothing. 0: it leaves nothing of the picture. Raises Problem where all are alike.
    """
    cosines = functional.normalize(features.double(), dim=1) @ functional.normalize(changed.double(), dim=1).T
    n = len(cosines)
    own = cosines.diagonal().mean()
    other = (cosines.sum() - cosines.diagonal().sum()) / (n * (n - 1))
    if not other < 1 - 1e-9:
        raise Problem("all pictures have the same features; there is nothing that a transformed one could be like")
    return ((own - other) / (1 - other)).item()
