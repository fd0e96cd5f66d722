"""Edge of stability: full-batch gradient descent raises the sharpness to 2/eta and trains on from there.

Sharpness is the largest eigenvalue of the Hessian of the training loss. On a quadratic, gradient descent with step
size eta diverges where it exceeds 2/eta, heavy-ball momentum (2+2b)/eta, and Adam, in the norm that it preconditions
with, (2+2b1)/((1-b1) eta), which is 38/eta for b1 = 0.9. On networks it rises to that threshold, stays there, and the
loss goes up and down from step to step while it falls in the long run.

    etudes run edge-of-stability                    7 minutes on two cores, 10 variants, 5 seeds
    etudes run edge-of-stability --scale cifar10    the same on CIFAR-10 pictures, some 20 minutes

The loss is the sum over outputs of (output - one-hot)^2, halved, averaged over examples: the definition sets the
threshold's scale. All in fp32, and no batch norm, no minibatches: they would blur what is measured.

Departures from the papers: 500 digits and a network of 8,970 parameters, thousands of steps instead of 100,000. The
papers give no tolerance for "hovers"; ours, ten per cent, was chosen after trials with other seeds of the same
pictures. "Gradient flow" is descent with steps so small that they stay far below the threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core.claims import Claim, Trial, above, below, within
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.images import images, unit
from etudes.losses.cross_entropy import one_hot
from etudes.measure.sharpness import hessian_product, sharpness
from etudes.reports.charts import bars, curves
from etudes.train.loop import fit

Objective = Callable[[Tensor], Tensor]  # flat parameters [p] -> loss


@dataclass(frozen=True)
class Config:
    objective: Literal["network", "quadratic"] = "network"  # what is minimised
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, above(2)] = 500  # training pictures, all in every step
    width: Annotated[int, above(1)] = 64  # units of each of the two hidden layers
    activation: Literal["tanh", "relu"] = "tanh"  # between the layers
    rule: Literal["gd", "momentum", "adam"] = "gd"  # how a gradient becomes a step
    gd_step: Annotated[float, above(1e-9)] = 0.1  # step size of plain descent, before `multiple`
    momentum_step: Annotated[float, above(1e-9)] = 0.4  # of heavy-ball momentum
    adam_step: Annotated[float, above(1e-9)] = 1e-3  # of Adam
    multiple: Annotated[float, above(1e-9)] = 1.0  # of the rule's step size; on the quadratic, of 2/sharpness
    beta: Annotated[float, within(0, 1)] = 0.9  # of momentum; beta1 of Adam
    beta2: Annotated[float, within(0, 1)] = 0.999  # of Adam
    steps: Annotated[int, above(20)] = 4000  # steps of a variant of duration 1
    duration: Annotated[float, above(0.5)] = 1.0  # multiple of `steps`
    measure_every: Annotated[int, above(1)] = 25  # steps between measurements; odd, as iterates oscillate with period 2


def threshold(rule: str, step_size: float, beta: float) -> float:
    """The sharpness above which `rule` diverges on a quadratic (2103.00065 for gd and momentum, 2207.14484 for Adam,
    whose sharpness is that of P^-1 H)."""
    return {"gd": 2, "momentum": 2 + 2 * beta, "adam": (2 + 2 * beta) / (1 - beta)}[rule] / step_size


class Descent(nn.Module):
    """The state of a full-batch rule on flat parameters [p]: all that a checkpoint must hold."""

    def __init__(self, weights: Tensor, steps: int, measurements: int) -> None:
        super().__init__()
        self.register_buffer("weights", weights.clone())
        self.register_buffer("velocity", torch.zeros_like(weights))
        self.register_buffer("square", torch.zeros_like(weights))
        self.register_buffer("losses", torch.zeros(steps))
        self.register_buffer("measured", torch.zeros(measurements, dtype=torch.float64))

    def preconditioner(self, gradient: Tensor, t: int, beta: float, beta2: float) -> Tensor:
        """Adam's P_t [p] for its t-th step, from 1: Adam is momentum averaged by `beta` and divided by P_t."""
        self.square.lerp_(gradient.square(), 1 - beta2)
        return (1 - beta**t) * ((self.square / (1 - beta2**t)).sqrt() + 1e-8)

    def move(self, rule: str, gradient: Tensor, step_size: float, beta: float, scale: Tensor | None) -> None:
        """One step along `gradient`: plain, heavy-ball (v = b v - eta g; w += v), or Adam with P = `scale`."""
        if rule == "gd":
            self.weights -= step_size * gradient
        elif rule == "momentum":
            self.velocity.mul_(beta).sub_(gradient, alpha=step_size)
            self.weights += self.velocity
        else:
            self.velocity.lerp_(gradient, 1 - beta)
            self.weights -= step_size * self.velocity / scale


