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
from etudes.measure.error import evaluation_mode, predictions
from etudes.measure.frechet import frechet, nearest
from etudes.measure.transport import seen_share, sliced_wasserstein, wasserstein
from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.networks import layer_outputs
from etudes.tools.classifier import classifier
from etudes.tools.faces import face_network

if TYPE_CHECKING:
    from etudes.studies.generative.wgan_gp import Config

REACH = 3.0  # of the plane that is drawn, to each side
POOL = 20_000  # training pictures among which the nearest is looked for
SHARES = 20  # of the range of weights, in which they are counted


def samples(d: Domain, n: int) -> Tensor:
    """n samples of the trained generator, which is left as it was: batch norm uses its running statistics."""
    if d.generator is None:
        return d.made(n)
    with evaluation_mode(d.generator):
        return torch.cat([d.made(min(500, n - i)) for i in range(0, n, 500)])


def measure(cfg: "Config", run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result what there is to say of samples and critic, and save pictures of them."""
    measure_samples(run, d, made)
    measure_critic(run, d, made)
    if d.pictures:
        measure_pictures(cfg, run, d, made)
    else:
        measure_points(run, cfg.data, d, made)


def measure_points(run: Run, name: str, d: Domain, made: Tensor) -> None:
    """Put into the result what there is to say of samples in the plane, and draw them."""
    if name in CENTRES:
        covered, near = modes(made, name)
        run.result(**{"test/modes": covered, "test/near-a-mode": near})
    save_plane(run.path("critic.png"), landscape(d.critic), [d.test, made], REACH)


def landscape(critic: nn.Module, side: int = 120) -> Tensor:
    """The critic's values [side, side] on the plane, from the top left corner (-REACH, REACH) down to the right."""
    device = next(critic.parameters()).device
    ticks = torch.linspace(-REACH, REACH, side, device=device)
    grid = torch.stack(torch.meshgrid(ticks.flip(0), ticks, indexing="ij")[::-1], -1)
    with evaluation_mode(critic):
        return critic(grid.reshape(-1, 2)).reshape(side, side)


def measure_pictures(cfg: "Config", run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result how far samples in [-1, 1] are from the test pictures, and save some."""
    assert d.pictures is not None
    net = face_network().to(run.device) if d.faces else _judge(cfg, run, d, made)

    def features(x: Tensor) -> Tensor:
        with evaluation_mode(net):
            return torch.cat([net(batch) for batch in ((x + 1) / 2).split(200)])

    train = d.pictures.x if cfg.only < 0 else d.pictures.x[d.pictures.y == cfg.only]
    pool = unit(train[:POOL].to(run.device))
    known = features(d.test)
    run.result(
        **{
            "test/frechet": frechet(features(made), known),
            "test/frechet-floor": frechet(features(_floor(d)), known),
            "test/frechet-noise": frechet(features(_noise(run, d)), known),
            "test/nearest": nearest((made + 1) / 2, pool).mean(),
            "test/nearest-of-test": nearest((d.test + 1) / 2, pool).mean(),
        }
    )
    side = made.shape[-1]
    save_sheet(run.path("samples.png"), ((made[:64] + 1) / 2).clamp(0, 1), 8, max(1, 48 // side))


def _judge(cfg: "Config", run: Run, d: Domain, made: Tensor) -> nn.Sequential:
    """The part of a classifier that gives features of pictures; its error, and which classes it sees in the samples, go
    into the result. A class is covered that has at least a quarter of the samples that it is due."""
    assert d.pictures is not None
    net, missed = classifier(run, d.pictures, cfg.classifier_width, cfg.classifier_steps)
    classes = predictions(net, (made + 1) / 2).bincount(minlength=d.pictures.classes) / len(made)
    seen = {"test/classes": (classes >= 0.25 / len(classes)).double().mean()}
    if cfg.only >= 0:
        seen = {"test/recognised": classes[cfg.only]}
    run.result(**{"test/judge-error": missed}, **seen)
    return net[:-1]


def measure_samples(run: Run, d: Domain, made: Tensor) -> None:
    """Put into the result how far samples are from the test data, exactly and in slices; beside it the floor, which is
    other data, and the trivial generator: noise with the mean and the deviation of the data in each coordinate."""
    directions = run.rng("directions")
    run.result(
        **{
            "test/distance": wasserstein(made, d.test),
            "test/distance-floor": wasserstein(_floor(d), d.test),
            "test/distance-noise": wasserstein(_noise(run, d), d.test),
            "test/sliced-distance": sliced_wasserstein(made, d.test, 200, directions),
        }
    )


def _floor(d: Domain) -> Tensor:
    """As many data of training as there are test data: those of its first steps."""
    first = [d.real(0)]
    while sum(map(len, first)) < len(d.test):
        first.append(d.real(len(first)))
    return torch.cat(first)[: len(d.test)]


def _noise(run: Run, d: Domain) -> Tensor:
    """As many draws as there are test data, each coordinate alone, with the mean and the deviation of training data."""
    data = _floor(d)
    drawn = torch.from_numpy(run.rng("noise").normal(size=data.shape)).to(data)
    x = data.mean(0) + data.std(0) * drawn
    return x.clamp(-1, 1) if d.pictures else x


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
