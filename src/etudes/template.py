"""smoothing: train on targets that leave a little probability to every class.

A one-hot target q becomes (1 - e) q + e / k over k classes (sec. 7). e = 0 is plain training.

    etudes run smoothing                  0.2 minutes on two cores, 2 variants, 5 seeds
    etudes run smoothing --scale smoke    0.1 minutes, 2 seeds: does it run at all?

The network is less confident with smoothing; whether it errs less stays undecided on digits.

Departures from the paper: digits of 8x8 pixels and one hidden layer, for Inception-v3 on ImageNet.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, lower, within
from etudes.data.images import unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate, evaluation_mode
from etudes.reports.charts import bars, curves
from etudes.train import PictureRecipe, descend, fitted, opened, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "digits"  # a picture set, as listed by `etudes data`
    width: Annotated[int, at_least(1)] = 64  # hidden units
    epsilon: Annotated[float, within(0, 1)] = 0.0  # probability spread over all classes


def smooth(target: Tensor, epsilon: float) -> Tensor:
    """(1 - e) q + e / k for distributions q: [n, k] (sec. 7)."""
    return (1 - epsilon) * target + epsilon / target.shape[1]


def network(inputs: int, width: int, classes: int) -> nn.Module:
    """Pictures [n, c, h, w] of so many numbers to logits [n, classes]."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))


def train(cfg: Config, run: Run) -> None:
    d, _ = opened(cfg, run)
    model = seeded(run, "init", lambda: network(d.x[0].numel(), cfg.width, d.classes))
    opt, schedule = sgd(model, cfg)
    pictures = shown(cfg, run, d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        target = smooth(one_hot(d.y[rows], d.classes), cfg.epsilon)
        return {"train/loss": descend(cross_entropy(model(x), target), opt, schedule)}

    def evaluate() -> dict[str, float]:
        with evaluation_mode(model):
            confidence = model(unit(d.test_x)).float().softmax(1).amax(1).mean().item()
        return {"test/error": error_rate(model, d.test_x, d.test_y), "test/confidence": confidence}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


STUDY = Study(
    name="smoothing",
    question="Does label smoothing make a network less confident, and does it err less?",
    paper=Paper(
        "Rethinking the Inception Architecture for Computer Vision",
        "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna",
        2016,
        "https://arxiv.org/abs/1512.00567",
    ),
    config=Config,
    program=train,
    variants=(Variant("plain"), Variant("smooth", {"epsilon": 0.1}, "as in the paper")),
    scales={
        "smoke": Scale({"steps": 20, "eval_every": 10, "width": 8}, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({"steps": 400, "eval_every": 100}, seeds=5, minutes=0.2),
    },
    claims={
        "with label smoothing the predicted class has a lower mean probability than without": lower(
            "smooth", "plain", "sec. 7", of="test/confidence"
        ),
        "with label smoothing the test error is lower than without": lower("smooth", "plain", "sec. 7", paper=-0.002),
    },
    charts=(bars("test/confidence", "test/error"), curves("test/error")),
)
