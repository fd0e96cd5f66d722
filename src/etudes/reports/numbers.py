"""How a report rounds and writes numbers: one rule for the tables, the page, the terminal and the JSON."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

NONE = "–"
Value = TypeVar("Value")


def tidy(value: float, digits: int = 6) -> float:
    """The value with so many significant digits; whole numbers stay as they are."""
    if not math.isfinite(value) or value == int(value):
        return value
    return float(f"{value:.{digits}g}")


def plain(value: Any) -> Any:
    """The value as JSON can hold it: floats tidied, nan and infinities as null, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return tidy(value) if math.isfinite(value) else None
    return value


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, "0.0421" or "3.20e-07"; whole numbers in full, "11,173,962"; "–" for nan and None."""
    if value is None or math.isnan(value):
        return NONE
    sign, size = ("−" if value < 0 else ""), tidy(abs(value))
    if size == math.inf:
        return sign + "∞"
    if size == int(size) and size < 1e12:
        return f"{sign}{int(size):,}"
    if 10 ** (digits - 1) <= size < 1e12:
        return f"{sign}{size:,.0f}"
    if 1e-4 <= size < 10 ** (digits - 1):
        return sign + f"{size:#,.{digits}g}".rstrip(".")
    return f"{sign}{size:.{min(digits, 3) - 1}e}"


def figure(value: float | None) -> str:
    """A number that somebody wrote, such as the paper's, with the digits that it was written with.

    One with more than four was computed from others, and gets three.
    """
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.12g}".replace("-", "−", 1)
    written = sum(sign.isdigit() for sign in text.partition("e")[0].lstrip("−0."))
    return number(value, 3) if "." in text and written > 4 else text


def spread(mean: float | None, deviation: float | None) -> str:
    """ "0.342 ± 0.0083": a mean and, where there is one, the standard deviation with two significant digits.

    The mean has as many decimals; without a deviation it has three significant digits.
    """
    if mean is None or math.isnan(mean):
        return NONE
    if deviation is None:
        return number(mean, 3)
    if not deviation > 1e-9 * abs(mean):  # what rounding leaves of numbers that are all the same
        return number(mean).rstrip("0").rstrip(".") if "." in number(mean) else number(mean)
    if 0 < abs(mean) < 1e-4 or deviation < 1e-9:
        return f"{number(mean, 3)} ± {number(deviation, 2)}"
    places = _places(deviation, 2)
    return f"{_fixed(mean, places)} ± {_fixed(deviation, places)}"


def estimate(mean: float, low: float, high: float, ends: Sequence[float] = (), *, even: bool = True) -> tuple[str, str]:
    """A mean and its interval, "−0.011" and "[−0.021, −0.001]", with the decimals that the interval's width bears, and
    one more where an end would else look like one of `ends`. Not `even`, as of ratios: three significant digits each.
    """
    if not math.isfinite(low) or not math.isfinite(high):
        return number(mean, 3), NONE
    half = (high - low) / 2
    if not even or half <= 1e-9 * abs(mean) or half < 1e-6 or half >= 1e6:
        return number(mean, 3), f"[{number(low, 3)}, {number(high, 3)}]"
    places = _places(half, 2)
    near = min((abs(point - end) for point in (low, high) for end in ends if point != end), default=half)
    places = max(places, min(_places(near, 1), places + 2))
    return _fixed(mean, places), f"[{_fixed(low, places)}, {_fixed(high, places)}]"


def _places(size: float, digits: int) -> int:
    """The decimals, negative for tens and more, that leave a size so many significant digits."""
    return digits - 1 - math.floor(math.log10(size))


def _fixed(value: float, places: int) -> str:
    rounded = round(value, places)
    return f"{'−' if rounded < 0 else ''}{abs(rounded):,.{max(0, places)}f}"


def span(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"


def thin(values: Sequence[Value], most: int) -> list[Value]:
    """At most so many of the values, evenly spaced, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
