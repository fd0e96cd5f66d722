"""Learning-rate schedules: pure functions from a step to the factor on the peak learning rate."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "decay", "linear", "poly", "restarts", "warmup"]  # the names of SCHEDULES


def constant(step: int, steps: int) -> float:
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 at step 0 to 0 at `steps` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def warmup(step: int, steps: int) -> float:
    """Up a straight line to 1 over the first tenth of the steps (Goyal et al. 2017, arXiv:1706.02677, sec. 2.2), then
    half a cosine down to 0. The line's first step is above 0, its last is 1."""
    rising = max(1, steps // 10)
    return (step + 1) / rising if step < rising else cosine(step - rising, max(steps - rising, 1))


def restarts(step: int, steps: int) -> float:
    """Half cosines over 1/7, 2/7 and 4/7 of the steps, each from 1: warm restarts with periods that double
    (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, T_mult = 2)."""
    begin = 0
    for sevenths in (1, 3, 7):
        end = steps * sevenths // 7
        if step < end:
            break
        begin = end
    return cosine(step - begin, max(end - begin, 1))


def linear(step: int, steps: int) -> float:
    """Down a straight line from 1 at step 0 to 0 at `steps`."""
    return 1 - step / steps


def poly(step: int, steps: int) -> float:
    """(1 - step / steps)^0.9: nearly a straight line to 0 at `steps` (Chen et al. 2017, arXiv:1606.00915, sec. 4.1)."""
    return math.pow(1 - step / steps, 0.9)


def decay(step: int, steps: int) -> float:
    """1, then 0.1 from half of the steps on, 0.01 from three quarters (He et al. 2016, arXiv:1512.03385, sec. 4.2)."""
    return 1.0 if 2 * step < steps else 0.1 if 4 * step < 3 * steps else 0.01


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "decay": decay,
    "linear": linear,
    "poly": poly,
    "restarts": restarts,
    "warmup": warmup,
}
