"""What is measured of samples and of critics."""

import math
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.data.drawn import CENTRES, modes
from etudes.data.images import unit
from etudes.exhibits.plane import save_plane
from etudes.exhibits.sheets import save_sheet
from etudes.measure.error import evaluation_mode
from etudes.measure.frechet import frechet, nearest
from etudes.measure.transport import seen_share, sliced_wasserstein, wasserstein
from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.networks import layer_outputs
from etudes.tools.classifier import classifier

if TYPE_CHECKING:
    from etudes.studies.generative.wgan_gp import Config

REACH = 3.0  # of the plane that is drawn, to each side
SHARES = 20  # of the range of weights, in which they are counted


def samples(d: Domain, n: int) -> Tensor:
    """n samples of the trained generator, which is left as it was: batch norm uses its running statistics."""
    if d.generator is None:
        return d.made(n)
    with evaluation_mode(d.generator):
        return torch.cat([d.made(min(500, n - i)) for i in range(0, n, 500)])


def measure_points(run: Run, name: str, d: Domain, made: Tensor) -> None:
    """Put into the result what there is to say of samples in the plane, and draw them."""
    if name in CENTRES:
        covered, near = modes(made, name)
        run.result(**{"test/modes": covered, "test/near-a-mode": near})
    ticks = torch.linspace(-REACH, REACH, 120, device=made.device)
    grid = torch.stack(torch.meshgrid(ticks.flip(0), ticks, indexing="ij")[::-1], -1)
    with evaluation_mode(d.critic):
        values = d.critic(grid.reshape(-1, 2)).reshape(len(ticks), len(ticks))
    save_plane(run.path("critic.png"), values, [d.test[:500], made[:500]], REACH)


def measure_pictures(cfg: "Config", run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result how far samples in [-1, 1] are from the test pictures, and save some."""
    assert d.pictures is not None
    net, missed = classifier(run, d.pictures, cfg.classifier_width, cfg.classifier_steps)

    def features(x: Tensor) -> Tensor:
        with evaluation_mode(net):
            return torch.cat([net[:-1](batch) for batch in ((x + 1) / 2).split(500)])

    train = unit(d.pictures.x if cfg.only < 0 else d.pictures.x[d.pictures.y == cfg.only]).to(run.device) * 2 - 1
    floor = train[torch.from_numpy(run.rng("floor").permutation(len(train))[: len(made)])]
    run.result(
        **{
            "test/frechet": frechet(features(made), features(d.test)),
            "test/frechet-floor": frechet(features(floor), features(d.test)),
            "test/nearest": nearest((made + 1) / 2, (train + 1) / 2).mean(),
            "test/nearest-of-test": nearest((d.test + 1) / 2, (train + 1) / 2).mean(),
            "test/judge-error": missed,
        }
    )
    side = made.shape[-1]
    save_sheet(run.path("samples.png"), ((made[:64] + 1) / 2).clamp(0, 1), 8, max(1, 48 // side))


def measure_samples(run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result how far samples are from the test data: exactly, and in slices."""
    directions = run.rng("directions")
    run.result(
        **{
            "test/distance": wasserstein(made, d.test),
            "test/sliced-distance": sliced_wasserstein(made, d.test, 200, directions),
        }
    )


def measure_critic(run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result what the critic sees of the distance, and what became of its weights and gradients.

    `train/at-clip` is the share of its weights whose size is within a hundredth of the largest one's;
    `train/gradient-decades` the decades between the gradients at its first and its last hidden layer.
    """
    with evaluation_mode(d.critic):
        values = d.critic(d.test), d.critic(made)
    weights = torch.cat([p.detach().flatten() for p in d.critic.parameters()])
    largest = weights.abs().max()
    share, _ = numpy.histogram((weights / largest).cpu().numpy(), SHARES, (-1, 1))
    for i, count in enumerate(share):
        run.log(round(100 * (2 * (i + 0.5) / SHARES - 1)), **{"train/weights": count / len(weights)})
    run.result(
        **{
            "test/seen-share": seen_share(*values, d.test, made),
            "train/at-clip": (weights.abs() > 0.99 * largest).double().mean(),
        }
    )
    if d.pictures is None:
        norms = gradient_norms(d.critic, d.test)
        for layer, norm in enumerate(norms, 1):
            run.log(layer, **{"train/gradient-decade": decade(norm)})
        run.result(**{"train/gradient-decades": abs(decade(norms[0]) - decade(norms[-2]))})


def decade(norm: float) -> float:
    """The decimal logarithm of a norm; of one that vanished altogether that of float32's smallest number."""
    return math.log10(max(norm, torch.finfo(torch.float32).tiny))


def gradient_norms(critic: nn.Sequential, x: Tensor) -> list[float]:
    """For each linear layer, the root of the mean square of the gradient of E f(x) with respect to what the layer gives
    for an example: [n, units], its norm over units, averaged over examples."""
    outputs = layer_outputs(critic, x)
    gradients = torch.autograd.grad(outputs[-1].sum(), outputs)
    return [gradient.flatten(1).norm(dim=1).mean().item() for gradient in gradients]
