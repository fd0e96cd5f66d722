"""The central flow: where gradient descent goes on average while it oscillates (Cohen et al. 2025, arXiv:2410.24206).

Let descent oscillate about w with covariance Sigma. To second order its mean gradient is that of L(w) + <H(w), Sigma>/2
with the Hessian H of the loss L. With one step as the unit of time, the mean then moves by

    dw/dt = -eta (grad L(w) + grad <H(w), Sigma> / 2).

An oscillation grows where its curvature is above 2/eta and dies out below. So Sigma = U X U' in the span U of the top
eigenvectors, and X is what just keeps their curvatures from passing 2/eta: X and the room below 2/eta are both
positive semi-definite, and <X, room> = 0. For one eigenvalue at the edge that is X = max(0, -2 <T, g> / <T, T>), with
g the gradient of the loss and T that of the eigenvalue. Below the edge X is 0, and the flow is gradient flow.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.studies.dynamics.edge_of_stability.objectives import Objective, network
from etudes.train import Rows, fit

if TYPE_CHECKING:
    from etudes.studies.dynamics.edge_of_stability import Config

FOLLOWED = 4  # eigenvalues that the central flow keeps from passing 2/eta
SUBSTEPS = 2  # of the central flow in a time of one step of descent
FINER = 4  # of gradient flow, whose sharpness goes beyond 2/eta: it is stable up to four times that
DISTANCES = ("train/distance-central", "train/distance-flow")
LOSSES = ("train/loss-descent", "train/loss-central", "train/loss-flow")
NUMBERS = (*DISTANCES, *LOSSES, "train/variance", "train/variance-central")


class Curvature(NamedTuple):
    """The gradient [p] of a loss, and of its Hessian the top eigenvalues [k], from the largest, their eigenvectors
    [p, k], and the gradients [k, k, p] of u_i' H u_j for these eigenvectors."""

    gradient: Tensor
    values: Tensor
    vectors: Tensor
    slopes: Tensor


def curvature(objective: Objective, weights: Tensor, guess: Tensor, above: float = 0.0) -> Curvature:
    """The curvature at flat weights [p], from a guess [p, k] of the eigenvectors that is good already, as after a short
    move: the best in the span of the guess and of its product with H. Slopes of those with eigenvalues over `above`."""
    w = weights.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(w), w, create_graph=True)

    def hessian(columns: Tensor, create_graph: bool = False) -> list[Tensor]:
        keep = {"retain_graph": True, "create_graph": create_graph}
        return [torch.autograd.grad(gradient, w, column, **keep)[0] for column in columns.unbind(1)]

    span = torch.linalg.qr(torch.cat([guess, torch.stack(hessian(guess), 1)], 1)).Q
    inner = span.T @ torch.stack(hessian(span), 1)
    values, turn = torch.linalg.eigh((inner + inner.T) / 2)
    k = guess.shape[1]
    values, vectors = values[-k:].flip(0), (span @ turn[:, -k:]).flip(1)
    near = vectors[:, : int((values > above).sum())]
    slopes = w.new_zeros(near.shape[1], near.shape[1], len(w))
    for i, product in enumerate(hessian(near, create_graph=True)):
        for j in range(i + 1):
            (slope,) = torch.autograd.grad(product @ near[:, j], w, retain_graph=True)
            slopes[i, j] = slopes[j, i] = slope
    return Curvature(gradient.detach(), values, vectors, slopes)


def complementary(effect: Tensor, room: Tensor, tolerance: float = 1e-8) -> Tensor:
    """The X >= 0 [k, k] with room + effect X >= 0 and <X, room + effect X> = 0, both semi-definite.

    `effect` [k, k, k, k] is symmetric and positive, so that X minimises <X, effect X>/2 + <room, X> over X >= 0: here
    by alternating directions (ADMM), a linear equation and a projection in turns.
    """
    k = len(room)
    matrix, constant = effect.reshape(k * k, k * k).cpu().numpy(), room.cpu().numpy()
    x = gap = np.zeros((k, k))
    if not k or np.linalg.eigvalsh(constant)[0] >= 0:
        return torch.zeros_like(room)
    weight = matrix.trace() / (k * (k + 1) / 2)  # the mean eigenvalue among symmetric X
    inverse = np.linalg.inv(matrix + weight * np.eye(k * k))
    for _ in range(5000):
        free = (inverse @ (weight * (x - gap) - constant).reshape(-1)).reshape(k, k)
        values, vectors = np.linalg.eigh((free + gap + (free + gap).T) / 2)
        before, x = x, (vectors * values.clip(0)) @ vectors.T
        gap = gap + free - x
        if np.abs(x - before).max() + np.abs(free - x).max() <= tolerance * np.abs(x).max():
            break
    return torch.from_numpy(x).to(room)


