"""ddpm-sdedit: pictures from noise by denoising diffusion, and edits by the same network without more training.

The chain x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise turns pictures into noise. A U-Net learns to guess the
noise in x_t,

    L_simple = E |noise - net(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, t)|^2,

and walking back makes pictures (Ho et al. 2020). SDEdit noises a guide, such as a rough painting, to the share t0 of
the chain and walks back from there (Meng et al. 2021, arXiv:2108.01073).

    etudes run ddpm-sdedit                 5 minutes on two cores, 5 variants, 5 seeds: sneakers of Fashion-MNIST
    etudes run ddpm-sdedit --scale cars    15 minutes, one variant and seed: automobiles of CIFAR-10, in colour

Look at its sheets first: samples, paintings redrawn at four strengths, and holes that are filled. A redrawn hole leaves
every pixel outside of it as it was.

Distances between sets of pictures are Fréchet distances in the last hidden layer of a small classifier, trained once a
seed on the same set: no FID, and comparable within one seed alone. Departures from the paper: one class of small
pictures, a small network and 100 levels at laptop scale; everywhere the smaller of its two variances, no warm-up of
the learning rate, no clipping of gradients. `blend` is a tutorial's method and no diffusion.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core import Claim, Paper, Problem, Run, Scale, Study, Variant
from etudes.core.claims import at_least, below, between, positive, within
from etudes.data.augment import flip
from etudes.data.batches import Batches
from etudes.data.images import images, unit
from etudes.generate.diffusion import SCHEDULES, Blend, Diffusion
from etudes.nn.unet import UNet
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.generative.ddpm_sdedit.findings import edit, generate
from etudes.studies.generative.ddpm_sdedit.yardstick import Yardstick
from etudes.tools.classifier import classifier
from etudes.train import EMA, Adam, adam, descend, fitted, part, seeded, weights


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    side: Annotated[int, at_least(8)] = 32  # pixels of a side, resized and cropped to a square
    only: Annotated[int, at_least(-1)] = -1  # the class that is generated; -1: all
    flips: bool = False  # random flips left to right
    process: Literal["linear", "cosine", "blend"] = "linear"  # schedule of the variances; or the tutorial's blend
    predicts: Literal["noise", "data", "velocity"] = "noise"  # what the network learns; the blend has its own target
    levels: Annotated[int, at_least(21)] = 1000  # of noise, T; the blend has 16
    few: Annotated[int, at_least(1)] = 10  # strides in which the chain is walked back too
    width: Annotated[int, at_least(4)] = 128  # channels of the U-Net at full resolution, a multiple of 4; below, twice
    stages: Annotated[int, at_least(1)] = 4  # resolutions, each half of the one before
    blocks: Annotated[int, at_least(0)] = 2  # residual blocks a resolution, on the way down
    attend: Annotated[int, at_least(0)] = 16  # pixels of the side at which it attends; 0: in its middle alone
    dropout: Annotated[float, within(0, 1)] = 0.1  # share of values set to zero in residual blocks
    lr: Annotated[float, positive] = 2e-4  # peak learning rate
    schedule: Schedule = "constant"  # learning rate over the steps
    average: Annotated[float, within(0, 1)] = 0.9999  # highest decay of the averaged weights, which sample
    samples: Annotated[int, at_least(16)] = 10_000  # pictures to generate
    guides: Annotated[int, at_least(8)] = 1000  # test pictures painted roughly and redrawn
    tones: Annotated[int, at_least(2)] = 5  # of a painting, in each channel
    classifier_width: Annotated[int, within(1, 16)] = 8  # channels of its stem; distances are in 4 times as many
    classifier_steps: Annotated[int, at_least(1)] = 2000  # of its training


def simple_loss(net: nn.Module, process: Diffusion | Blend, x: Tensor) -> Tensor:
    """L_simple (eq. 14) of pictures x0 [n, c, h, w] in [-1, 1]: the mean of |target - net(x_t, t)|^2 over noise and t.

    x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise; the target is the noise unless the process says otherwise.
    """
    noise, t = torch.randn_like(x), torch.randint(process.steps, (len(x),), device=x.device)
    return (net(process.add_noise(x, noise, t), t).float() - process.target(x, noise, t)).square().mean()


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    if not -1 <= cfg.only < d.classes:
        raise Problem(f"ddpm-sdedit: only is {cfg.only}; the classes of {cfg.dataset} are 0 to {d.classes - 1}")
    run.note(data=d.source)
    d = d.resize(cfg.side)
    net, missed = classifier(run, d, cfg.classifier_width, cfg.classifier_steps)
    chosen = [x if cfg.only < 0 else x[labels == cfg.only] for x, labels in ((d.x, d.y), (d.test_x, d.test_y))]
    y = Yardstick(net, *(unit(x).contiguous().to(run.device) for x in chosen), cfg.only)

    process = Blend() if cfg.process == "blend" else Diffusion(SCHEDULES[cfg.process](cfg.levels), cfg.predicts)
    attention = [stage for stage in range(cfg.stages) if cfg.side >> stage == cfg.attend]
    shape = (d.shape[0], cfg.width, (1, *[2] * (cfg.stages - 1)), cfg.blocks, attention, cfg.dropout)
    model = seeded(run, "init", lambda: UNet(*shape))
    opt, schedule = adam(model, cfg)
    averaged = EMA(model, cfg.average)
    batches = Batches(len(y.train), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        x = y.train[batches.at(i).to(run.device)]
        (x,) = part(2 * (flip(x, run.rng("flip", i)) if cfg.flips else x) - 1)
        loss = descend(simple_loss(model, process, x), opt, schedule)
        averaged.update()
        return {"train/loss": loss}

    def evaluate() -> dict[str, float]:
        return {"test/loss": simple_loss(averaged.model, process, 2 * y.test[:500] - 1).item()}

    parts = {"model": model, "opt": opt, "schedule": schedule, "averaged": averaged}
    run.result(**fitted(run, cfg, parts, step, evaluate), **{"test/judge-error": missed})
    weights.save(run.path("model.safetensors"), averaged.model)
    generate(run, process, {"plain": model, "averaged": averaged.model}, y, cfg.samples, cfg.few)
    edit(run, process, averaged.model, y, cfg.guides, cfg.tones)


def nearer(near: tuple[str, str], far: tuple[str, str], where: str, paper: float = math.nan) -> Claim:
    """The claim that one (variant, Fréchet distance) is lower than another: their ratio, in which the classifier's unit
    cancels, is below 1."""
    number = f"{near[1]} of {near[0]} over {far[1]} of {far[0]}"
    return Claim(lambda t: t[near[0]][near[1]] / t[far[0]][far[1]], below(1), where, paper, number=number, kind="ratio")


SMALL = {"levels": 100, "stages": 3, "blocks": 0, "attend": 0, "dropout": 0.0, "batch": 64, "classifier_steps": 300}
GREY = SMALL | {"side": 16, "width": 16, "tones": 3, "lr": 2e-3, "classifier_width": 6, "samples": 256, "guides": 160}
SNEAKERS = GREY | {"dataset": "fashion-mnist", "only": 7, "steps": 400}
TINY = GREY | {"dataset": "digits", "side": 8, "levels": 21, "few": 5, "width": 4, "stages": 2, "steps": 8}
COLOUR = SMALL | {"flips": True, "width": 32, "lr": 1e-3, "classifier_width": 4, "samples": 200, "guides": 64}
CARS = COLOUR | {"only": 1, "steps": 1800}
ALONE = {"seeds": 1, "judges": False, "variants": ("ddpm",), "threads": 2}  # one long run: no other fills the cores
FEW = {"log_every": 2, "samples": 40, "guides": 16, "classifier_width": 2, "classifier_steps": 10}
DISTANCE = "test/frechet"
SDEDIT = "Meng et al. 2021, sec. 3"
EDITS = "A row: a test picture, the painting made of it, and the painting redrawn at t0 = 0.2, 0.4, 0.6 and 0.8."
REDRAWS = """A row: a test picture; its middle erased, and three redrawings at t0 = 1; its middle painted over as in the
next row's painting, and two redrawings at t0 = 0.6."""

