"""Task arithmetic, and a layer of graphs: what is added to a network's weights, and what a node hears of its
neighbours."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from etudes.core.errors import Problem
from etudes.train.arithmetic import plus, scaled

Vector = Mapping[str, Tensor]


def edit(base: Vector, vectors: Sequence[Vector], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """base + c_1 v_1 + c_2 v_2 + ... (fig. 1): negation has one vector and c < 0, addition several and one c > 0, and
    an analogy, which goes from the weights C, has B and A with c and -c.

    >>> import torch
    >>> edit({"w": torch.tensor([1.0])}, [{"w": torch.tensor([2.0])}, {"w": torch.tensor([4.0])}], [0.5, -0.5])
    {'w': tensor([0.])}
    """
    return plus(base, *(scaled(vector, c) for vector, c in zip(vectors, coefficients, strict=True)))


def part_of(vector: Vector, beginning: str, inside: bool = True) -> dict[str, Tensor]:
    """The vector with zeros wherever a tensor's name does not begin so; or, without `inside`, wherever it does."""
    return {name: t if name.startswith(beginning) == inside else t.new_zeros(t.shape) for name, t in vector.items()}


def convolution(kind: str, inputs: int, outputs: int) -> Any:
    """A layer of PyTorch Geometric, (h [n, inputs], edges [2, m]) -> [n, outputs]; from edges[0] to edges[1].

    "sage" is W h_i + U mean_j h_j + b over the neighbours j (Hamilton et al. 2017, arXiv:1706.02216, algorithm 1, with
    the mean aggregator and no norm after it); "gin" is mlp(h_i + sum_j h_j), an MLP of one hidden layer (Xu et al.
    2019, arXiv:1810.00826, eq. 4.1 with epsilon 0); "gcn" is W sum_j h_j / sqrt(d_i d_j) + b over the neighbours and i
    itself (Kipf and Welling 2017, arXiv:1609.02907, eq. 2).
    """
    layers = graph_layers()
    if kind == "sage":
        return layers.SAGEConv(inputs, outputs)
    if kind == "gcn":
        return layers.GCNConv(inputs, outputs)
    from torch import nn

    return layers.GINConv(nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs)))


def graph_layers() -> Any:
    """The layers of PyTorch Geometric. Problem where it is not installed."""
    try:
        from torch_geometric.nn import conv
    except ImportError:
        raise Problem("graph networks are made by torch-geometric; install it: pip install 'etudes[graphs]'") from None
    return conv
