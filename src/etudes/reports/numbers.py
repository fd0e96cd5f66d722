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
    """A number that somebody wrote, such as the paper's, with no more digits than it was written with."""
    return NONE if value is None or math.isnan(value) else f"{value:.12g}".replace("-", "−", 1)


def spread(mean: float | None, deviation: float | None) -> str:
    """ "0.3421 ± 0.0083": a mean and, where there is one, the standard deviation with two significant digits."""
    if mean is None or deviation is None:
        return number(mean)
    return f"{number(mean)} ± {number(deviation, 2)}"


def span(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"


def thin(values: Sequence[Value], most: int) -> list[Value]:
    """At most so many of the values, evenly spaced, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