def network(cfg: Config, run: Run) -> tuple[Objective, Tensor, float]:
    """The loss of a two-hidden-layer network on pictures standardised pixel by pixel, its first parameters [p], and
    the loss of the best constant output."""
    d = images(cfg.dataset)
    run.note(data=d.source)
    pick = torch.from_numpy(run.rng("subset").permutation(len(d.x))[: cfg.examples])
    x = unit(d.x[pick]).reshape(len(pick), -1)
    x = ((x - x.mean(0)) / x.std(0).clamp_min(1e-3)).to(run.device)  # a pixel that never changes becomes 0
    y = one_hot(d.y[pick], d.classes).to(run.device)
    sizes = [x.shape[1], cfg.width, cfg.width, d.classes]
    with torch.random.fork_rng():
        torch.manual_seed(run.seed("init"))
        layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]
    parameters = [p.detach() for layer in layers for p in (layer.weight, layer.bias)]
    shapes = [p.shape for p in parameters]
    nonlinear = {"tanh": torch.tanh, "relu": torch.relu}[cfg.activation]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.view(shape) for p, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]
        h = x
        for i in range(0, len(parts), 2):
            h = nn.functional.linear(h if i == 0 else nonlinear(h), parts[i], parts[i + 1])
        return (h - y).square().sum() / (2 * len(x))

    constant = ((y - y.mean(0)).square().sum() / (2 * len(y))).item()
    return loss, torch.cat([p.reshape(-1) for p in parameters]).to(run.device), constant


def quadratic(run: Run) -> tuple[Objective, Tensor, float]:
    """sum_i h_i w_i^2 / 2 with h from 0.01 to 10, from w = +-1: its sharpness is 10 everywhere."""
    h = torch.logspace(-2, 1, 50, device=run.device)
    start = torch.from_numpy(run.rng("start").choice([-1.0, 1.0], size=50)).float().to(run.device)
    return lambda w: (h * w.square()).sum() / 2, start, h.sum().item() / 2


