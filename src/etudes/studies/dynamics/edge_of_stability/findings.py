"""What a trajectory of sharpness and loss says in numbers."""

import torch
from torch import Tensor


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
