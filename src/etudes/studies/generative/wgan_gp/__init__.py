"""wgan-gp: a critic whose slope is held near 1 by a penalty, in place of a discriminator or of clipped weights.

A critic f with slopes of at most 1 gives the Wasserstein-1 distance between data and samples, the largest
E f(x) - E f(g(z)), and the generator g lowers it. WGAN clips the weights of f (Arjovsky et al. 2017, arXiv:1701.07875);
WGAN-GP adds a penalty on the slope along lines between data and samples, x^ = e x + (1 - e) g(z), e ~ U(0, 1),

    L = E f(g(z)) - E f(x) + lambda E (|grad f(x^)| - 1)^2     (eq. 3).

    etudes run wgan-gp                    8 minutes on two cores, 16 variants, 5 seeds (to 20 with --until decided)
    etudes run wgan-gp --scale digits     the next step after one digit: all of them; then `fashion`, `faces`

Departures from the papers at laptop scale: points in the plane and pictures of one digit at 16 pixels, small networks,
and learning rates that were chosen for these, for each method alike.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim.lr_scheduler import LambdaLR

from etudes.core import (
    Claim, Paper, Run, Scale, Study, Trial, Variant, above, at_least, below, between, higher, lower, positive,
)  # fmt: skip
from etudes.measure.size import count_parameters
from etudes.measure.transport import wasserstein
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.generative.wgan_gp.domains import Domain, domain
from etudes.studies.generative.wgan_gp.findings import measure_critic, measure_pictures, measure_points, measure_samples, samples
from etudes.studies.generative.wgan_gp.networks import check_critic
from etudes.train import Steps, descend, fit, weights

Method = Literal["wgan-gp", "wgan", "gan"]


@dataclass(frozen=True)
class Config(Steps):
    point_steps: Annotated[int, at_least(1)] = 100_000  # generator steps on points, in place of `steps`
    method: Method = "wgan-gp"  # the penalty; clipped weights; or a discriminator, the control
    data: Literal["8-gaussians", "25-gaussians", "swiss-roll", "pictures"] = "pictures"  # points in the plane, or a set
    dataset: str = "celeba"  # of pictures, as listed by `etudes data`
    only: Annotated[int, at_least(-1)] = -1  # the class of pictures that is generated; -1: all
    side: Annotated[int, at_least(8)] = 64  # pixels of a side: 8, 16, 32 or 64
    generator: Literal["conv", "mlp", "fixed"] = "conv"  # of pictures; "fixed", of points: data with unit Gaussian noise
    generator_norm: Literal["none", "batch"] = "batch"  # after its layers, of pictures
    critic_norm: Literal["none", "batch", "layer"] = "layer"  # after its layers, of pictures
    activation: Literal["relu", "tanh"] = "relu"  # of both networks; with relu the critic of pictures leaks 0.2
    channels: Annotated[int, at_least(1)] = 64  # of the layers at the highest resolution, of pictures
    width: Annotated[int, at_least(1)] = 512  # units of a hidden layer, of points
    depth: Annotated[int, at_least(1)] = 3  # hidden layers, of points
    noise: Annotated[int, at_least(1)] = 128  # numbers that the generator of pictures starts from; of points: 2
    critic_steps: Annotated[int, at_least(1)] = 5  # of the critic for each of the generator
    penalty: Annotated[float, positive] = 10.0  # lambda, of wgan-gp
    one_sided: bool = False  # only slopes above 1 are penalised
    clip: Annotated[float, positive] = 0.01  # largest weight of the critic, of wgan
    penalty_lr: Annotated[float, positive] = 1e-4  # of wgan-gp: Adam, betas 0 and 0.9
    clip_lr: Annotated[float, positive] = 5e-5  # of wgan: RMSProp
    gan_lr: Annotated[float, positive] = 2e-4  # of gan: Adam, betas 0.5 and 0.999
    tested: Annotated[int, at_least(16)] = 1000  # data and samples that the measures compare
    classifier_width: Annotated[int, at_least(1)] = 8  # of the classifier that measures pictures: channels of its stem
    classifier_steps: Annotated[int, at_least(1)] = 2000  # of its training


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, mix: Tensor, one_sided: bool = False) -> Tensor:
    """E (|grad f(x^)| - 1)^2 at x^ = e x + (1 - e) g(z), the last term of eq. 3 without lambda.

    real and made: [n, ...]; mix: e [n], one an example. The norm is over all numbers of an example. `one_sided`: only
    slopes above 1 count (sec. 4; Petzka et al. 2018, arXiv:1709.08894). A linear critic of slope 1 has 0, of slope 2 1.
    """
    between = torch.lerp(made, real, mix.view(-1, *[1] * (real.ndim - 1))).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    excess = gradient.flatten(1).norm(2, dim=1) - 1
    return (excess.relu() if one_sided else excess).square().mean()


def critic_loss(method: Method, real: Tensor, made: Tensor) -> Tensor:
    """What the critic lowers, of its values [n, 1]: E f(g(z)) - E f(x); of a GAN the cross-entropy of both kinds."""
    if method == "gan":
        return softplus(-real).mean() + softplus(made).mean()
    return made.mean() - real.mean()


def generator_loss(method: Method, made: Tensor) -> Tensor:
    """What the generator lowers: -E f(g(z)); of a GAN -E log D(g(z)) (Goodfellow et al. 2014, sec. 3)."""
    return softplus(-made).mean() if method == "gan" else -made.mean()


def estimate(method: Method, real: Tensor, made: Tensor) -> Tensor:
    """The distance between data and samples as the critic tells it: E f(x) - E f(g(z)); of a GAN log 2 - loss / 2, which
    is at most the Jensen-Shannon divergence (Arjovsky et al. 2017, sec. 4)."""
    loss = critic_loss(method, real, made)
    return math.log(2) - loss / 2 if method == "gan" else -loss


def optimiser(cfg: Config, network: nn.Module) -> torch.optim.Optimizer:
    """As each method's paper has it."""
    if cfg.method == "wgan":
        return torch.optim.RMSprop(network.parameters(), cfg.clip_lr)
    if cfg.method == "gan":
        return torch.optim.Adam(network.parameters(), cfg.gan_lr, (0.5, 0.999))
    return torch.optim.Adam(network.parameters(), cfg.penalty_lr, (0.0, 0.9))