def train(cfg: Config, run: Run) -> None:
    if cfg.objective == "quadratic":
        (objective, weights, baseline), steps, step_size = quadratic(run), 100, cfg.multiple * 2 / 10
    else:
        (objective, weights, baseline), steps = network(cfg, run), round(cfg.steps * cfg.duration)
        step_size = cfg.multiple * {"gd": cfg.gd_step, "momentum": cfg.momentum_step, "adam": cfg.adam_step}[cfg.rule]
    limit = threshold(cfg.rule, step_size, cfg.beta)
    state = Descent(weights, steps, -(-steps // cfg.measure_every)).to(run.device)

    def step(i: int) -> dict[str, Tensor]:
        flat = state.weights.detach().requires_grad_()
        loss = objective(flat)
        (gradient,) = torch.autograd.grad(loss, flat)
        scale = state.preconditioner(gradient, i + 1, cfg.beta, cfg.beta2) if cfg.rule == "adam" else None
        if i % cfg.measure_every == 0 and (loss + gradient.square().sum()).isfinite():  # else fit tells
            product = hessian_product(lambda: objective(flat), [flat])
            found = sharpness(product, len(flat), run.rng("lanczos", i), scale=scale)
            state.measured[i // cfg.measure_every] = found
            run.log(i, **{"train/sharpness": found, "train/threshold": limit})
        state.losses[i] = loss.detach()
        state.move(cfg.rule, gradient, step_size, cfg.beta, scale)
        return {"train/loss": loss.detach()}

    fit(run, {"state": state}, step, steps, log_every=cfg.measure_every)
    measured, losses = state.measured.cpu(), state.losses.double().cpu()
    run.result(**summary(measured, losses, limit, cfg.measure_every))
    run.result(parameters=len(weights), **{"train/loss-constant": baseline})


def summary(measured: Tensor, losses: Tensor, limit: float, every: int) -> dict[str, float]:
    """The numbers of one trajectory, from its sharpness [m], measured `every` steps, and its losses [steps].

    The plateau is the mean over the last third of measurements. Rises are shares of steps on which the loss grew,
    before and after sharpness first reached the threshold (0 after, if it never did). The worst tenth is the largest
    ratio of the mean losses of consecutive tenths of the run: below 1, the loss falls in the long run.
    """
    plateau = measured[-max(1, len(measured) // 3) :].mean().item()
    reached = (measured >= limit).nonzero()
    edge = reached[0].item() * every if len(reached) else len(losses)
    rises = (losses[1:] > losses[:-1]).double()
    tenths = torch.stack([part.mean() for part in losses.tensor_split(10)])
    return {
        "train/loss": losses[-1].item(),
        "train/loss-growth": (losses[-1] / losses[0]).log10().item(),
        "train/sharpness-start": measured[0].item(),
        "train/sharpness": measured[-1].item(),
        "train/sharpness-plateau": plateau,
        "train/plateau-over-threshold": plateau / limit,
        "train/sharpness-rises": (measured[1:] > measured[:-1]).double().mean().item(),
        "train/rises-before": rises[:edge].mean().item() if edge else 0.0,
        "train/rises-after": rises[edge:].mean().item() if edge < len(rises) else 0.0,
        "train/worst-tenth": (tenths[1:] / tenths[:-1]).max().item(),
    }


def _at_threshold(name: str, says: str, where: str, variant: str) -> Claim:
    def plateau(trial: Trial) -> float:
        return trial[variant]["train/plateau-over-threshold"]

    return Claim(name, f"{says}, within ten per cent", where, plateau, within(0.9, 1.1), paper=1.0)


CIFAR = {"dataset": "cifar10", "gd_step": 0.005, "momentum_step": 0.04}
NETWORKS = ("gd-x1", "gd-x2", "gd-x3", "gd-x4", "flow", "relu", "momentum")  # whose sharpness is comparable
COHEN = "Cohen 2021"
ADAPTIVE = "Cohen 2022 (arXiv:2207.14484), abstract"

STUDY = Study(
    name="edge-of-stability",
    question="Does full-batch gradient descent train at the edge of stability, with sharpness near 2 / step size?",
    paper=Paper(
        "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
        "Cohen, Kaur, Li, Kolter, Talwalkar",
        2021,
        "https://arxiv.org/abs/2103.00065",
    ),
    config=Config,
    program=train,
    precision="fp32",
    variants=(
        Variant("gd-x1", {"multiple": 1.0}, "too slow to reach its threshold: the stable control"),
        Variant("gd-x2", {"multiple": 2.0}, "twice the step size"),
        Variant("gd-x3", {"multiple": 3.0}, "three times"),
        Variant("gd-x4", {"multiple": 4.0}, "four times"),
        Variant("flow", {"multiple": 0.5, "duration": 2.0}, "half the step size for as long as gd-x1: gradient flow"),
        Variant("relu", {"activation": "relu", "multiple": 4.0}, "as gd-x4, with ReLU for tanh"),
        Variant("momentum", {"rule": "momentum", "duration": 0.5}, "heavy ball, beta 0.9"),
        Variant("adam", {"rule": "adam", "duration": 0.75}, "sharpness in the norm of its preconditioner"),
        Variant(
            "quadratic-below", {"objective": "quadratic", "multiple": 0.95}, "95 % of the largest stable step size"
        ),
        Variant("quadratic-above", {"objective": "quadratic", "multiple": 1.05}, "105 % of it: must diverge"),
    ),
    scales={
        "smoke": Scale(
            {"steps": 40, "examples": 60, "width": 8, "measure_every": 5}, seeds=2, minutes=0.1, judges=False
        ),
        "laptop": Scale({}, seeds=5, minutes=7),
        "cifar10": Scale(CIFAR, seeds=3, minutes=20),
        "paper": Scale(
            CIFAR | {"examples": 5000, "width": 200, "steps": 100_000, "measure_every": 101}, seeds=3, minutes=600
        ),
    },
    claims=(
        Claim(
            "progressive sharpening",
            "below the threshold, sharpness grows in most intervals between measurements",
            f"{COHEN}, abstract and fig. 1",
            lambda trial: trial["gd-x1"]["train/sharpness-rises"],
            above(0.5),
        ),
        _at_threshold("hovers at 2/eta", "sharpness stays at 2/eta", f"{COHEN}, abstract and fig. 1", "gd-x2"),
        _at_threshold("hovers at half of it", "with twice the step size too", f"{COHEN}, fig. 1", "gd-x4"),
        Claim(
            "lower eta, higher plateau",
            "half the step size has twice the plateau, within ten per cent",
            f"{COHEN}, fig. 1",
            lambda trial: trial["gd-x2"]["train/sharpness-plateau"] / trial["gd-x4"]["train/sharpness-plateau"],
            within(1.8, 2.2),
            paper=2.0,
        ),
        Claim(
            "non-monotone",
            "at the edge the loss rises on more than a tenth of the steps",
            f"{COHEN}, abstract",
            lambda trial: trial["gd-x2"]["train/rises-after"],
            above(0.1),
        ),
        Claim(
            "falls in the long run",
            "at the edge, each tenth of the run has a lower mean loss than the one before",
            f"{COHEN}, abstract",
            lambda trial: trial["gd-x2"]["train/worst-tenth"],
            below(1),
        ),
        Claim(
            "smooth below the edge",
            "a run that never reaches its threshold has a rising loss on fewer than one step in a thousand",
            f"{COHEN}, fig. 1",
            lambda trial: trial["gd-x1"]["train/rises-before"] + trial["gd-x1"]["train/rises-after"],
            below(0.001),
        ),
        Claim(
            "flow passes freely",
            "gradient flow's sharpness ends more than ten per cent above the plateau of gd-x2",
            f"{COHEN}, gradient flow",
            lambda trial: trial["flow"]["train/sharpness"] / trial["gd-x2"]["train/sharpness-plateau"],
            above(1.1),
        ),
        _at_threshold("ReLU", "with ReLU, sharpness stays at 2/eta", f"{COHEN}, abstract", "relu"),
        _at_threshold("momentum", "with momentum it stays at (2 + 2 beta)/eta", f"{COHEN}, momentum", "momentum"),
        _at_threshold("Adam", "Adam's preconditioned sharpness stays at 38/eta", ADAPTIVE, "adam"),
        Claim(
            "a quadratic diverges",
            "on a quadratic, five per cent above 2/eta, the loss grows",
            f"{COHEN}, sec. 2",
            lambda trial: trial["quadratic-above"]["train/loss-growth"],
            above(0),
        ),
    ),
    charts=(
        curves("train/sharpness", facet=True, reference="train/threshold", variants=NETWORKS),
        curves("train/sharpness", facet=True, reference="train/threshold", variants=("adam",), log=True),
        curves("train/loss", facet=True, log=True, variants=(*NETWORKS, "adam")),
        bars("train/plateau-over-threshold"),
        bars("train/rises-before", "train/rises-after"),
    ),
    origin="D7",
)
