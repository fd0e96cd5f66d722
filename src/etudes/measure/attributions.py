"""How much each number of an input adds to a network's answer, and how alike two such accounts are."""

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem
from etudes.data.images import unit
from etudes.measure.error import evaluation_mode


def gradient_times_input(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """x * df_y / dx, [n, c, h, w]: what each number of x: [n, c, h, w], uint8 or float, adds to the logit of its y: [n]
    where the network is linear (Shrikumar et al. 2016, arXiv:1605.01713)."""
    return integrated_gradients(model, x, y, steps=1, middle=1.0)


def integrated_gradients(
    model: nn.Module, x: Tensor, y: Tensor, steps: int = 16, middle: float = 0.5, batch: int = 200
) -> Tensor:
    """x times the mean of df_y / dx along the straight line from 0 to x, [n, c, h, w] (Sundararajan et al. 2017,
    arXiv:1703.01365, eq. 1), the baseline being a black picture.

    The integral is a sum over `steps` points, each in the `middle` of its piece; then the numbers of a picture add up
    to about f_y(x) - f_y(0). In evaluation mode. Raises Problem without a step.
    """
    if steps < 1:
        raise Problem(f"integrated gradients take {steps} steps; give one or more")
    parts: list[Tensor] = []
    with evaluation_mode(model), torch.enable_grad():
        for some, labels in zip(x.split(batch), y.split(batch), strict=True):
            pictures = unit(some)
            total = torch.zeros_like(pictures)
            for k in range(steps):
                at = (pictures * ((k + middle) / steps)).requires_grad_()
                score = model(at).float().gather(1, labels[:, None]).sum()
                total += torch.autograd.grad(score, at)[0]
            parts.append(pictures * total / steps)
    return torch.cat(parts)


def overlap(a: Tensor, b: Tensor, share: float = 0.1) -> float:
    """The mean share, in [0, 1], of the strongest places of a that are among the strongest of b: both [n, c, h, w].

    A place is a pixel, strong by the sum of magnitudes over its channels; `share` of all places of a picture, at least
    one, are its strongest. Raises Problem on shapes that differ.
    """
    if a.shape != b.shape:
        raise Problem(f"attributions {list(a.shape)} and {list(b.shape)} do not fit; give those of the same pictures")
    one, other = (t.abs().sum(1).flatten(1) for t in (a, b))
    count = max(1, round(share * one.shape[1]))
    chosen = [torch.zeros_like(t, dtype=torch.bool).scatter_(1, t.topk(count).indices, True) for t in (one, other)]
    return (chosen[0] & chosen[1]).sum(1).div(count).double().mean().item()


def correlation(a: Tensor, b: Tensor) -> float:
    """The mean, over pictures, of the correlation of their attributions a and b: [n, c, h, w], with their signs.

    A picture whose attributions are all alike counts 0. Raises Problem on shapes that differ.
    """
    if a.shape != b.shape:
        raise Problem(f"attributions {list(a.shape)} and {list(b.shape)} do not fit; give those of the same pictures")
    one, other = (t.flatten(1).double() - t.flatten(1).double().mean(1, keepdim=True) for t in (a, b))
    return torch.nn.functional.cosine_similarity(one, other).mean().item()