def update_critic(cfg: Config, d: Domain, opt: torch.optim.Optimizer, constant: LambdaLR, i: int) -> Tensor:
    """The critic's i-th step; its loss."""
    real = d.real(i)
    with torch.no_grad():
        made = d.made(len(real))
    loss = critic_loss(cfg.method, d.critic(real), d.critic(made))
    if cfg.method == "wgan-gp":
        mix = torch.rand(len(real), device=real.device)
        loss = loss + cfg.penalty * gradient_penalty(d.critic, real, made, mix, cfg.one_sided)
    loss = descend(loss, opt, constant)
    if cfg.method == "wgan":
        with torch.no_grad():
            for weight in d.critic.parameters():
                weight.clamp_(-cfg.clip, cfg.clip)
    return loss


def train(cfg: Config, run: Run) -> None:
    d = domain(cfg, run)
    if cfg.method == "wgan-gp":
        check_critic(d.critic)
    opt = optimiser(cfg, d.critic)
    constant = LambdaLR(opt, lambda _: 1.0)
    parts = {"critic": d.critic, "critic_opt": opt, "critic_lr": constant}
    if d.generator is not None:
        own = optimiser(cfg, d.generator)
        parts |= {"model": d.generator, "opt": own, "lr": LambdaLR(own, lambda _: 1.0)}

    def step(i: int) -> dict[str, Tensor]:
        losses = [update_critic(cfg, d, opt, constant, i * cfg.critic_steps + k) for k in range(cfg.critic_steps)]
        numbers = {"train/critic-loss": torch.stack(losses).mean()}
        if d.generator is not None:
            loss = generator_loss(cfg.method, d.critic(d.made(cfg.batch)))
            numbers["train/generator-loss"] = descend(loss, parts["opt"], parts["lr"])
        return numbers

    def evaluate() -> dict[str, float]:
        made = samples(d, cfg.tested)
        with torch.no_grad():
            told = estimate(cfg.method, d.critic(d.test), d.critic(made))
        return {"test/estimate": told.item(), "test/distance": wasserstein(made, d.test)}

    steps = cfg.steps if d.pictures else cfg.point_steps
    every = max(1, steps // LOOKS)
    fit(run, parts, step, steps, evaluate=evaluate, eval_every=every, log_every=cfg.log_every)
    torch.manual_seed(run.seed("samples"))
    made = samples(d, cfg.tested)
    run.result(parameters=count_parameters(d.generator or d.critic))
    if d.generator is not None:
        told, distances = run.logged("test/estimate"), run.logged("test/distance")
        run.result(**{AGREEMENT: numpy.corrcoef(told, distances)[0, 1]})
        weights.save(run.path("model.safetensors"), d.generator)
    weights.save(run.path("critic.safetensors"), d.critic)
    measure_samples(run, d, made)
    measure_critic(run, d, made)
    if d.pictures:
        measure_pictures(cfg, run, d, made)
    else:
        measure_points(run, cfg.data, d, made)


def nearer(a: str, b: str, where: str, of: str = "test/distance") -> Claim:
    """The claim that a distance is lower under variant `a` than under `b`: their ratio is below 1."""
    number = f"{of} of {a} over that of {b}"
    return Claim(lambda trial: trial[a][of] / trial[b][of], below(1), where, number=number, kind="ratio")


def better_agreement(trial: Trial) -> float:
    """The agreement of the critic's estimate less that of the discriminator's, in Fisher's z."""
    return math.atanh(trial["points-gp"][AGREEMENT]) - math.atanh(trial["points-gan"][AGREEMENT])


def worst_architecture(trial: Trial) -> float:
    """The largest Fréchet distance over the four architectures with the penalty, over that of the GAN."""
    worst = {method: max(trial[f"{method}-{kind}"][FRECHET] for kind in ARCHITECTURES) for method in ("gp", "gan")}
    return worst["gp"] / worst["gan"]


LOOKS = 20  # at the distance during training
AGREEMENT, FRECHET = "test/agreement", "test/frechet"
BARE = {"generator_norm": "none", "critic_norm": "none"}
ARCHITECTURES = {"norm": {}, "plain": BARE, "mlp": BARE | {"generator": "mlp"}, "tanh": BARE | {"activation": "tanh"}}
CRITICS = {"gp": {"method": "wgan-gp"}, "gan": {"method": "gan"}}
BATCH_NORM = {"critic_norm": "batch"}  # as DCGAN has it; a critic with a penalty has layer norm
CIRCLE, ROLL, FIXED = {"data": "8-gaussians"}, {"data": "swiss-roll"}, {"generator": "fixed"}
SMALL = {"batch": 64, "channels": 16, "width": 64, "noise": 32, "penalty_lr": 1e-3, "clip_lr": 1e-3, "gan_lr": 1e-3}
DIGIT = SMALL | {"dataset": "mnist", "side": 16, "steps": 300, "point_steps": 1500, "tested": 500, "classifier_steps": 300}
TINY = DIGIT | {"dataset": "digits", "side": 8, "steps": 4, "point_steps": 6, "tested": 40, "critic_steps": 2}
ALONE = {"seeds": 1, "judges": False, "variants": ("gp-norm",), "threads": 2}

STUDY = Study(
    name="wgan-gp",
    question="Does a penalty on the critic's slope train generators that a GAN and clipped weights do not?",
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
        Variant("points-clip", CIRCLE | {"method": "wgan"}, "with clipped weights"),
        Variant("points-gan", CIRCLE | {"method": "gan"}, "a GAN"),
        Variant("points-one-sided", CIRCLE | {"one_sided": True}, "as points-gp, slopes below 1 are left alone"),
        Variant("roll-gp", ROLL, "a swiss roll, with the penalty"),
        Variant("roll-clip", ROLL | {"method": "wgan"}, "with clipped weights"),
        Variant("critic-gp", CIRCLE | FIXED, "a critic alone, with the penalty, against data with Gaussian noise"),
        Variant("critic-clip", CIRCLE | FIXED | {"method": "wgan"}, "with clipped weights"),
        Variant("deep-gp", ROLL | FIXED | {"depth": 12}, "a critic alone, of twelve hidden layers, with the penalty"),
        Variant("deep-clip", ROLL | FIXED | {"depth": 12, "method": "wgan"}, "with clipped weights"),
        *(
            Variant(f"{name}-{kind}", architecture | critic | (BATCH_NORM if (name, kind) == ("gan", "norm") else {}))
            for name, critic in CRITICS.items()
            for kind, architecture in ARCHITECTURES.items()
        ),
    ),
    scales={
        "smoke": Scale(TINY | {"classifier_width": 1, "classifier_steps": 5}, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(
            DIGIT | {"only": 3}, seeds=(5, 8, 12, 20), minutes=8, offline={"dataset": "digits", "only": -1, "tested": 300}
        ),
        "digits": Scale(DIGIT | {"steps": 2000}, minutes=10, **ALONE),
        "fashion": Scale(DIGIT | {"dataset": "fashion-mnist", "steps": 2000}, minutes=10, **ALONE),
        "paper": Scale({"steps": 200_000, "batch": 64}, seeds=3, minutes=4000),
    },
    claims={
        "with the penalty samples of eight Gaussians are nearer to the data than with clipped weights": nearer(
            "points-gp", "points-clip", "sec. 3.1, fig. 1b"
        ),
        "with the penalty samples of a swiss roll are nearer to the data than with clipped weights": nearer(
            "roll-gp", "roll-clip", "sec. 3.1, fig. 1b"
        ),
        "a critic with the penalty sees more of the exact distance than one with clipped weights": higher(
            "critic-gp", "critic-clip", "sec. 3.1, fig. 1b", of="test/seen-share"
        ),
        "clipping brings more than half of the critic's weights to the clip": between(
            "critic-clip", 0.5, math.inf, "sec. 3, fig. 1a, right", of="train/at-clip"
        ),
        "with clipped weights a deep critic's gradients differ more from layer to layer than with the penalty": lower(
            "deep-gp", "deep-clip", "sec. 3.2, fig. 1a, left", of="train/gradient-decades"
        ),
        "during training the critic's estimate agrees with the exact distance, at a correlation above 0.5": Claim(
            lambda trial: trial["points-gp"][AGREEMENT],
            above(0.5),
            "Arjovsky et al. 2017, sec. 4.2",
            number=f"{AGREEMENT} of points-gp",
            kind="correlation",
        ),
        "the critic's estimate agrees better with the exact distance than the estimate of a GAN's discriminator": Claim(
            better_agreement,
            above(0),
            "Arjovsky et al. 2017, sec. 4.2, fig. 3 and 4",
            number=f"{AGREEMENT} of points-gp less that of points-gan, in Fisher's z",
        ),
        "without any norm WGAN-GP makes pictures nearer to the data than a GAN": nearer(
            "gp-plain", "gan-plain", "sec. 4, fig. 2", of=FRECHET
        ),
        "with an MLP as generator WGAN-GP makes pictures nearer to the data than a GAN": nearer(
            "gp-mlp", "gan-mlp", "sec. 4, fig. 2", of=FRECHET
        ),
        "over four architectures the worst pictures of WGAN-GP are nearer to the data than the GAN's": Claim(
            worst_architecture,
            below(1),
            "sec. 4, table 2, fig. 2",
            number=f"largest {FRECHET} over four architectures, with the penalty over that of the GAN",
            kind="ratio",
        ),
        "a one-sided penalty brings samples of eight Gaussians nearer to the data than a two-sided one": nearer(
            "points-one-sided", "points-gp", "Petzka et al. 2018 (arXiv:1709.08894), sec. 6"
        ),
    },
    words={
        "test/distance": "Wasserstein distance to the test data",
        "test/sliced-distance": "the same in slices",
        "test/modes": "share of the Gaussians covered",
        "test/frechet": "Fréchet distance to the test pictures",
        "test/agreement": "correlation of estimate and distance",
        "test/seen-share": "share of the distance that the critic sees",
        "train/at-clip": "share of weights at their largest size",
        "train/gradient-decades": "decades between first and last gradient",
    },
    idea=gradient_penalty,
    charts=(
        bars(FRECHET),
        pictures("samples.png", title="Digits that were made", says="The first 64 of a run, none chosen."),
        pictures("critic.png", title="What the critic sees", says="Blue: data; orange: samples; level lines: its values."),
        curves("test/distance", "test/estimate", variants=("points-gp", "points-clip", "points-gan")),
        curves("train/weights", variants=("critic-gp", "critic-clip"), step="weight, in per cent of the largest"),
        curves("train/gradient-decade", variants=("deep-gp", "deep-clip"), step="layer"),
        bars("test/distance", "test/agreement"),
    ),
    origin="A9",
)
