"""Ways to join modalities, and what is done so that none is ignored.

Every modality m comes as tokens [n, k, d]: places of a picture, words of a title. A token of zeros is absent, and h_m
is the mean of those that are there. With a and b for layers, the ways differ in where the modalities meet
(Baltrusaitis et al. 2019, sec. 6):

    joint      b relu(a [h_1, h_2])                                        features are joined
    late       sum_m log softmax(b_m relu(a_m h_m))                        decisions are added
    gated      b sum_m z_m tanh(a_m h_m),  z = sigmoid(c [h_1, h_2])       Arevalo et al. 2017, arXiv:1702.01992, eq. 1
    attention  b relu(a sum_i w_i v_i),  w = softmax(q k_i)                over the tokens i of all modalities
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import unknown
from etudes.measure.size import count_parameters

Answer = tuple[Tensor, list[Tensor]]  # scores [n, classes] that decide, and all logits that are trained
HEADS = 4  # of attention


def pool(tokens: Tensor) -> Tensor:
    """The mean [n, d] of the tokens [n, k, d] that are not zeros; zeros where all are."""
    present = (tokens != 0).any(-1, keepdim=True)
    return tokens.sum(1) / present.sum(1).clamp_min(1)


def hide(tokens: Sequence[Tensor], kept: Tensor) -> list[Tensor]:
    """The tokens [n, k, d] or pictures [n, c, h, w] of each modality, zeros in the rows whose `kept` [n, modalities]
    is False."""
    return [x * kept[:, m].reshape(-1, *[1] * (x.ndim - 1)).to(x) for m, x in enumerate(tokens)]


def draw_kept(n: int, modalities: int, drop: float, rng: np.random.Generator) -> Tensor:
    """Which modalities bool [n, modalities] each example keeps: all with chance 1 - drop, else all but one, any of them
    alike (modality dropout; Neverova et al. 2016, arXiv:1501.00102, sec. 3, where each is dropped by itself)."""
    kept = np.ones((n, modalities), bool)
    rows = np.flatnonzero(rng.random(n) < drop)
    kept[rows, rng.integers(modalities, size=len(rows))] = False
    return torch.from_numpy(kept)


def head(width: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))


class Joint(nn.Module):
    """Joint features; with `blended` each modality has a head of its own as well, whose loss is added (Wang et al.
    2020, arXiv:1905.12681, sec. 3.2, with equal weights)."""

    def __init__(self, modalities: int, width: int, hidden: int, classes: int, blended: bool = False) -> None:
        super().__init__()
        self.head = head(modalities * width, hidden, classes)
        self.alone = nn.ModuleList(nn.Linear(width, classes) for _ in range(modalities if blended else 0))

    def forward(self, tokens: Sequence[Tensor]) -> Answer:
        vectors = [pool(x) for x in tokens]
        scores = self.head(torch.cat(vectors, 1))
        return scores, [scores, *(layer(x) for layer, x in zip(self.alone, vectors, strict=bool(self.alone)))]


class Late(nn.Module):
    """A classifier for each modality, trained by itself. A modality that is absent has no say."""

    def __init__(self, modalities: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(head(width, hidden, classes) for _ in range(modalities))

    def forward(self, tokens: Sequence[Tensor]) -> Answer:
        vectors = [pool(x) for x in tokens]
        logits = [layer(x) for layer, x in zip(self.heads, vectors, strict=True)]
        says = [(x != 0).any(1, keepdim=True) for x in vectors]
        scores = sum(functional.log_softmax(y, -1) * here for y, here in zip(logits, says, strict=True))
        assert isinstance(scores, Tensor)
        return scores, logits


class Gated(nn.Module):
    """Gates, between 0 and 1 for each hidden unit, say how much of each modality goes on."""

    def __init__(self, modalities: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.values = nn.ModuleList(nn.Linear(width, hidden) for _ in range(modalities))
        self.gates = nn.Linear(modalities * width, modalities * hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, tokens: Sequence[Tensor]) -> Answer:
        vectors = [pool(x) for x in tokens]
        gates = self.gates(torch.cat(vectors, 1)).sigmoid().chunk(len(vectors), 1)
        values = [layer(x).tanh() for layer, x in zip(self.values, vectors, strict=True)]
        scores = self.out(torch.stack([gate * value for gate, value in zip(gates, values, strict=True)]).sum(0))
        return scores, [scores]


class Attention(nn.Module):
    """A learnt query looks at the tokens of all modalities at once, by four heads; absent tokens are not looked at."""

    def __init__(self, modalities: int, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.kinds = nn.Parameter(0.1 * torch.randn(modalities, width))  # which modality a token is of
        self.query = nn.Parameter(torch.randn(HEADS, width // HEADS))
        self.keys, self.values = nn.Linear(width, width), nn.Linear(width, width)
        self.head = head(width, hidden, classes)

    def forward(self, tokens: Sequence[Tensor]) -> Answer:
        present = torch.cat([(x != 0).any(-1) for x in tokens], 1)
        x = torch.cat([x + kind for x, kind in zip(tokens, self.kinds, strict=True)], 1)
        keys, values = (layer(x).unflatten(2, (HEADS, -1)) for layer in (self.keys, self.values))
        weights = torch.einsum("nkhd,hd->nkh", keys.float(), self.query) / self.query.shape[1] ** 0.5
        weights = weights.masked_fill(~present[..., None], -1e4).softmax(1)
        scores = self.head(torch.einsum("nkh,nkhd->nhd", weights.to(values), values).flatten(1))
        return scores, [scores]


Make = Callable[[int], nn.Module]
FUSIONS: dict[str, Callable[..., nn.Module]] = {
    "joint": Joint,
    "early": Joint,  # the modalities meet at the pixels: see networks.py
    "blended": lambda *sizes: Joint(*sizes, blended=True),
    "late": Late,
    "gated": Gated,
    "attention": Attention,
}


def fusion(way: str, modalities: int, width: int, hidden: int, classes: int) -> nn.Module:
    """The way to join `modalities` token sets of `width` into scores of the classes. Problem for an unknown way."""
    if way not in FUSIONS:
        raise unknown("way of fusion", way, FUSIONS)
    return FUSIONS[way](modalities, width, hidden, classes)


def match(make: Make, parameters: int) -> int:
    """The number of hidden units, from 1, with which `make(hidden)` comes nearest to so many parameters; they grow in
    proportion to the units."""
    one, two = (count_parameters(make(hidden)) for hidden in (1, 2))
    return max(1, round(1 + (parameters - one) / (two - one)))
