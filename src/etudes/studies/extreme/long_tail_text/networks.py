"""A network that reads a bag of words, and its training."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.measure.error import evaluation_mode
from etudes.train import Adam, descend, fit, scheduled

Matrix = sparse.csr_matrix
Bag = tuple[Tensor, Tensor, Tensor]  # the terms that documents have, where each document begins, and the weights
TOGETHER = 512  # documents that are scored at once
SPREAD = 0.1  # standard deviation of the terms' first vectors


def bag(x: Matrix, device: torch.device) -> Bag:
    """The rows of x as what an EmbeddingBag reads."""
    parts = (x.indices.astype(np.int64), x.indptr[:-1].astype(np.int64), x.data)
    return tuple(torch.from_numpy(part).to(device) for part in parts)  # type: ignore[return-value]


class TextNetwork(nn.Module):
    """Documents to logits [n, labels]: the weighted sum of their terms' vectors, ReLU, a linear layer.

    With `cosine` the logits are cosines of features and the labels' weights.
    """

    def __init__(self, terms: int, hidden: int, labels: int, cosine: bool = False) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(terms, hidden, mode="sum")
        nn.init.normal_(self.words.weight, std=SPREAD)
        self.classify = nn.Linear(hidden, labels, bias=not cosine)
        self.cosine = cosine

    def features(self, documents: Bag) -> Tensor:
        terms, begins, values = documents
        return functional.relu(self.words(terms, begins, per_sample_weights=values))

    def forward(self, documents: Bag) -> Tensor:
        found = self.features(documents)
        if self.cosine:
            return functional.normalize(found, dim=1) @ functional.normalize(self.classify.weight, dim=1).T
        return self.classify(found)


def learn(
    run: Run,
    recipe: Adam,
    model: TextNetwork,
    x: Matrix,
    loss: Callable[[Tensor, np.ndarray, int], Tensor],
    rows_at: Callable[[int], np.ndarray],
    name: str = "train",
) -> TextNetwork:
    """The network, trained on documents x: at step i on the rows `rows_at(i)` for `loss(logits, rows, i)`.

    Weights that need no gradient stay as they are.
    """
    opt = torch.optim.Adam(model.parameters(), recipe.lr, fused=True)  # a third of the time of the plain one here
    schedule = scheduled(opt, recipe)

    def step(i: int) -> dict[str, Tensor]:
        rows = rows_at(i)
        return {f"{name}/loss": descend(loss(model(bag(x[rows], run.device)), rows, i), opt, schedule)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=recipe.log_every)
    return model


def logits(model: TextNetwork, x: Matrix) -> np.ndarray:
    """The network's logits [n, labels], float32."""
    device = next(model.parameters()).device
    with evaluation_mode(model), torch.no_grad():
        parts = [model(bag(x[i : i + TOGETHER], device)).float().cpu() for i in range(0, x.shape[0], TOGETHER)]
    return torch.cat(parts).numpy()
