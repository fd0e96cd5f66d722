"""Normalisation layers."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem, unknown

Norm = Literal["none", "batch", "layer", "instance", "group"]
GROUPS = 8  # of group normalisation; the paper's 32 is for 64 channels and more


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the whole batch, also where several processes hold its parts (Ioffe & Szegedy 2015,
    arXiv:1502.03167, algorithm 1).

    For [n, c, h, w] and [n, c]. In one process it is `nn.BatchNorm2d` or `1d`. In several, mean and variance are
    averaged over processes with equal parts, and gradients flow through that average, so that the result is the single
    process's. (`nn.SyncBatchNorm` does the same on GPUs alone.)
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"batch normalisation takes [n, c] or [n, c, h, w], not {list(input.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
            return super().forward(x)
        x32, others = x.float(), [0, *range(2, x.ndim)]
        shape = [-1] + [1] * (x.ndim - 2)
        mean = _OverProcesses.apply(x32.mean(others))
        centred = x32 - mean.view(shape)
        variance = _OverProcesses.apply(centred.square().mean(others))
        n = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * n / (n - 1), momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class _OverProcesses(torch.autograd.Function):
    """The mean of a tensor over the processes; gradients are averaged in the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mean = x.contiguous().clone()
        torch.distributed.all_reduce(mean)
        return mean / torch.distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _OverProcesses.forward(ctx, gradient)


class GroupNorm(nn.GroupNorm):
    """PyTorch's group normalisation, three times as fast in channels_last memory on a CPU.

    There PyTorch's own is slow for more than one group, and two copies cost less.
    """

    def forward(self, x: Tensor) -> Tensor:
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        if not (last and self.num_groups > 1 and x.device.type == "cpu"):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def norm(kind: Norm, channels: int, dense: bool = False) -> list[nn.Module]:
    """The layer that normalises [n, channels, h, w], or [n, channels] where `dense`; [] for "none".

    All have a scale and a shift a channel. "batch": each channel over the batch (arXiv:1502.03167). For each picture
    alone: "layer", over channels and places together (Ba et al. 2016, arXiv:1607.06450); "instance", each channel over
    places (Ulyanov et al. 2016, arXiv:1607.08022); "group", 8 groups of channels over places (Wu & He 2018,
    arXiv:1803.08494): "layer" is one group, "instance" as many as channels. A dense layer has no places: there
    "instance", which would leave nothing, is [].
    """
    if kind == "none" or (kind == "instance" and dense):
        return []
    if kind == "batch":
        return [BatchNorm(channels)]
    groups = {"layer": 1, "instance": channels, "group": GROUPS}
    if kind not in groups:
        raise unknown("normalisation", kind, ("none", "batch", *groups))
    if channels % groups[kind]:
        raise Problem(f"{channels} channels do not fall into {groups[kind]} groups; take a multiple of {groups[kind]}")
    return [GroupNorm(groups[kind], channels)]


class Standardise(nn.Module):
    """Pictures [n, c, h, w] in [0, 1] to mean 0 and standard deviation 1 a channel of the training pictures."""

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None])
        self.register_buffer("std", torch.tensor(list(std))[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch normalisation by the plain average over `batches`.

    Training on mixed or strongly augmented inputs leaves statistics that those inputs have and the test's do not.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    was_training = model.training
    model.train()
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # PyTorch's sign for a cumulative average
    for batch in batches:
        model(batch)
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
    model.train(was_training)
