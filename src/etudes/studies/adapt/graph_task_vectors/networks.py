"""The network: words, two layers over the graph, and one output layer that is drawn once and never learnt."""

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.studies.adapt.graph_task_vectors.idea import convolution
from etudes.studies.adapt.graph_task_vectors.materials import Examples, View
from etudes.train import seeded

WORDS = "words."  # begins the names of the body's table of words


class Body(nn.Module):
    """A View to features [rows, features]: the mean of a node's word vectors, then two layers over its neighbours.

    Where rows are graphs, their nodes' features are averaged."""

    def __init__(self, columns: int, width: int, features: int, layer: str) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(columns, width, mode="mean")
        self.first = convolution(layer, width, width)
        self.second = convolution(layer, width, features)

    def forward(self, view: View) -> Tensor:
        h = self.words(view.words, view.begins)
        h = torch.relu(self.first(h, view.edges))
        h = self.second(h, view.edges)
        if view.member is None:
            return h
        rows = int(view.member[-1]) + 1
        total = h.new_zeros(rows, h.shape[1]).index_add(0, view.member, h)
        return total / view.member.bincount(minlength=rows)[:, None]


class Reader(nn.Module):
    """A body, and an output layer whose rows, those of all tasks, stand at right angles and are never learnt.

    It stands for CLIP's, which come from its text encoder (sec. 2), so that a task vector is all of the body."""

    def __init__(self, body: nn.Module, features: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.body, self.classes = body, classes
        rows = torch.linalg.qr(torch.randn(features, sum(classes.values())))[0].T
        self.register_buffer("heads", rows.contiguous())

    def forward(self, view: View) -> Tensor:
        """The logits [rows, classes of all tasks]."""
        return nn.functional.linear(self.body(view), self.heads)

    def of_task(self, logits: Tensor, task: str) -> Tensor:
        """The task's own logits [n, classes] of those of all."""
        names = [*self.classes]
        begin = sum(self.classes[name] for name in names[: names.index(task)])
        return logits[:, begin : begin + self.classes[task]]


def network(run: Run, cfg, examples: Examples, stream: str) -> Reader:
    """The network with its first weights, drawn by the stream; the output layer is that of the seed, whatever the
    stream."""
    with torch.random.fork_rng():
        torch.manual_seed(run.seed("heads"))
        reader = Reader(nn.Identity(), cfg.features, dict(examples.classes))
    reader.body = seeded(run, stream, lambda: Body(cfg.columns, cfg.width, cfg.features, cfg.layer))
    return reader.to(run.device)
