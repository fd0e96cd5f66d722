"""Newton's method with conjugate gradients: curvature by Hessian-vector products, a damping, and a line search.

Source: Nocedal and Wright, Numerical Optimization, 2nd edition 2006, algorithm 7.1 (line search Newton-CG).
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from etudes.core.errors import Problem
from etudes.measure.sharpness import Product, hessian_product

ARMIJO, HALVINGS = 1e-4, 25  # the share of the promised decrease that a step must bring; how often it may be halved


def conjugate_gradients(
    product: Product, gradient: Tensor, damping: float, tolerance: float, most: int
) -> tuple[Tensor, int]:
    """About -(H + damping I)^-1 g [p] for a gradient g [p] that is not 0, and the number of products that it took.

    It ends when the residual is `tolerance` times as long as g, after `most` products, or where the curvature along its
    direction is not positive: then with what it has, or with -g if that is nothing (N&W, algorithm 7.1).
    """
    answer, residual = torch.zeros_like(gradient), -gradient
    direction, size = residual, float(residual @ residual)
    goal = tolerance**2 * size
    for count in range(1, most + 1):
        image = product(direction) + damping * direction
        curvature = float(direction @ image)
        if curvature <= 0:
            return (answer if count > 1 else -gradient), count
        answer = answer + (size / curvature) * direction
        residual = residual - (size / curvature) * image
        size, before = float(residual @ residual), size
        if size <= goal:
            return answer, count
        direction = residual + (size / before) * direction
    return answer, most


class NewtonCG(Optimizer):
    """w <- w + t p with (H + damping I) p = -g, t = 1, 1/2, 1/4 ... the first that lowers the loss enough (Armijo).

    The residual of the system is at most min(tolerance, sqrt|g|) of |g|, so that near a minimum convergence is faster
    than linear. `work` in its only group counts what was computed, in gradients of the loss: a Hessian-vector product
    as two, a loss alone as a third. A step that lowers nothing leaves the weights as they are.
    """

    def __init__(
        self, params: Iterable[Tensor], damping: float = 0.0, tolerance: float = 0.5, iterations: int = 50
    ) -> None:
        if damping < 0 or tolerance < 0 or iterations < 1:
            raise Problem(
                f"NewtonCG needs damping and tolerance of 0 or more and an iteration, not {damping:g}, {tolerance:g} "
                f"and {iterations}"
            )
        defaults = {"damping": damping, "tolerance": tolerance, "iterations": iterations, "work": 0.0}
        super().__init__(params, defaults)
        if len(self.param_groups) > 1:
            raise Problem("NewtonCG solves for all parameters at once; give it one group")

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """One step down `closure()`, the loss of the weights as they are; its value before the step, detached."""
        (group,) = self.param_groups
        parameters = group["params"]
        with torch.enable_grad():
            loss = closure()
            gradient = parameters_to_vector(torch.autograd.grad(loss, parameters))
        value, length = float(loss.detach()), float(gradient.norm())
        group["work"] += 1.0
        if length == 0:
            return loss.detach()
        tolerance = min(group["tolerance"], math.sqrt(length))
        product = hessian_product(closure, parameters)
        direction, count = conjugate_gradients(product, gradient, group["damping"], tolerance, group["iterations"])
        group["work"] += 1.0 + 2.0 * count  # the graph of the products is one more gradient
        with torch.no_grad():
            start, slope = parameters_to_vector(parameters), float(gradient @ direction)
            rounding = 4 * torch.finfo(loss.dtype).eps * abs(value)  # a loss that rises by less has not risen
            for halving in range(HALVINGS):
                t = 0.5**halving
                vector_to_parameters(start + t * direction, parameters)
                group["work"] += 1 / 3
                if float(closure()) <= value + ARMIJO * t * slope + rounding:
                    return loss.detach()
            vector_to_parameters(start, parameters)
        return loss.detach()
