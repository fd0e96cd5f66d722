"""What a trajectory of sharpness and loss says in numbers, and what claims read of them."""

import torch
from torch import Tensor

from etudes.core import Claim, Trial
from etudes.core.claims import within

PLATEAU = "train/plateau-over-threshold"


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


def plateau_ratio(trial: Trial) -> float:
    """The plateau of sharpness over that of twice the step size."""
    return trial["gd-x2"]["train/sharpness-plateau"] / trial["gd-x4"]["train/sharpness-plateau"]


def worst_tenth(trial: Trial) -> float:
    """The largest ratio of the mean losses of consecutive tenths of the run at the edge."""
    return trial["gd-x2"]["train/worst-tenth"]


def flow_ratio(trial: Trial) -> float:
    """The last sharpness of gradient flow over the plateau of gradient descent at its edge."""
    return trial["flow"]["train/sharpness"] / trial["gd-x2"]["train/sharpness-plateau"]


def holds(variant: str, where: str) -> Claim:
    """The claim that a variant's plateau of sharpness is within ten per cent of its threshold. A run that diverged held
    nothing, and counts as twice the threshold."""
    return Claim(
        lambda trial: trial[variant][PLATEAU],
        within(0.9, 1.1),
        where,
        paper=1.0,
        number=f"{PLATEAU} of {variant}",
        kind="ratio",
        worst=2.0,
    )


def distance_ratio(trial: Trial) -> float:
    """The distance of averaged descent from its central flow over that from gradient flow."""
    return trial["central"]["train/distance-central"] / trial["central"]["train/distance-flow"]


def loss_ratio(trial: Trial) -> float:
    """The mean loss of descent that the central flow predicts over that of descent."""
    return trial["central"]["train/loss-central"] / trial["central"]["train/loss-descent"]
