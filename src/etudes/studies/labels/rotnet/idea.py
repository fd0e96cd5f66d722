"""Turned pictures, the loss of naming their turns, and how far features of a turned picture are from the picture's."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem

TURNS = (2, 4, 8)


def turn(x: Tensor, eighths: int) -> Tensor:
    """Square pictures x: [n, c, s, s], turned counter-clockwise by so many eighths of a full turn.

    Quarters move pixels and change none, so that nothing but the picture tells them. Odd eighths lie between the pixels
    and are interpolated, with zeros outside.
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise Problem(f"only square pictures [n, c, s, s] keep their shape when turned, not {[*x.shape]}")
    if eighths % 2:
        half = 0.5**0.5
        map_back = x.new_tensor([[half, -half, 0], [half, half, 0]]).expand(len(x), 2, 3)  # of places, y downwards
        with torch.autocast(x.device.type, enabled=False):  # bf16 would blur where a pixel comes from
            grid = functional.affine_grid(map_back, list(x.shape), align_corners=False)
            x = functional.grid_sample(x, grid, align_corners=False)
    return torch.rot90(x, eighths // 2, (2, 3))


def disc(x: Tensor) -> Tensor:
    """Pictures x: [n, c, s, s] with zeros outside the largest disc, so that no corner tells an eighth of a turn."""
    side = x.shape[-1]
    place = torch.arange(side, device=x.device) - (side - 1) / 2
    inside = place[:, None].square() + place.square() <= (side / 2) ** 2
    return x * inside


def all_turns(x: Tensor, turns: int) -> tuple[Tensor, Tensor]:
    """Pictures x: [n, c, s, s] in each of 2, 4 or 8 turns: [turns n, c, s, s], with the turn of each, int64 [turns n].

    All turns of a picture are in the batch, those of turn 0 first (Gidaris et al. 2018, sec. 2.2). Two turns are half a
    full one apart. Eight are seen through a disc. Raises Problem on other numbers of turns.
    """
    if turns not in TURNS:
        raise Problem(f"pictures are turned in {', '.join(map(str, TURNS))} ways, not in {turns}")
    seen = disc(x) if turns == 8 else x
    turned = torch.cat([turn(seen, 8 // turns * y) for y in range(turns)])
    return turned, torch.arange(turns, device=x.device).repeat_interleave(len(x))


def rotation_loss(model: Callable[[Tensor], Tensor], x: Tensor, turns: int) -> Tensor:
    """-1 / (n K) sum over i and y of log F(g(x_i, y))_y for n pictures x, in nats (eqs. 2 and 3).

    g(x, y) is x in the y-th of K turns, and F(.)_y the probability that the model gives to that turn.
    """
    seen, which = all_turns(x, turns)
    return functional.cross_entropy(model(seen).float(), which)


def turned_distance(features: Tensor) -> float:
    """How far features move when their picture is turned, as a share of how far two pictures' are apart.

    features: [K, n, d] of n pictures in K turns, the first of them upright. 0: no turn changes them, they are
    invariant. 1: a turned picture is as far from itself as another picture is. Raises Problem where all are the same.
    """
    upright = features[0].double()
    apart = (upright - upright.roll(1, 0)).norm(dim=1).mean()
    if not apart > 0:
        raise Problem("all pictures have the same features; there is no distance to compare with")
    moved = (features[1:].double() - upright).norm(dim=2).mean()
    return (moved / apart).item()
