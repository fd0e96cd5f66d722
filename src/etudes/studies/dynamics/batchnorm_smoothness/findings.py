"""What is looked at during training: the landscape along the gradient, and how layers' inputs and gradients shift."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from etudes.core import Run
from etudes.measure.sharpness import along_gradient
from etudes.studies.dynamics.batchnorm_smoothness.idea import covariate_shift
from etudes.studies.dynamics.batchnorm_smoothness.networks import Layer, parts
from etudes.train import Rows

if TYPE_CHECKING:
    from etudes.studies.dynamics.batchnorm_smoothness import Config

COLUMNS = ("loss-variation", "gradient-change", "beta", "turn", "covariate-shift", "covariate-angle", "shift")
Moments = list[tuple[Tensor, Tensor]]  # of each layer means and deviations, [c]


def look(cfg: "Config", run: Run, model: nn.Sequential, x: Tensor, y: Tensor, i: int, lr: float) -> dict[str, float]:
    """The numbers of COLUMNS at step i, on its batch and with its noise held still; the network stays as it is.

    Along the gradient by lr times `distances`: the variation of the loss, the largest change of the gradient, effective
    beta-smoothness. "turn" is the change of the gradient over its length at `share` of the length of all weights:
    neither the scale of weights nor that of the loss is in it. "covariate-shift" and "-angle", 1 - cosine, are means
    over layers, "shift" is how far a step moves the distributions that layers are given.
    """
    probe = copy.deepcopy(model).train()
    parameters = list(probe.parameters())

    def objective() -> Tensor:
        torch.manual_seed(run.seed("noise", i))
        return cross_entropy(probe(x), y)

    walk = along_gradient(objective, parameters, [lr * distance for distance in cfg.distances])
    size = sum(p.detach().square().sum().item() for p in parameters if p.ndim > 1) ** 0.5
    near = along_gradient(objective, parameters, [cfg.share * size / walk.length])
    differences, cosines = covariate_shift(objective, parts(probe), lr)
    before = moments(probe, x, run.seed("noise", i))
    gradients = torch.autograd.grad(objective(), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g
    after = moments(probe, x, run.seed("noise", i + 1))
    numbers = (
        walk.loss_variation,
        walk.gradient_change,
        walk.beta_smoothness,
        near.gradient_change / near.length,
        differences.mean().item(),
        1 - cosines.mean().item(),
        distribution_shift(before, after),
    )
    return dict(zip(COLUMNS, numbers, strict=True))


@torch.no_grad()
def moments(model: nn.Sequential, x: Tensor, seed: int) -> Moments:
    """The mean and the deviation of each channel that each ReLU is given, for pictures x and noise of a seed."""
    torch.manual_seed(seed)
    found = []
    for module in model:
        if isinstance(module, Layer):
            x = module.before(x)
            mean = x.mean((0, 2, 3))
            found.append((mean, (x - mean[:, None, None]).square().mean((0, 2, 3)).sqrt()))
            x = x.relu()
        else:
            x = module(x)
    return found


def distribution_shift(before: Moments, after: Moments) -> float:
    """How far distributions have moved, in deviations: the 2-Wasserstein distance of normal distributions with those
    means m and deviations s, sqrt((m - m')^2 + (s - s')^2), over the root mean square of s and s'; the mean over
    channels and layers."""
    layers = []
    for (mean, deviation), (other_mean, other) in zip(before, after, strict=True):
        distance = ((mean - other_mean).square() + (deviation - other).square()).sqrt()
        layers.append((distance / ((deviation.square() + other.square()) / 2).sqrt().clamp_min(1e-12)).mean())
    return torch.stack(layers).mean().item()


def summary(looks: Rows, losses: Rows, looked: int) -> dict[str, float]:
    """Geometric means over the looks of what varies by factors, plain means of the other columns, and the mean loss of
    the last quarter of steps and of all. A training too short to be looked at has losses alone."""
    loss = losses["loss"]
    numbers = {"train/loss-end": loss[-max(1, len(loss) // 4) :].mean(), "train/loss-whole": loss.mean()}
    for name in COLUMNS if looked else ():
        column = torch.from_numpy(looks[name])
        geometric = name in ("loss-variation", "gradient-change", "beta")
        numbers[f"train/{name}"] = (column.log().mean().exp() if geometric else column.mean()).item()
    return numbers


def put_look(run: Run, looks: Rows, numbers: dict[str, float], i: int, row: int) -> None:
    """Put the numbers of a look at step i into a row of the table, and into the log."""
    looks.put(row, **numbers)
    run.log(i, **{f"train/{name}": number for name, number in numbers.items()})
