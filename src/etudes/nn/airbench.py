"""The small convolutional network that learns CIFAR-10 fast.

Paper: 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, Jordan 2024, arXiv:2404.00498, sec. 3.1 to 3.3; its residual
form is that of sec. 4 in spirit (a third convolution and a skip), without its larger widths.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.nn.norm import BatchNorm, Standardise


def whitening(x: Tensor, tiny: float = 5e-4) -> Tensor:
    """Filters [8c, c, 2, 2] whose first half whitens the 2x2 patches of pictures [n, c, h, w]; the rest are negatives.

    Each is an eigenvector of the patches' covariance over the root of its eigenvalue plus `tiny`, so that outputs are
    uncorrelated with variance 1 (Jordan 2024, sec. 3.2, after Page 2019). With both signs nothing is lost to the
    activation.
    """
    patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    filters = (vectors / (values + tiny).sqrt()).T.reshape(-1, x.shape[1], 2, 2).float()
    return torch.cat([filters, -filters])


class Block(nn.Module):
    """Two 3x3 convolutions, the first followed by a 2x2 max-pool, each by batch normalisation without scale and GELU.

    The filters start by passing their input on, as far as there are inputs. With `residual` a third convolution
    follows, whose output is added to that of the first.
    """

    def __init__(self, channels: int, out: int, residual: bool) -> None:
        super().__init__()
        inputs = (channels, out, out) if residual else (channels, out)
        self.convolutions = nn.ModuleList(nn.Conv2d(n, out, 3, padding=1, bias=False) for n in inputs)
        self.norms = nn.ModuleList(BatchNorm(out, eps=1e-12, momentum=0.4) for _ in inputs)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            nn.init.dirac_(convolution.weight[: convolution.in_channels])
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convolutions
        x = straight = functional.gelu(self.norms[0](functional.max_pool2d(first(x), 2)))
        for convolution, norm in zip(others, self.norms[1:], strict=True):
            x = norm(convolution(x))
            last = convolution is others[-1]
            x = functional.gelu(x + straight if last and len(others) == 2 else x)
        return x


class Airbench(nn.Module):
    """Pictures [n, c, side, side] in [0, 1], of any side from 12 on, to logits [n, classes].

    The last layer sees the largest value of each channel over the places.
    """

    def __init__(self, standardise: Standardise, classes: int, width: int, residual: bool) -> None:
        super().__init__()
        self.standardise = standardise
        channels = len(standardise.mean)
        self.first = nn.Conv2d(channels, 8 * channels, 2)
        nn.init.zeros_(self.first.bias)
        widths = (8 * channels, width, 4 * width, 4 * width)
        self.blocks = nn.Sequential(*(Block(a, b, residual) for a, b in itertools.pairwise(widths)))
        self.last = nn.Linear(4 * width, classes, bias=False)
        nn.init.normal_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(functional.gelu(self.first(self.standardise(x)))).amax((2, 3))
        return self.last(x) / x.shape[1]
