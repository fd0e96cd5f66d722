"""Which pictures to keep: the scores, and the highest of them.

Papers: Selection via Proxy, Coleman et al. 2020, arXiv:1906.11829, sec. 2.2; An Empirical Study of Example Forgetting
during Deep Neural Network Learning, Toneva et al. 2019, arXiv:1812.05159, sec. 3.
"""

import torch
from torch import Tensor, nn


def entropy(probabilities: Tensor) -> Tensor:
    """-sum p log p [n], in nats, of distributions [n, classes] (Coleman et al. 2020, sec. 2.2)."""
    return torch.special.entr(probabilities).sum(1)


def closeness(probabilities: Tensor) -> Tensor:
    """1 - (p1 - p2) [n], p1 and p2 being the two largest of distributions [n, classes]: 1 where two classes tie."""
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return 1 - (first - second)


class Memory(nn.Module):
    """For n pictures, how often each was forgotten: classified rightly when it was last seen and wrongly the next time
    (Toneva et al. 2019, definition of forgetting events). One of the parts of `fit`."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("right", torch.zeros(n, dtype=torch.bool))  # when last seen
        self.register_buffer("learnt", torch.zeros(n, dtype=torch.bool))  # ever
        self.register_buffer("forgotten", torch.zeros(n))

    def see(self, rows: Tensor, right: Tensor) -> None:
        """Note whether the pictures `rows` [m] are classified rightly: bool [m]."""
        self.forgotten[rows] += (self.right[rows] & ~right).float()
        self.learnt[rows] |= right
        self.right[rows] = right

    def score(self) -> Tensor:
        """The number of times each picture [n] was forgotten; infinite where it was never learnt (sec. 3.1 there)."""
        return torch.where(self.learnt, self.forgotten, torch.inf)


def highest(score: Tensor, share: float, ties: Tensor) -> Tensor:
    """The rows, ascending, of the round(share * n) highest scores [n], at least one; equal ones by `ties`, a random
    order of the rows [n] (counts of forgetting are mostly equal)."""
    order = ties[score[ties].argsort(descending=True, stable=True)]
    return order[: max(1, round(share * len(score)))].sort().values
