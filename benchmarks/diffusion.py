"""Training a diffusion network against the libraries that people take, in one run: etudes bench diffusion

ours       `etudes.nn.unet` and `etudes.generate.diffusion` by the usual path: the precision and the memory format that
           the project chooses for this machine
diffusers  UNet2DModel, DDPMScheduler and EMAModel: the same network, parameter for parameter
denoising-diffusion-pytorch
           Unet, GaussianDiffusion and the ema-pytorch that it trains with, at the same width: a tenth fewer parameters
           and nearly the same arithmetic, in two blocks less and six linear attentions more, which belong to it

A step draws noise for 32 pictures of 32x32, predicts it, descends by the same Adam and moves the average of the weights
by the library's own class. Every peer runs at its default, fp32, and given bf16 autocast. Goal: at least 1.5 times the
pictures a second of a peer at its default.

The contenders take turns of a few steps, each round beginning with another one; the table has the medians over the
rounds of pictures a second and of ours over theirs in the same round. A peer that is not installed is named and left
out: pip install diffusers denoising-diffusion-pytorch. (The latter imports torchvision for its folders of pictures; an
empty module stands in for it where it is missing, as nothing of it is run here.)
"""

import contextlib
import importlib.metadata
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.generate.diffusion import Diffusion, linear
from etudes.nn.unet import UNet
from etudes.train.ema import EMA
from etudes.train.precision import has_bf16
from etudes.train.recipe import Sgd, descend, scheduled, seeded

WIDTH, MULTIPLIERS, BLOCKS, SIDE, BATCH, STEPS = 32, (1, 2, 2), 2, 32, 32, 1000
BF16 = "bf16" if has_bf16() else "fp32"
DECAY = 0.999


@dataclass
class Contender:
    name: str
    precision: str
    step: Callable[[Tensor], Tensor]  # pictures in [-1, 1] -> loss, after one step of training
    network: nn.Module


def ours(folder: Path) -> Contender:
    run = Run(Spec("bench", "laptop", "plain", 0, {}, BF16), folder)
    model = seeded(run, "init", lambda: UNet(3, WIDTH, MULTIPLIERS, BLOCKS))
    opt = adam(model)
    schedule = scheduled(opt, Sgd(schedule="constant"))
    ema, diffusion = EMA(model, DECAY), Diffusion(linear(STEPS), "noise")

    def step(x: Tensor) -> Tensor:
        noise, t = torch.randn_like(x), torch.randint(STEPS, (len(x),))
        with run.autocast():
            answer = model(diffusion.add_noise(x, noise, t), t)
        loss = descend(functional.mse_loss(answer.float(), diffusion.target(x, noise, t)), opt, schedule)
        ema.update()
        return loss

    return Contender("études", BF16, step, model)


def diffusers(precision: str) -> Contender:
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    model = UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        layers_per_block=BLOCKS,
        block_out_channels=tuple(WIDTH * multiplier for multiplier in MULTIPLIERS),
        down_block_types=("DownBlock2D",) * len(MULTIPLIERS),
        up_block_types=("UpBlock2D",) * len(MULTIPLIERS),
        attention_head_dim=WIDTH * MULTIPLIERS[-1],
        norm_num_groups=8,
    )
    opt, scheduler = adam(model), DDPMScheduler(STEPS)
    ema = EMAModel(model.parameters(), decay=DECAY)

    def step(x: Tensor) -> Tensor:
        noise, t = torch.randn_like(x), torch.randint(STEPS, (len(x),))
        with autocast(precision):
            answer = model(scheduler.add_noise(x, noise, t), t).sample
        loss = down(functional.mse_loss(answer.float(), noise), opt)
        ema.step(model.parameters())
        return loss

    return Contender("diffusers", precision, step, model)


def lucidrains(precision: str) -> Contender:
    with torchvision_or_nothing():
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    import ema_pytorch

    model = Unet(WIDTH, dim_mults=MULTIPLIERS)
    diffusion = GaussianDiffusion(model, image_size=SIDE, timesteps=STEPS, objective="pred_noise")
    opt = adam(model)
    ema = ema_pytorch.EMA(diffusion, beta=DECAY, update_every=1, update_after_step=0)

    def step(x: Tensor) -> Tensor:
        with autocast(precision):
            loss = diffusion(x / 2 + 0.5)
        loss = down(loss, opt)
        ema.update()
        return loss

    return Contender("denoising-diffusion-pytorch", precision, step, model)


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=2e-4, fused=True)


def down(loss: Tensor, opt: torch.optim.Optimizer) -> Tensor:
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss.detach()


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


class Nothing(types.ModuleType):
    """A module of which any part may be imported, and nothing used."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name)


@contextlib.contextmanager
def torchvision_or_nothing() -> Iterator[None]:
    try:
        import torchvision  # noqa: F401

        yield
    except (ImportError, RuntimeError):
        names = ("torchvision", "torchvision.transforms")
        sys.modules.update({name: Nothing(name) for name in names})
        try:
            yield
        finally:
            for name in names:
                del sys.modules[name]


def contenders(folder: Path) -> list[Contender]:
    """Ours, and the peers that can be imported; the others are named."""
    found = [ours(folder)]
    for name, make in {"diffusers": diffusers, "denoising-diffusion-pytorch": lucidrains}.items():
        try:
            found += [make(precision) for precision in dict.fromkeys(("fp32", BF16))]
            print(f"{name} {importlib.metadata.version(name)}")
        except Exception as error:  # whatever a peer's import may raise
            print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
    return found


def compare(found: list[Contender], rounds: int, steps: int) -> list[list[float]]:
    """Pictures a second of each contender, round by round."""
    x = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1
    for contender in found:
        contender.step(x)
    speeds: list[list[float]] = [[] for _ in found]
    for turn in range(rounds):
        for place in range(len(found)):
            at = (turn + place) % len(found)
            begun = time.perf_counter()
            for _ in range(steps):
                loss = found[at].step(x)
            speeds[at].append(steps * BATCH / (time.perf_counter() - begun))
            assert loss.isfinite()
    return speeds


def size(model: nn.Module) -> tuple[str, ...]:
    """Parameters, residual blocks, attentions and GFLOP for one picture forward, as text."""
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, dtype=torch.int64))
    kinds = [type(module).__name__ for module in model.modules()]
    blocks = sum(kind in ("ResBlock", "ResnetBlock2D", "ResnetBlock") for kind in kinds)
    attentions = sum(kind in ("Attention", "LinearAttention") for kind in kinds)
    parameters = sum(p.numel() for p in model.parameters())
    return f"{parameters:,}", f"{blocks}", f"{attentions}", f"{flops.get_total_flops() / 1e9:.3f}"


def main(rounds: int = 11, steps: int = 2) -> None:
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(Path(folder))
        speeds = compare(found, rounds, steps)
    table = Table("library", "precision", "parameters", "blocks", "attentions", "GFLOP", "pictures/s", "ours/theirs")
    for contender, own in zip(found, speeds, strict=True):
        ratios = [mine / other for mine, other in zip(speeds[0], own, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        speed = f"{statistics.median(own):.1f}"
        told = ratio if contender is not found[0] else ""
        table.add_row(contender.name, contender.precision, *size(contender.network), speed, told)
    Console(width=124).print(table)
    print(
        f"batch {BATCH}, {SIDE}x{SIDE}; {rounds} rounds of {steps} steps; goal: 1.5 or more against fp32, the default"
    )


if __name__ == "__main__":
    main()
