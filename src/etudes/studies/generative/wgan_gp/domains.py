"""What is learnt, and by which networks: points in the plane, or pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor, nn

from etudes.core import Problem, Run
from etudes.data.batches import Batches
from etudes.data.drawn import points
from etudes.data.images import Images, images, unit
from etudes.data.sources import find
from etudes.studies.generative.wgan_gp.networks import perceptron, picture_critic, picture_generator
from etudes.tools.faces import FEATURES
from etudes.train import seeded

if TYPE_CHECKING:
    from etudes.studies.generative.wgan_gp import Config

Chance = Callable[..., numpy.random.Generator]
Build = Callable[[str, Callable[[], nn.Sequential]], nn.Sequential]


@dataclass(frozen=True, eq=False)
class Domain:
    """The data of a run and its networks.

    `real(i)` are the data [batch, ...] of the critic's i-th step, `made(n)` are samples by PyTorch's generator, `test`
    [n, ...] are data that no step sees. `generator` is None where it is fixed. `pictures` is the whole set, if any.
    """

    real: Callable[[int], Tensor]
    made: Callable[[int], Tensor]
    test: Tensor
    critic: nn.Sequential
    generator: nn.Module | None
    pictures: Images | None = None
    faces: bool = False  # whether the pictures are of faces


def domain(cfg: "Config", run: Run) -> Domain:
    """The data and networks of a run's settings, noted in env.json. Raises Problem on settings that do not fit."""
    if cfg.data == "pictures":
        return _pictures(cfg, run)
    run.note(data={"dataset": cfg.data, "kind": "drawn", "says": "points in the plane, drawn anew for every step"})
    return plane(cfg, run.rng, lambda name, make: seeded(run, name, make), run.device)


def plane(cfg: "Config", rng: Chance, build: Build, device: torch.device) -> Domain:
    """Points in the plane: `rng(name, step)` draws them, `build(name, make)` makes a network."""
    critic = build("critic", lambda: perceptron(2, cfg.width, cfg.depth, 1, cfg.activation))

    def real(i: int) -> Tensor:
        return points(cfg.data, cfg.point_batch, rng("data", i)).to(device)

    test = points(cfg.data, cfg.tested, rng("test")).to(device)
    if cfg.generator == "fixed":
        pool = points(cfg.data, 10_000, rng("fixed")).to(device)

        def blurred(n: int) -> Tensor:
            chosen = pool[torch.randint(len(pool), (n,), device=pool.device)]
            return chosen + torch.randn_like(chosen)

        return Domain(real, blurred, test, critic, None)
    generator = build("generator", lambda: perceptron(2, cfg.width, cfg.depth, 2, cfg.activation))
    return Domain(real, lambda n: generator(torch.randn(n, 2, device=device)), test, critic, generator)


def _pictures(cfg: "Config", run: Run) -> Domain:
    if cfg.generator == "fixed":
        raise Problem("wgan-gp: a fixed generator is of points; take data 8-gaussians, 25-gaussians or swiss-roll")
    d = images(cfg.dataset)
    faces = find(cfg.dataset).task == "generation"
    if faces and cfg.tested <= FEATURES:
        raise Problem(f"wgan-gp: {FEATURES} features of a face need more samples; set tested above {FEATURES}")
    if not -1 <= cfg.only < d.classes:
        raise Problem(f"wgan-gp: only is {cfg.only}; the classes of {cfg.dataset} are 0 to {d.classes - 1}")
    run.note(data=d.source)
    d = d.resize(cfg.side)
    chosen = [x if cfg.only < 0 else x[y == cfg.only] for x, y in ((d.x, d.y), (d.test_x, d.test_y))]
    x, test = (part.to(run.device) for part in chosen)  # as bytes: a large set has eight gigabytes otherwise
    if len(test) < cfg.tested:
        raise Problem(f"wgan-gp: {cfg.dataset} has {len(test)} such test pictures; tested must be at most that")
    order = torch.from_numpy(run.rng("test").permutation(len(test))[: cfg.tested])
    batches = Batches(len(x), cfg.batch, run.seed("order"))
    critic = seeded(run, "critic", lambda: picture_critic(d.shape, cfg.channels, cfg.critic_norm, cfg.activation))
    shape = (cfg.noise, d.shape, cfg.channels, cfg.generator_norm, cfg.activation, cfg.generator)
    generator = seeded(run, "generator", lambda: picture_generator(*shape))

    def made(n: int) -> Tensor:
        return generator(torch.randn(n, cfg.noise, device=run.device))

    def real(i: int) -> Tensor:
        return 2 * unit(x[batches.at(i).to(run.device)]) - 1

    return Domain(real, made, 2 * unit(test[order]) - 1, critic, generator, d, faces)
