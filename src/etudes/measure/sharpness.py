"""Sharpness: the largest eigenvalue of the Hessian of a training loss.

Gradient descent with step size eta on a quadratic diverges where the sharpness passes 2/eta; Cohen et al. 2021
(arXiv:2103.00065) follow it along the training of networks. The Hessian is never formed: Lanczos needs its products.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem

Product = Callable[[Tensor], Tensor]


def hessian_product(loss_fn: Callable[[], Tensor], parameters: Iterable[Tensor]) -> Product:
    """The map v -> H v for the Hessian H of the scalar `loss_fn()` in all `parameters` together.

    v and H v are flat, `[p]`, in the order of `parameters`, row-major. The graph of the gradient is built here, once,
    and every product is one more backward pass through it (Pearlmutter 1994, "Fast exact multiplication by the
    Hessian"): the product is that of the parameters as they are now, and must be asked for before they are changed in
    place. Parameters on which the loss, or its gradient, does not depend have zero rows. Raises Problem if the loss is
    not a finite scalar that depends on some parameter.
    """
    parameters = list(parameters)
    with torch.enable_grad():
        loss = loss_fn()
        if loss.numel() != 1 or not torch.isfinite(loss).all():
            raise Problem(f"the sharpness needs a loss that is one finite number, not {loss.detach()}")
        if not loss.requires_grad:
            raise Problem("the sharpness needs a loss that depends on the parameters; let them require a gradient")
        grads = torch.autograd.grad(loss.reshape(()), parameters, create_graph=True, materialize_grads=True)
        gradient = torch.cat([g.reshape(-1) for g in grads])

    def product(vector: Tensor) -> Tensor:
        if not gradient.requires_grad:  # a loss that is linear in every parameter
            return torch.zeros_like(gradient)
        rows = torch.autograd.grad(gradient, parameters, vector.to(gradient), retain_graph=True, materialize_grads=True)
        return torch.cat([r.reshape(-1) for r in rows])

    return product


def sharpness(
    product: Product, dimension: int, rng: np.random.Generator, *, scale: Tensor | None = None, tolerance: float = 1e-3
) -> float:
    """The largest eigenvalue, in the algebraic sense, of the symmetric operator `product` on vectors `[dimension]`.

    Lanczos from a start drawn from `rng` (a pure function of both, then) in float64, whatever the precision of the
    products. Power iteration, and Lanczos asked for the largest magnitude, would return a negative eigenvalue where
    that is the larger one. With `scale` = d > 0, `[dimension]`, it is that of D^-1/2 H D^-1/2, which has the
    eigenvalues of D^-1 H and stays symmetric: the preconditioned sharpness of adaptive methods (Cohen et al. 2022,
    arXiv:2207.14484). `tolerance` is relative, and bounds the residual; the eigenvalue is nearer than that, its error
    being of second order. nan where a product is not finite: the parameters or the loss have diverged. Raises Problem
    if a scale is not positive, or nothing converges.
    """
    if scale is not None and (scale.shape != (dimension,) or not (torch.isfinite(scale) & (scale > 0)).all()):
        raise Problem(f"a preconditioner's scale must be {dimension} positive finite numbers, one a parameter")
    root = np.ones(dimension) if scale is None else scale.detach().double().cpu().numpy() ** -0.5

    def apply(vector: np.ndarray) -> np.ndarray:
        image = product(torch.from_numpy(root * vector.reshape(-1))).detach().double().cpu().numpy()
        if not np.isfinite(image).all():
            raise FloatingPointError
        return np.asarray(root * image)

    try:
        return _largest(apply, dimension, rng.standard_normal(dimension), tolerance)
    except FloatingPointError:
        return math.nan


def _largest(apply: Callable[[np.ndarray], np.ndarray], dimension: int, start: np.ndarray, tolerance: float) -> float:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    if dimension == 1:  # ARPACK finds fewer eigenvalues than there are dimensions
        return float(apply(np.ones(1))[0])
    operator = LinearOperator((dimension, dimension), matvec=apply, dtype=np.float64)
    if not apply(start).any():  # a random vector in the kernel: the Hessian is zero, which ARPACK refuses
        return 0.0
    for vectors in (10, 40):  # ten suffice where the top eigenvalue stands apart; a crowded top needs more
        try:
            size = min(vectors, dimension)
            found = eigsh(
                operator, 1, which="LA", v0=start, ncv=size, maxiter=50, tol=tolerance, return_eigenvectors=False
            )
            return float(found[0])
        except ArpackError:
            continue
    raise Problem(f"the largest of {dimension} eigenvalues was not found to {tolerance:g}; raise the tolerance")


class Walk(NamedTuple):
    """What was met along a gradient: the loss, and the gradient's length, at the start; then float64 `[k]` each the
    losses at k places, the l2 distances of their gradients from the first, and how far they are from the start.

    Named as in Santurkar et al. 2018 (arXiv:1805.11604), sec. 3.1 and fig. 4.
    """

    loss: float
    length: float
    losses: Tensor
    changes: Tensor
    distances: Tensor

    @property
    def loss_variation(self) -> float:
        """The largest loss met minus the smallest, the start apart."""
        return (self.losses.max() - self.losses.min()).item()

    @property
    def gradient_change(self) -> float:
        """The largest change of the gradient: small where the gradient is predictive."""
        return self.changes.max().item()

    @property
    def beta_smoothness(self) -> float:
        """The largest change of the gradient over the distance at which it was met: effective beta-smoothness."""
        return (self.changes / self.distances).max().item()


def along_gradient(objective: Callable[[], Tensor], parameters: Iterable[Tensor], steps: Sequence[float]) -> Walk:
    """What is met at w - step * g for each of the steps, where w are all parameters together and g their gradient.

    `objective()` is the loss at the parameters as they are. It must be one function of them, with no new draws and no
    new batch, and is asked for len(steps) + 1 gradients. The parameters end as they began. Raises Problem on steps that
    are not above 0 or where the gradient is zero.
    """
    if not steps or min(steps) <= 0:
        raise Problem(f"steps along the gradient are {tuple(steps)}; give at least one, all above 0")
    parameters = list(parameters)
    loss, gradient = _gradient(objective, parameters)
    length = _norm(gradient)
    if not length:
        raise Problem("there is no way along a gradient that is zero; start from other parameters")
    start = [p.detach().clone() for p in parameters]
    losses, changes = [], []
    try:
        for step in steps:
            with torch.no_grad():
                for p, w, g in zip(parameters, start, gradient, strict=True):
                    p.copy_(w - step * g)
            other_loss, other = _gradient(objective, parameters)
            losses.append(other_loss)
            changes.append(_norm([a - b for a, b in zip(other, gradient, strict=True)]))
    finally:
        with torch.no_grad():
            for p, w in zip(parameters, start, strict=True):
                p.copy_(w)
    numbers = [torch.tensor(column, dtype=torch.float64) for column in (losses, changes, [s * length for s in steps])]
    return Walk(loss, length, *numbers)


def _gradient(objective: Callable[[], Tensor], parameters: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
    with torch.enable_grad():
        loss = objective()
        return loss.item(), list(torch.autograd.grad(loss, parameters, materialize_grads=True))


def _norm(tensors: Iterable[Tensor]) -> float:
    """The l2 norm of all tensors together."""
    return math.sqrt(sum(t.double().square().sum().item() for t in tensors))