STUDY = Study(
    name="ddpm-sdedit",
    question="Does denoising diffusion make pictures, and can the same network edit them without more training?",
    paper=Paper(
        "Denoising Diffusion Probabilistic Models", "Ho, Jain, Abbeel", 2020, "https://arxiv.org/abs/2006.11239"
    ),
    config=Config,
    program=train,
    variants=(
        Variant("ddpm", says="predicts the noise, linear schedule"),
        Variant("cosine", {"process": "cosine"}, "as ddpm, with the cosine schedule"),
        Variant("data", {"predicts": "data"}, "as ddpm, predicting the clean picture"),
        Variant("velocity", {"predicts": "velocity"}, "as ddpm, predicting a mixture of both"),
        Variant("blend", {"process": "blend"}, "a tutorial's straight line of 16 steps: no diffusion"),
    ),
    scales={
        "smoke": Scale(TINY | FEW, seeds=1, minutes=0.2, judges=False),
        "laptop": Scale(SNEAKERS, seeds=(5, 8, 12, 20), minutes=5, offline={"dataset": "digits", "only": -1}),
        "cars": Scale(CARS, minutes=15, **ALONE),
        "stanford-cars": Scale(CARS | {"dataset": "stanford-cars", "side": 48, "only": -1}, minutes=25, **ALONE),
        "faces": Scale(CARS | {"dataset": "orl-faces", "only": -1}, minutes=25, **ALONE),
        "paper": Scale({"steps": 800_000, "flips": True, "log_every": 100}, seeds=1, minutes=9000, judges=False),
    },
    words={
        DISTANCE: "Fréchet distance of samples to the data",
        "test/frechet-few-ddim": "Fréchet distance of DDIM in ten strides",
        "test/frechet-few-ancestral": "Fréchet distance of ancestral sampling in ten strides",
        "test/frechet-floor": "Fréchet distance of training to test pictures",
        "test/frechet-noise": "Fréchet distance of noise to the data",
        "test/sdedit-least-rise": "smallest step of the distance from the guide, from one t0 to the next",
        "test/sdedit-frechet-20": "Fréchet distance of edits at t0 = 0.2",
        "test/sdedit-frechet-60": "Fréchet distance of edits at t0 = 0.6",
    },
    idea=simple_loss,
    claims={
        "predicting the noise gives samples nearer to the data than predicting the clean picture": nearer(
            ("ddpm", DISTANCE), ("data", DISTANCE), "sec. 3.2"
        ),
        "the cosine schedule gives samples nearer to the data than the linear one": nearer(
            ("cosine", DISTANCE), ("ddpm", DISTANCE), "Nichol and Dhariwal 2021 (arXiv:2102.09672), sec. 3.2"
        ),
        "in ten strides DDIM gives samples nearer to the data than ancestral sampling": nearer(
            ("ddpm", "test/frechet-few-ddim"),
            ("ddpm", "test/frechet-few-ancestral"),
            "Song et al. 2021 (arXiv:2010.02502), table 1",
            paper=13.36 / 41.07,
        ),
        "diffusion gives samples nearer to the data than a tutorial's blend of 16 steps": nearer(
            ("ddpm", DISTANCE), ("blend", DISTANCE), "no paper"
        ),
        "with each larger share of noise t0 SDEdit goes further from its guide": between(
            "ddpm", 0, math.inf, f"{SDEDIT}, fig. 3", of="test/sdedit-least-rise"
        ),
        "SDEdit's pictures are nearer to the data with a share of noise t0 = 0.6 than with 0.2": nearer(
            ("ddpm", "test/sdedit-frechet-60"), ("ddpm", "test/sdedit-frechet-20"), f"{SDEDIT}, fig. 3"
        ),
    },
    revisions=(
        "Ratios of distances are judged as logarithms; the claims on the chain of noise and on the pixels outside of a "
        "hole, which the program cannot miss, are tests alone; looks go on to 20 seeds.",
    ),
    charts=(
        pictures("samples.png", title="Samples", says="The first 64 of a run, none chosen."),
        bars(
            DISTANCE,
            "test/confidence",
            "test/nearest",
            title="Samples: distance to the data, a judge's confidence, distance to the nearest training picture",
        ),
        bars(
            "test/frechet-few-ddim",
            "test/frechet-few-ancestral",
            "test/frechet-few-no-average",
            title="Samples in ten strides: distance to the data, by way of sampling",
        ),
        curves(
            "test/sdedit-l2",
            "test/sdedit-frechet",
            title="SDEdit by strength: distance to the guide and to the data",
            step="share of noise t0, in per cent",
        ),
        pictures("edits.png", title="SDEdit of rough paintings", says=EDITS),
        pictures("redraws.png", title="Erased and redrawn", says=REDRAWS),
        curves(
            "train/loss",
            title="Training loss by what is predicted",
            says="The losses are of different targets and cannot be compared.",
        ),
    ),
    origin="A4",
)
