"""Batch normalisation whose statistics are those of small groups of a batch: as on many devices, on one.

What a device with a few pictures does, or a small batch, without their cost in time or their noise in the gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.norm import BatchNorm


class GhostNorm(BatchNorm):
    """Batch normalisation of [n, c, h, w] over groups of `group` pictures each (Hoffer, Hubara, Soudry 2017,
    arXiv:1705.08741, algorithm 1; there of large batches).

    Of k groups picture i is in group i mod k: in contiguous memory no copy is needed for it. Running mean and variance
    take the average over the groups of a step, the variance unbiased as in `nn.BatchNorm2d`; evaluation uses them.
    `group=0` is the whole batch. Raises Problem on a batch that does not fall into groups of that size.
    """

    def __init__(self, channels: int, group: int = 0, momentum: float = 0.1) -> None:
        super().__init__(channels, momentum=momentum)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.group):
            return super().forward(x)
        grouped, groups = self._grouped(x)
        weight, bias = self._scale_and_shift(grouped, groups)
        mean, variance = torch.zeros_like(weight), torch.zeros_like(weight)  # momentum 1 leaves those of the batch here
        y = functional.batch_norm(grouped, mean, variance, weight, bias, True, 1.0, self.eps)
        self._follow(mean.detach().view(groups, -1), variance.detach().view(groups, -1))
        return y.view(x.shape)

    def _grouped(self, x: Tensor) -> tuple[Tensor, int]:
        """The batch as [group, groups * c, h, w], and the number of groups."""
        if x.ndim != 4 or len(x) % self.group:
            raise Problem(f"{list(x.shape)} is no batch [n, c, h, w] that falls into groups of {self.group}")
        groups = len(x) // self.group
        return x.contiguous().view(self.group, groups * x.shape[1], *x.shape[2:]), groups

    def _scale_and_shift(self, grouped: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """What normalised values are multiplied by and what is added to them, each [groups * c]."""
        return self.weight.repeat(groups), self.bias.repeat(groups)

    def _follow(self, means: Tensor, variances: Tensor) -> None:
        """Move the running statistics towards those of a step's groups: [groups, c], variances unbiased."""
        self.num_batches_tracked += 1
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(means.mean(0), momentum)
        self.running_var.lerp_(variances.mean(0), momentum)


class BatchRenorm(GhostNorm):
    """Batch renormalisation (Ioffe 2017, arXiv:1702.03275, algorithm 1): in training too, nearly what evaluation does.

    A group's normalised values are multiplied by r = s_B / s and shifted by d = (m_B - m) / s, with the running m and
    s; to r and d no gradient flows. They are held within 1/R .. R and -D .. D. As the paper has it, R = 1 and D = 0 at
    first, which is batch normalisation, and R = 3 and D = 5 in the end; here both grow evenly from a tenth to a half of
    the `steps` of training. The square of s is the running variance, where the paper averages s itself.
    """

    def __init__(self, channels: int, group: int, steps: int, momentum: float = 0.1) -> None:
        super().__init__(channels, group, momentum)
        self.steps = steps

    def limits(self) -> tuple[float, float]:
        """R and D of the present step."""
        done = self.num_batches_tracked.item() / self.steps
        share = min(max((done - 0.1) / 0.4, 0.0), 1.0)
        return 1 + 2 * share, 5 * share

    def _scale_and_shift(self, grouped: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        most_r, most_d = self.limits()
        with torch.no_grad():
            mean = grouped.float().mean((0, 2, 3))
            variance = (grouped.float() - mean[:, None, None]).square().mean((0, 2, 3))  # faster than torch.var_mean
            deviation = (self.running_var + self.eps).sqrt().repeat(groups)
            r = ((variance + self.eps).sqrt() / deviation).clamp(1 / most_r, most_r)
            d = ((mean - self.running_mean.repeat(groups)) / deviation).clamp(-most_d, most_d)
        weight = self.weight.repeat(groups)
        return weight * r, weight * d + self.bias.repeat(groups)