def flow(
    objective: Objective, weights: Tensor, guess: Tensor, eta: float, time: float
) -> tuple[Tensor, Curvature, Tensor]:
    """The weights after a short `time` along the central flow, and the curvature and X [j, j] before it.

    One explicit step in which X keeps the eigenvalues, to first order, at most at 2/eta when it ends. Those
    below 0.95 of 2/eta are left alone.
    """
    found = curvature(objective, weights, guess, above=0.95 * 2 / eta)
    j = len(found.slopes)
    room = torch.diag(2 / eta - found.values[:j]) + eta * time * found.slopes @ found.gradient
    effect = eta * time / 2 * torch.einsum("ijp,abp->ijab", found.slopes, found.slopes)
    x = complementary(effect, room)
    pull = torch.einsum("ij,ijp->p", x, found.slopes) / 2
    return weights - eta * time * (found.gradient + pull), found, x


class Trio(nn.Module):
    """Descent's weights [p] before and now, those of its central flow and of gradient flow, and the top eigenvectors
    [p, k] at the central flow: the state that a checkpoint must hold."""

    def __init__(self, before: Tensor, now: Tensor, start: Tensor, vectors: Tensor) -> None:
        super().__init__()
        for name, values in {
            "before": before,
            "now": now,
            "central": start,
            "plain": start,
            "vectors": vectors,
        }.items():
            self.register_buffer(name, values.clone())


def follow(cfg: "Config", run: Run) -> None:
    """Descent on a small network in float64, and from its average after `flows_from` steps on both flows beside it.

    The average (w[t-1] + 2 w[t] + w[t+1]) / 4 has nothing of an oscillation of period 2; w[t] less that is the
    oscillation. The result has means over the second half of the steps with flows.
    """
    objective, now, baseline = network(
        run, cfg.dataset, cfg.flows_examples, cfg.flows_width, "tanh", precision=torch.float64
    )
    eta, steps, before = cfg.flows_step, cfg.flows_steps - cfg.flows_from, now
    for _ in range(cfg.flows_from):
        before, now = now, now - eta * slope(objective, now)[1]
    start = (before + 2 * now + now - eta * slope(objective, now)[1]) / 4
    vectors = torch.from_numpy(run.rng("eigenvectors").standard_normal((len(now), FOLLOWED))).to(now)
    for _ in range(20):  # by when the guess is good
        vectors = curvature(objective, start, vectors, above=math.inf).vectors
    state = Trio(before, now, start, vectors).to(run.device)
    rows = Rows(steps, *NUMBERS)

    def step(i: int) -> dict[str, Tensor]:
        numbers = compare(objective, state, eta)
        rows.put(i, **numbers)
        return numbers

    fit(run, {"state": state, "rows": rows}, step, steps, log_every=min(cfg.measure_every, max(1, steps // 10)))
    run.result(parameters=len(now), **{"train/loss-constant": baseline})
    run.result(**{name: rows[name][steps // 2 :].mean() for name in NUMBERS})


def compare(objective: Objective, state: Trio, eta: float) -> dict[str, Tensor]:
    """Move all three by a time of one step; how far descent was from both flows before, its loss and theirs, and the
    variance of its oscillation, beside what the central flow says of loss and variance."""
    loss, gradient = slope(objective, state.now)
    after = state.now - eta * gradient
    mean, swing = (state.before + 2 * state.now + after) / 4, (state.before - 2 * state.now + after) / 4
    numbers = {
        "train/distance-central": (mean - state.central).norm(),
        "train/distance-flow": (mean - state.plain).norm(),
        "train/variance": swing.square().sum(),
        "train/loss-descent": loss,
        "train/loss-flow": slope(objective, state.plain)[0],
    }
    state.before, state.now, centre = state.now, after, objective(state.central)
    for part in range(SUBSTEPS):
        state.central, found, x = flow(objective, state.central, state.vectors, eta, 1 / SUBSTEPS)
        state.vectors = found.vectors
        if part == 0:  # <H, Sigma> / 2 on top of the loss, with H = 2/eta where it oscillates
            numbers |= {"train/variance-central": x.trace(), "train/loss-central": centre + x.trace() / eta}
    for _ in range(FINER):
        state.plain = state.plain - eta / FINER * slope(objective, state.plain)[1]
    return numbers


def slope(objective: Objective, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The loss at flat weights, and its gradient [p]."""
    w = weights.detach().requires_grad_()
    loss = objective(w)
    return loss.detach(), torch.autograd.grad(loss, w)[0]
