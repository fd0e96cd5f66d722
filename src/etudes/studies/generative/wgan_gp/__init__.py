"""wgan-gp: a critic whose slope is held near 1 by a penalty, in place of a discriminator or of clipped weights.

A critic f with slopes of at most 1 gives the Wasserstein-1 distance between data and samples, the largest
E f(x) - E f(g(z)), and the generator g lowers it. WGAN clips the weights of f (Arjovsky et al. 2017, arXiv:1701.07875);
WGAN-GP adds a penalty on the slope along lines between data and samples, x^ = e x + (1 - e) g(z), e ~ U(0, 1),

    L = E f(g(z)) - E f(x) + lambda E (|grad f(x^)| - 1)^2     (eq. 3).

    etudes run wgan-gp                    4 minutes on two cores, 16 variants, 5 seeds (to 20 with --until decided)
    etudes run wgan-gp --scale digits     all digits, after one; then `fashion`, `faces`, `faces-64`

To expect: clipping gives simple critics and brings weights to the clip; a GAN fails where layers have no norms.

Departures from the papers at laptop scale: points in the plane and pictures of one digit at 16 pixels, small networks,
and learning rates that were chosen for these, for each method alike.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    below,
    between,
    higher,
    lower,
    positive,
)  # fmt: skip
from etudes.measure.error import evaluation_mode
from etudes.measure.size import count_parameters
from etudes.measure.transport import wasserstein
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.generative.wgan_gp.comparisons import (
    AGREEMENT,
    FRECHET,
    KINDS,
    LOSS_TRACKS,
    agrees,
    better_agreement,
    nearer,
    worst_architecture,
)  # fmt: skip
from etudes.studies.generative.wgan_gp.domains import domain
from etudes.studies.generative.wgan_gp.findings import measure, samples
from etudes.studies.generative.wgan_gp.losses import Method, estimate, gradient_penalty
from etudes.studies.generative.wgan_gp.networks import check_critic
from etudes.studies.generative.wgan_gp.steps import optimiser, update_critic, update_generator
from etudes.train import Steps, fit, weights


@dataclass(frozen=True)
class Config(Steps):
    point_steps: Annotated[int, at_least(1)] = 600_000  # of points, in place of `steps`; both networks' steps together
    alone_steps: Annotated[int, at_least(1)] = 500_000  # of a critic of points whose generator is fixed
    point_batch: Annotated[int, at_least(1)] = 256  # of points, in place of `batch`
    method: Method = "wgan-gp"  # the penalty; clipped weights; or a discriminator, the control
    data: Literal["8-gaussians", "25-gaussians", "swiss-roll", "pictures"] = "pictures"  # points in the plane, or a set
    dataset: str = "cifar10"  # of pictures, as listed by `etudes data`
    only: Annotated[int, at_least(-1)] = -1  # the class of pictures that is generated; -1: all
    side: Annotated[int, at_least(8)] = 32  # pixels of a side: 8, 16, 32 or 64
    generator: Literal["conv", "mlp", "fixed"] = "conv"  # of pictures; "fixed", of points: data with Gaussian noise
    generator_norm: Literal["none", "batch"] = "batch"  # after its layers, of pictures
    critic_norm: Literal["none", "batch", "layer"] = "layer"  # after its layers, of pictures
    activation: Literal["relu", "tanh"] = "relu"  # of both networks; with relu the critic of pictures leaks 0.2
    channels: Annotated[int, at_least(1)] = 64  # of the layers at the highest resolution, of pictures
    width: Annotated[int, at_least(1)] = 512  # units of a hidden layer, of points
    depth: Annotated[int, at_least(1)] = 3  # hidden layers, of points
    noise: Annotated[int, at_least(1)] = 128  # numbers that the generator of pictures starts from; of points: 2
    critic_steps: Annotated[int, at_least(1)] = 5  # of the critic for each of the generator; `steps` counts both
    penalty: Annotated[float, positive] = 10.0  # lambda, of wgan-gp
    clip: Annotated[float, positive] = 0.01  # largest weight of the critic, of wgan
    penalty_lr: Annotated[float, positive] = 1e-4  # of wgan-gp: Adam, betas 0 and 0.9
    clip_lr: Annotated[float, positive] = 5e-5  # of wgan: RMSProp
    gan_lr: Annotated[float, positive] = 2e-4  # of gan: Adam, betas 0.5 and 0.999
    tested: Annotated[int, at_least(16)] = 1000  # data and samples that the measures compare
    classifier_width: Annotated[int, at_least(1)] = 8  # of the classifier that measures pictures: channels of its stem
    classifier_steps: Annotated[int, at_least(1)] = 2000  # of its training


def train(cfg: Config, run: Run) -> None:
    d = domain(cfg, run)
    if cfg.method == "wgan-gp":
        check_critic(d.critic)
    opt = optimiser(cfg, d.critic)
    constant = LambdaLR(opt, lambda _: 1.0)
    parts = {"critic": d.critic, "critic_opt": opt, "critic_lr": constant}
    steps, turns = cfg.alone_steps, 1
    if d.generator is not None:
        own = optimiser(cfg, d.generator)
        parts |= {"model": d.generator, "opt": own, "lr": LambdaLR(own, lambda _: 1.0)}
        turns = cfg.critic_steps
        steps = max(1, (cfg.steps if d.pictures else cfg.point_steps) // (turns + 1))

    def step(i: int) -> dict[str, Tensor]:
        losses = [update_critic(cfg, d, opt, constant, i * turns + k) for k in range(turns)]
        numbers = {"train/critic-loss": sum(losses) / turns}
        if d.generator is not None:
            n = cfg.batch if d.pictures else cfg.point_batch
            numbers["train/generator-loss"] = update_generator(cfg, d, parts["opt"], parts["lr"], n)
        return numbers

    def evaluate() -> dict[str, float]:
        made = samples(d, cfg.tested)
        with evaluation_mode(d.critic):
            seen = estimate(cfg.method, d.critic(d.test), d.critic(made))
        return {"test/estimate": seen.item(), "test/distance": wasserstein(made, d.test)}

    fit(run, parts, step, steps, evaluate=evaluate, eval_every=max(1, steps // LOOKS), log_every=cfg.log_every)
    torch.manual_seed(run.seed("samples"))
    made = samples(d, cfg.tested)
    run.result(parameters=count_parameters(d.generator or d.critic))
    if d.generator is not None:
        seen, distances = run.logged("test/estimate"), run.logged("test/distance")
        run.result(**{AGREEMENT: numpy.corrcoef(seen, distances)[0, 1]})
    weights.save(run.path("model.safetensors"), d.generator or d.critic)
    measure(cfg, run, d, made)


LOOKS = 10  # at the distance during training
BARE = {"generator_norm": "none", "critic_norm": "none"}
ARCHITECTURES = {"norm": {}, "plain": BARE, "mlp": BARE | {"generator": "mlp"}, "tanh": BARE | {"activation": "tanh"}}
CRITICS = {"gp": {"method": "wgan-gp"}, "gan": {"method": "gan", "critic_steps": 1}}  # as their papers have it
BATCH_NORM = {"critic_norm": "batch"}  # as DCGAN has it; a critic with a penalty has layer norm
CLIP, GAN, FIXED = {"method": "wgan"}, CRITICS["gan"], {"generator": "fixed"}
CIRCLE = {"data": "8-gaussians", "penalty": 0.1}  # lambda as in the authors' code for points
ROLL = CIRCLE | {"data": "swiss-roll"}
RATES = {"penalty_lr": 1e-3, "clip_lr": 1e-3, "clip": 0.1}
SMALL = RATES | {"batch": 32, "point_batch": 64, "channels": 8, "width": 64, "noise": 32, "classifier_width": 6}
DIGIT = SMALL | {"dataset": "mnist", "side": 16, "steps": 1620, "tested": 400, "classifier_steps": 300}
POINTS = {"point_steps": 4200, "alone_steps": 700}
FEW = {"steps": 24, "point_steps": 24, "alone_steps": 6, "tested": 16, "classifier_width": 1, "classifier_steps": 5}
TINY = DIGIT | FEW | {"dataset": "digits", "side": 8, "batch": 8, "log_every": 2}
GROWN = DIGIT | {"channels": 16, "tested": 1000}
FACES = GROWN | {"dataset": "lfw-faces", "side": 32, "steps": 24_000, "batch": 64, "penalty_lr": 3e-4}
ALONE = {"seeds": 1, "judges": False, "variants": ("gp-norm",), "threads": 2}

STUDY = Study(
    name="wgan-gp",
    question="Does a penalty on its slope make a better critic than clipped weights, and train what a GAN does not?",
    paper=Paper(
        "Improved Training of Wasserstein GANs",
        "Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville",
        2017,
        "https://arxiv.org/abs/1704.00028",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("points-gp", CIRCLE, "eight Gaussians, with the penalty"),
        Variant("points-clip", CIRCLE | CLIP, "with clipped weights"),
        Variant("points-gan", CIRCLE | GAN, "a GAN"),
        Variant("points-gp-10", CIRCLE | {"penalty": 10.0}, "as points-gp, with lambda = 10 as for pictures"),
        Variant("critic-gp", CIRCLE | FIXED, "a critic alone, with the penalty, against data with Gaussian noise"),
        Variant("critic-clip", CIRCLE | FIXED | CLIP, "with clipped weights"),
        Variant("deep-gp", ROLL | FIXED | {"depth": 12}, "a critic alone, of twelve hidden layers, with the penalty"),
        Variant("deep-clip", ROLL | FIXED | CLIP | {"depth": 12}, "with clipped weights"),
        *(
            Variant(f"{name}-{kind}", architecture | critic | (BATCH_NORM if (name, kind) == ("gan", "norm") else {}))
            for name, critic in CRITICS.items()
            for kind, architecture in ARCHITECTURES.items()
        ),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(
            DIGIT | POINTS | {"only": 3},
            seeds=(5, 8, 12, 20),
            minutes=4,
            offline={"dataset": "digits", "only": -1, "tested": 300},
        ),
        "digits": Scale(GROWN | {"steps": 12_000}, minutes=10, **ALONE),
        "fashion": Scale(GROWN | {"dataset": "fashion-mnist", "steps": 12_000}, minutes=10, **ALONE),
        "faces": Scale(FACES, minutes=60, **ALONE),
        "faces-64": Scale(FACES | {"side": 64}, minutes=200, **ALONE),
        "celeba": Scale({"steps": 1_200_000, "batch": 64, "dataset": "celeba", "side": 64}, minutes=4000, **ALONE),
        "paper": Scale({"steps": 1_200_000, "batch": 64}, seeds=3, minutes=4000),
    },
    claims={
        "a critic with the penalty sees more of the exact distance than one with clipped weights": higher(
            "critic-gp", "critic-clip", "sec. 3.1, fig. 1b", of="test/seen-share"
        ),
        "clipping brings more than half of the critic's weights to the clip": between(
            "critic-clip", 0.5, math.inf, "sec. 3, fig. 1a, right", of="train/at-clip"
        ),
        "with clipped weights a deep critic's gradients differ more from layer to layer than with the penalty": lower(
            "deep-gp", "deep-clip", "sec. 3.2, fig. 1a, left", of="train/gradient-decades"
        ),
        "over training a penalised critic's estimate is correlated with the exact distance, by more than 0.5": agrees(
            "points-gp"
        ),
        "over training a clipped critic's estimate is correlated with the exact distance, by more than 0.5": agrees(
            "points-clip"
        ),
        "the estimate of a critic with the penalty agrees better with the exact distance than that of a GAN's "
        "discriminator": Claim(
            better_agreement,
            above(0),
            f"{LOSS_TRACKS}, fig. 3 and 4",
            number=f"{AGREEMENT} of points-gp less that of points-gan, in Fisher's z",
        ),
        "a generator with the penalty covers more of eight Gaussians than a GAN": higher(
            "points-gp", "points-gan", "Arjovsky et al. 2017, sec. 4.3", of="test/modes"
        ),
        "with the penalty samples of eight Gaussians are nearer to the data than with clipped weights": nearer(
            "points-gp", "points-clip", "sec. 5, fig. 3 (on pictures)"
        ),
        "without any norm WGAN-GP makes pictures nearer to the data than a GAN": nearer(
            "gp-plain", "gan-plain", "sec. 5, fig. 2", of=FRECHET
        ),
        "over four architectures the worst pictures of WGAN-GP are nearer to the data than the GAN's": Claim(
            worst_architecture,
            below(1),
            "sec. 5, fig. 2",
            number=f"largest {FRECHET} over four architectures, with the penalty over that of the GAN",
            kind="ratio",
        ),
        "samples of eight Gaussians are nearer to the data with lambda = 0.1 than with lambda = 10": nearer(
            "points-gp", "points-gp-10", "no paper; the authors' code for points"
        ),
    },
    words={
        "test/seen-share": "share of the exact distance that the critic sees",
        "test/frechet": "Fréchet distance of pictures to the data",
        "test/distance": "exact distance of samples to the data",
        "test/agreement": "correlation of the critic's estimate with the exact distance",
        "test/modes": "share of the eight Gaussians covered",
        "train/at-clip": "share of weights at their largest size",
        "train/gradient-decades": "decades between the gradients of first and last layer",
    },
    idea=gradient_penalty,
    charts=(
        bars(
            FRECHET,
            title="Pictures of a digit, four architectures: distance to the data",
            sections={
                "with the penalty": tuple(f"gp-{kind}" for kind in KINDS),
                "a GAN": tuple(f"gan-{kind}" for kind in KINDS),
            },
        ),
        pictures(
            "samples.png",
            title="Digits that were made",
            says="The first 64 of a run, none chosen.",
            variants=("gp-mlp", "gan-mlp"),
        ),
        bars(
            "test/seen-share",
            "train/at-clip",
            title="Critics alone: what they see of the distance, and their weights",
            sections={"critics alone": ("critic-gp", "critic-clip", "deep-gp", "deep-clip")},
        ),
        pictures(
            "critic.png",
            title="What the critic sees",
            says="Blue: data; orange: samples; the darker the higher the critic's value, with level lines.",
            variants=("critic-gp", "critic-clip"),
        ),
        curves(
            "test/distance",
            "test/estimate",
            variants=("points-gp", "points-clip", "points-gan"),
            title="Eight Gaussians: the exact distance, and what the critic makes of it",
        ),
        bars(
            "test/distance",
            "test/agreement",
            "test/modes",
            title="Eight Gaussians: distance, agreement with the critic, Gaussians covered",
            sections={"eight Gaussians": ("points-gp", "points-clip", "points-gan", "points-gp-10")},
        ),
        curves(
            "train/weights",
            variants=("critic-gp", "critic-clip"),
            step="weight, in per cent of the largest",
            title="Share of weights by size",
        ),
        curves(
            "train/gradient-decade",
            variants=("deep-gp", "deep-clip"),
            step="layer",
            title="Size of the gradient by layer, as a power of ten",
        ),
    ),
    origin="A9",
)
