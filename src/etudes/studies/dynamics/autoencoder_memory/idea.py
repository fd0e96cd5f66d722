"""Iterating a network that maps pictures to pictures: where it comes to rest, and whether it stays there."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jacrev

from etudes.core import Problem

Map = Callable[[Tensor], Tensor]  # pictures [n, d] -> pictures [n, d]

FAR = 10.0  # a pixel beyond it, of pictures in [0, 1], is on its way to infinity


def repeat(f: Map, times: int) -> Map:
    """f o ... o f. Of a network that has learnt cycles of so many pictures, each picture is a fixed point of it."""

    def composition(x: Tensor) -> Tensor:
        for _ in range(times):
            x = f(x)
        return x

    return composition


def jacobians(f: Map, x: Tensor) -> Tensor:
    """The derivatives [n, d, d] of f at pictures x [n, d]: entry i, j of each is the slope of output i in input j.

    f takes each picture by itself, so that the sum over pictures of an output has the slopes of every picture's own.
    """
    return jacrev(lambda pictures: f(pictures).sum(0), chunk_size=16)(x).movedim(1, 0).detach()


def spectral_radii(jacobian: Tensor) -> Tensor:
    """The largest modulus [n] of the eigenvalues of matrices [n, d, d].

    A fixed point of f attracts all starts that are near enough if this number of its Jacobian is below 1 (1909.12362,
    sec. 2). The largest singular value may be above 1 all the same: it says how far one step can lead astray, not where
    many steps end.
    """
    return torch.linalg.eigvals(jacobian).abs().amax(1)


@torch.no_grad()
def iterate(f: Map, starts: Tensor, most: int, tolerance: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Where x <- f(x) leads from starts [n, d], and whether it came to rest there: bool [n].

    A picture rests when a step moves it by less than `tolerance`, root mean square over pixels; it is iterated `most`
    times at most. One that leaves every bound stays where it was last and does not rest.
    """
    if most < 1:
        raise Problem(f"a map is iterated once or more, not {most} times")
    x, moving = starts.clone(), torch.arange(len(starts), device=starts.device)
    rests = torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
    for _ in range(most):
        y = f(x[moving])
        moved = distances(y, x[moving])
        bounded = y.abs().amax(1) < FAR  # nan is not
        x[moving[bounded]] = y[bounded]
        rests[moving[bounded & (moved < tolerance)]] = True
        moving = moving[bounded & (moved >= tolerance)]
        if not len(moving):
            break
    return x, rests


def distances(x: Tensor, y: Tensor) -> Tensor:
    """The root mean square over pixels [n] of the differences of pictures [n, d]."""
    return (x - y).square().mean(1).sqrt()


def nearest(x: Tensor, stored: Tensor) -> tuple[Tensor, Tensor]:
    """The distance [n], as in `distances`, from pictures [n, d] to the nearest of those stored [m, d], and its row."""
    apart, row = torch.cdist(x, stored, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return apart / x.shape[1] ** 0.5, row


def off_span(x: Tensor, stored: Tensor) -> Tensor:
    """The part of pictures [n, d] that no linear combination of those stored [m, d] makes."""
    basis = torch.linalg.svd(stored.double(), full_matrices=False)
    rows = basis.Vh[1e-9 * basis.S[0] < basis.S]
    return (x.double() - x.double() @ rows.T @ rows).to(x)


def cycles(n: int, length: int) -> Tensor:
    """The row [n] that follows each of n rows, where each `length` rows in turn are a cycle; 1: every row is its own.

    Raises Problem where the rows do not come out even.
    """
    if length < 1 or n % length:
        raise Problem(f"{n} pictures cannot be parted into cycles of {length}; let `examples` be a multiple of `cycle`")
    return torch.arange(n).view(-1, length).roll(-1, 1).flatten()


class Cosid(nn.Module):
    """cos(x) - x, the nonlinearity with which the paper stores 500 pictures (1909.12362, sec. 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cos() - x
