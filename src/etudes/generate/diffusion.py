"""Gaussian diffusion of pictures: tables, what the network learns, DDPM and DDIM sampling, SDEdit; and a toy.

Papers: Denoising Diffusion Probabilistic Models, Ho, Jain, Abbeel 2020, arXiv:2006.11239; Improved DDPM, Nichol &
Dhariwal 2021, arXiv:2102.09672 (the cosine schedule); Progressive Distillation, Salimans & Ho 2022, arXiv:2202.00512
(velocity); Denoising Diffusion Implicit Models, Song, Meng, Ermon 2021, arXiv:2010.02502; SDEdit, Meng et al. 2021,
arXiv:2108.01073.

Pictures are scaled to [-1, 1]. An index t is 0 .. T-1, from the least noise to the most, as in the networks' argument.
A level is 0 .. T: level 0 is the clean picture, level k has the noise of index k-1. A network is called as
model(x_t [n, c, h, w], t int64 [n]) and answers with the shape of x_t.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem, unknown
from etudes.measure.error import evaluation_mode

Keep = Callable[[Tensor, int], Tensor]  # (x at a level, that level) -> x to go on with
TARGETS = ("noise", "data", "velocity")


def linear(steps: int) -> Tensor:
    """Variances beta [steps], float64, rising linearly from 1e-4 to 0.02 at 1000 steps (Ho et al. 2020, sec. 4).

    For another number of steps they are scaled by 1000 / steps, so that nothing of the picture is left at the end
    there too. Raises Problem for 20 steps or fewer, whose last variance would reach 1.
    """
    scale = 1000 / steps if steps > 0 else math.inf
    if 0.02 * scale >= 1:
        raise Problem(f"a linear noise schedule of {steps} steps is too coarse; take more than 20 steps, or 'cosine'")
    return torch.linspace(1e-4 * scale, 0.02 * scale, steps, dtype=torch.float64)


def cosine(steps: int) -> Tensor:
    """Variances beta [steps], float64, whose alpha_bar is a squared cosine (Nichol & Dhariwal 2021, eq. 17).

    No variance is above 0.999, as there. Raises Problem without a step.
    """
    if steps < 1:
        raise Problem(f"a cosine noise schedule of {steps} steps is none; take at least 1 step")
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


SCHEDULES = {"linear": linear, "cosine": cosine}


class Diffusion:
    """The chain x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) noise, and what a network says about it.

    `predicts` is what the network's output is: "noise" (Ho et al. 2020, eq. 14), "data" (the clean picture) or
    "velocity", sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x (Salimans & Ho 2022, sec. 4).
    """

    def __init__(self, betas: Tensor, predicts: Literal["noise", "data", "velocity"]) -> None:
        if predicts not in TARGETS:
            raise unknown("target of a diffusion network", predicts, TARGETS)
        self.predicts = predicts
        self.steps = len(betas)
        self.betas = betas.double()
        self.alpha_bar = (1 - self.betas).cumprod(0)

    def _shares(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) [n, 1, ...], rounded to the type of x only here."""
        tables = self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()
        signal, spread = (table.to(x)[t.to(x.device)].reshape(-1, *[1] * (x.ndim - 1)) for table in tables)
        return signal, spread

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t [n, c, h, w] of clean pictures x at the indices t: int64 [n] (Ho et al. 2020, eq. 4)."""
        signal, spread = self._shares(x, t)
        return signal * x + spread * noise

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should answer to add_noise(x, noise, t)."""
        if self.predicts == "noise":
            return noise
        if self.predicts == "data":
            return x
        signal, spread = self._shares(x, t)
        return signal * noise - spread * x

    def to_data(self, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """The clean picture that the network's output stands for."""
        if self.predicts == "data":
            return output
        signal, spread = self._shares(x_t, t)
        return (x_t - spread * output) / signal if self.predicts == "noise" else signal * x_t - spread * output

    def to_noise(self, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """The noise that the network's output stands for."""
        if self.predicts == "noise":
            return output
        signal, spread = self._shares(x_t, t)
        return (x_t - signal * output) / spread if self.predicts == "data" else spread * x_t + signal * output

    def step_back(self, x: Tensor, data: Tensor, level: int, to: int, eta: float) -> tuple[Tensor, float]:
        """Mean and deviation of x at the lower level `to`, from x at `level` and the clean picture expected there.

        eta = 0 is DDIM, of deviation 0. eta = 1 has the posterior's deviation; for neighbouring levels it is the step
        of Ho et al. 2020, eq. 6-7 (the smaller of their two variances), of deviation 0 at the last. Song et al. 2021,
        eq. 12 and 16.
        """
        now = self.alpha_bar[level - 1].item()
        after = self.alpha_bar[to - 1].item() if to else 1.0
        variance = eta**2 * (1 - after) / (1 - now) * (1 - now / after)
        noise = (x - math.sqrt(now) * data) / math.sqrt(1 - now)
        return math.sqrt(after) * data + math.sqrt(max(0.0, 1 - after - variance)) * noise, math.sqrt(variance)


class Blend:
    """A toy that is NOT DDPM: x_t goes from picture to noise on a straight line of equal strides.

    At level k of T = 16, x = (1 - k/T) picture + (k/T) noise; the network predicts the same blend one level below and
    sampling puts it in its own place again and again, adding no noise. It is the method of a well-known tutorial
    (https://tree.rocks, "Make Diffusion model from scratch"), which counts t from noise to picture and takes the mean
    absolute error. Its variance is not preserved on the way, and no likelihood bounds its loss; under the squared
    error each move is an Euler step of rectified flow (Liu, Gong, Liu 2022, arXiv:2209.03003).
    """

    def __init__(self, steps: int = 16) -> None:
        if steps < 1:
            raise Problem(f"a blend of {steps} steps is none; take at least 1 step")
        self.steps = steps

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The blend [n, c, h, w] of level t + 1, for t: int64 [n]."""
        return self._at_level(x, noise, t + 1)

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should answer to add_noise(x, noise, t): the blend one level below."""
        return self._at_level(x, noise, t)

    def _at_level(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        share = (level.double() / self.steps).reshape(-1, *[1] * (x.ndim - 1)).to(x)
        return x + share * (noise - x)


def ddpm(
    model: nn.Module,
    diffusion: Diffusion,
    x: Tensor,
    generator: torch.Generator,
    *,
    start: int | None = None,
    clip: bool = True,
    keep: Keep | None = None,
) -> Tensor:
    """Pictures [n, c, h, w] by ancestral sampling from x at level `start` (all levels unless given).

    Noise is drawn on the CPU from `generator`, whatever the device. With `clip` the clean picture expected at each
    step is held in [-1, 1], and so is the result. `keep(x, level)` may change x after each step (see `sdedit`).
    Ho et al. 2020, algorithm 2, with the posterior's variance.
    """
    levels = range(_begin(diffusion.steps, start), -1, -1)
    return _walk(model, diffusion, x, generator, levels, eta=1.0, clip=clip, keep=keep)


def ddim(
    model: nn.Module,
    diffusion: Diffusion,
    x: Tensor,
    generator: torch.Generator,
    *,
    steps: int,
    eta: float = 0.0,
    start: int | None = None,
    clip: bool = True,
    keep: Keep | None = None,
) -> Tensor:
    """Pictures [n, c, h, w] in `steps` strides over the levels, as equal as rounding allows, from the last level on.

    So T = 10 in 4 steps goes 10, 8, 5, 2, 0. From a lower `start` as many strides are taken as its share of the way,
    rounded up. The noise expected is that which leads to the clipped picture. All else as in `ddpm`, which is eta = 1
    in T steps. Song et al. 2021, eq. 12.
    """
    if not 1 <= steps <= diffusion.steps:
        raise Problem(f"DDIM cannot take {steps} steps over {diffusion.steps} levels; take 1 to {diffusion.steps}")
    start = _begin(diffusion.steps, start)
    count = math.ceil(steps * start / diffusion.steps)
    levels = [round(start - i * start / count) for i in range(count + 1)] if count else [0]
    return _walk(model, diffusion, x, generator, levels, eta=eta, clip=clip, keep=keep)


def unblend(
    model: nn.Module,
    blend: Blend,
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    start: int | None = None,
    clip: bool = True,
    keep: Keep | None = None,
) -> Tensor:
    """Pictures [n, c, h, w] from a blend x at level `start` (pure noise unless given); draws nothing.

    `generator` is there to be called as the other samplers are. With `clip` the result is held in [-1, 1].
    """
    with evaluation_mode(model):
        for level in range(_begin(blend.steps, start), 0, -1):
            x = model(x, torch.full((len(x),), level - 1, device=x.device)).to(x)
            x = x.clamp(-1, 1) if clip and level == 1 else x
            x = keep(x, level - 1) if keep else x
    return x


def sdedit(
    model: nn.Module,
    process: Diffusion | Blend,
    guide: Tensor,
    t0: float,
    generator: torch.Generator,
    *,
    mask: Tensor | None = None,
    sampler: Callable[..., Tensor] = ddpm,
) -> Tensor:
    """Pictures [n, c, h, w] that a trained network makes of `guide`, by noising it to the share t0 of the steps.

    t0 = 0 gives the guide itself, t0 = 1 starts from (nearly) pure noise. `mask`, of a shape that broadcasts to the
    guide's, is 1 where to redraw and 0 where to keep: after each step the kept pixels are the guide's with the noise
    of the level reached, and so in the end exactly the guide's. `sampler` is `ddpm`, `unblend` or a partial `ddim`.
    Meng et al. 2021, sec. 3, on the variance-preserving chain, without repeats; the algorithm with a mask is in their
    appendix. Departure: there kept pixels take the level before the step and so end with a trace of noise.
    """
    if not 0 <= t0 <= 1:
        raise Problem(f"SDEdit's t0 is a share of the steps and cannot be {t0}; take 0 (the guide) to 1 (pure noise)")
    start = round(t0 * process.steps)

    def noisy_guide(level: int) -> Tensor:
        if level == 0:
            return guide
        return process.add_noise(guide, _normal(guide, generator), torch.full((len(guide),), level - 1))

    def keep(x: Tensor, level: int) -> Tensor:
        return torch.where(mask.bool(), x, noisy_guide(level))

    return sampler(model, process, noisy_guide(start), generator, start=start, keep=None if mask is None else keep)


def _walk(
    model: nn.Module,
    diffusion: Diffusion,
    x: Tensor,
    generator: torch.Generator,
    levels: Sequence[int],
    *,
    eta: float,
    clip: bool,
    keep: Keep | None,
) -> Tensor:
    with evaluation_mode(model):
        for level, to in pairwise(levels):
            t = torch.full((len(x),), level - 1, device=x.device)
            data = diffusion.to_data(x, model(x, t).to(x), t)
            data = data.clamp(-1, 1) if clip else data
            x, deviation = diffusion.step_back(x, data, level, to, eta)
            x = x + deviation * _normal(x, generator) if deviation else x
            x = keep(x, to) if keep else x
    return x


def _begin(steps: int, start: int | None) -> int:
    if start is not None and not 0 <= start <= steps:
        raise Problem(f"sampling cannot start at level {start} of {steps}; take 0 to {steps}")
    return steps if start is None else start


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
