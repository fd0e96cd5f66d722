"""Many small networks trained at once, as one: what a step of a tiny network takes is mostly the calling of it.

Networks of one architecture, each with its own examples, are stacked and called by `torch.func.vmap`. The sum of their
losses has for each network the gradient that its own loss has, and a rule such as Adam goes weight by weight. So each
ends as it would have alone, up to rounding.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from etudes.core.errors import Problem


class Together(nn.Module):
    """Networks of one architecture as one module: examples [k, n, ...], those of each, to outputs [k, n, ...].

    Draws such as dropout's differ between the networks. Raises Problem where the shapes of their weights differ, and
    where they have buffers, which `vmap` cannot let them change in training.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        shapes = [{name: p.shape for name, p in network.named_parameters()} for network in networks]
        if not networks or any(shape != shapes[0] for shape in shapes):
            raise Problem("networks are stacked where there are any and their weights have the same shapes")
        if any(True for network in networks for _ in network.buffers()):
            raise Problem("networks with buffers, such as batch norm's, cannot be stacked; take OneByOne for them")
        stacked, _ = stack_module_state(list(networks))  # type: ignore[arg-type]
        self.names = tuple(stacked)
        self.weights = nn.ParameterList(nn.Parameter(stacked[name].detach()) for name in self.names)
        self.skeleton = [copy.deepcopy(networks[0]).to("meta")]  # in a list: its weights are none of this module's

    def forward(self, x: Tensor) -> Tensor:
        skeleton = self.skeleton[0].train(self.training)

        def outputs(weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(skeleton, weights, (inputs,))

        return vmap(outputs, randomness="different")(dict(zip(self.names, self.weights, strict=True)), x)


class OneByOne(nn.Module):
    """The same for networks of any kind, called one after the other."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([network(inputs) for network, inputs in zip(self.networks, x, strict=True)])


def losses(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy [k] of each network's logits [k, n, classes] against its labels [k, n]."""
    return nn.functional.cross_entropy(outputs.transpose(1, 2), y, reduction="none").mean(1)


def train_together(networks: Sequence[nn.Module], x: Tensor, y: Tensor, steps: int, lr: float) -> Tensor:
    """The last losses [k] of stacked copies of the networks after full-batch steps of Adam.

    x: [k, n, ...] and y: int64 [k, n] are the examples of each network.
    """
    return _train(Together(networks), x, y, steps, lr)


def train_one_by_one(networks: Sequence[nn.Module], x: Tensor, y: Tensor, steps: int, lr: float) -> Tensor:
    """What `train_together` returns, by one training after the other, each with an optimiser of its own."""
    copies = [OneByOne([copy.deepcopy(network)]) for network in networks]
    return torch.cat([_train(one, x[i : i + 1], y[i : i + 1], steps, lr) for i, one in enumerate(copies)])


def _train(networks: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float) -> Tensor:
    opt = torch.optim.Adam(networks.parameters(), lr)
    for _ in range(steps):
        opt.zero_grad(set_to_none=True)
        each = losses(networks(x), y)
        each.sum().backward()
        opt.step()
    return each.detach()
