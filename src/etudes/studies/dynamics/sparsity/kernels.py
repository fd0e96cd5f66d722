"""Seconds of one dense layer, by how its zeros are used: a table to print on a machine that does nothing else.

    python -m etudes.studies.dynamics.sparsity.kernels

Seconds are in no run's result: runs go side by side, and a run that is repeated must end with the same numbers.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor

from etudes.studies.dynamics.sparsity.quantise import int8_linear, quantise
from etudes.train import pruning

SIZES = ((300, 784), (2048, 2048))  # outputs and inputs: LeNet's first layer, and one of a larger network
SHARES = (0.5, 0.1, 0.02)  # of the weights that are left
BATCHES = (1, 64)  # inputs at once


def seconds(call: Callable[[], object], warm: int = 3, repeats: int = 15) -> float:
    """The median of the seconds that a call takes, after `warm` calls that do not count."""
    for _ in range(warm):
        call()
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return median(found)


def ways(x: Tensor, weight: Tensor, share: float) -> dict[str, Callable[[], Tensor]]:
    """{way: a call that gives x w^T, [n, out]} of x: [n, in] and a weight [out, in] pruned to a share by magnitude.

    "dense" is the product of floats, "masked" multiplies by the mask first, as networks under PyTorch's pruning do,
    "csr" is PyTorch's product of a sparse matrix, "int8" its product of integers. "narrow" gives fewer outputs: a dense
    product of as many of the rows as the share leaves, which is what whole neurons are pruned to.
    """
    weight = weight.detach()
    mask = pruning.global_masks({"w": weight.abs()}, round(share * weight.numel()))["w"]
    pruned = weight * mask
    sparse, (integer, scale) = pruned.to_sparse_csr(), quantise(pruned, 8)
    narrow = weight[: max(1, round(share * len(weight)))].contiguous()
    return {
        "dense": lambda: x @ pruned.T,
        "masked": lambda: x @ (weight * mask).T,
        "csr": lambda: (sparse @ x.T).T,
        "int8": lambda: int8_linear(x, integer, scale),
        "narrow": lambda: x @ narrow.T,
    }


def table() -> Iterator[str]:
    """Microseconds of every way, a line for each layer, batch and share of weights."""
    yield "outputs x inputs   batch  weights   " + "".join(f"{way:>10}" for way in ways(*_drawn(2, 2, 1), 0.5))
    for out, inputs in SIZES:
        for batch in BATCHES:
            for share in SHARES:
                found = ways(*_drawn(out, inputs, batch), share)
                numbers = "".join(f"{1e6 * seconds(call):>10.0f}" for call in found.values())
                yield f"{out:>7} x {inputs:<8} {batch:>5} {share:>7.0%}    {numbers}"


def _drawn(out: int, inputs: int, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, inputs, generator=generator), torch.randn(out, inputs, generator=generator)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"microseconds on one core, PyTorch {torch.__version__}")
    for line in table():
        print(line, flush=True)
