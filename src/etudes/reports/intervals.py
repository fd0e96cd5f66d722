"""The small drawing of a claim's interval, on an axis that it shares with the claims that it can be compared with."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etudes.core.verdicts import Verdict, from_scale, to_scale
from etudes.reports.numbers import NONE, estimate, figure

WIDTH = 340  # pixels of a claim's drawing
APART = 38  # pixels between two numbers below an axis, at least

KEY = (
    "In the drawings the shaded range is where the claim puts the number, circles are seeds, the dot is their mean "
    "with its interval, and a hollow diamond the paper's own figure; a bar below the axis is the margin within which a "
    "difference is too small to matter. Claims about one metric share one axis, and so do all ratios, whose axis is "
    "logarithmic."
)


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, evenly or in its logarithm."""

    low: float
    high: float
    log: bool = False

    def x(self, value: float) -> float:
        """The pixel of a value; of one beyond an end, the end's."""
        low, high, at = (self._along(v) for v in (self.low, self.high, min(max(value, self.low), self.high)))
        return round((at - low) / (high - low) * WIDTH, 1)

    def _along(self, value: float) -> float:
        return math.log(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round numbers from end to end, those that matter most first."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [digit * 10.0**power for digit in (1, 2, 5) for power in powers]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
            step *= next(factor for factor in (5, 2, 1) if (self.high - self.low) / (factor * step) >= 2)
            first = math.ceil(self.low / step)
            values = [i * step for i in range(first, math.floor(self.high / step) + 1)]
        return sorted((v for v in values if self.low <= v <= self.high), key=lambda v: v != 0)


def axis(verdicts: Iterable[Verdict]) -> Axis:
    """One for all seeds, intervals and expected ranges of these verdicts, and for the paper's figures."""
    claims = list(verdicts)
    points = [
        point
        for v in claims
        for point in (v.low, v.high, *v.values, *v.claim.expect.ends, v.claim.paper)
        if math.isfinite(point)
    ]
    log = all(v.claim.kind == "ratio" for v in claims) and min(points) > 0
    if log:
        room = (max(points) / min(points)) ** 0.1 if max(points) > min(points) else 1.1
        return Axis(min(points) / room, max(points) * room, log)
    room = 0.1 * ((max(points) - min(points)) or abs(points[0]) or 1.0)
    bounded = all(v.claim.kind == "correlation" for v in claims)
    low, high = (-1.0, 1.0) if bounded else (-math.inf, math.inf)
    return Axis(max(low, min(points) - room), min(high, max(points) + room))


def axes(verdicts: Sequence[Verdict]) -> list[Axis]:
    """The axis of each verdict: differences of one metric share one, as do numbers of one metric, and all ratios."""

    def comparable(verdict: Verdict) -> object:
        if verdict.claim.kind != "difference":
            return verdict.claim.kind
        if not verdict.reads:
            return verdict.sentence
        return len({*verdict.reads}) > 1, frozenset(metric for _, metric in verdict.reads)

    groups: dict[object, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(comparable(verdict), []).append(verdict)
    shared = {group: axis(members) for group, members in groups.items()}
    return [shared[comparable(verdict)] for verdict in verdicts]


def forest(verdict: Verdict, shared: Axis | None = None) -> str:
    """A claim's confidence interval and seeds over the range where the claim puts the number, as an SVG element.

    The paper's figure is a hollow diamond below them. "" without numbers. The page gives the classes their colours.
    """
    if not verdict.values:
        return ""
    expect, judged, place = verdict.claim.expect, math.isfinite(verdict.low), shared or axis([verdict])
    x = place.x
    left, right = x(max(expect.low, place.low)), x(min(expect.high, place.high))
    parts = [f'<rect class="expected" x="{left}" y="1" width="{right - left:.1f}" height="31"/>']
    parts += [f'<line class="end" x1="{x(end)}" x2="{x(end)}" y1="1" y2="36"/>' for end in expect.ends]
    if not math.isnan(verdict.claim.matters):
        near, far = (
            x(from_scale(verdict.claim, to_scale(verdict.claim, expect.ends[0]) + sign * verdict.claim.matters))
            for sign in (-1, 1)
        )
        parts.append(f'<line class="margin" x1="{near}" x2="{far}" y1="34.5" y2="34.5"/>')
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="32" y2="32"/>')
    parts += _numbers(verdict, place)
    parts += [f'<circle class="seed" cx="{x(value)}" cy="23" r="2.6"/>' for value in verdict.values]
    if math.isfinite(verdict.claim.paper):
        parts.append(f'<path class="paper" d="M{x(verdict.claim.paper)} 27.5l4.5 4.5-4.5 4.5-4.5-4.5z"/>')
    if judged:
        parts.append(f'<line class="reach" x1="{x(verdict.low)}" x2="{x(verdict.high)}" y1="11" y2="11"/>')
    parts.append(f'<circle class="mean" cx="{x(verdict.mean)}" cy="11" r="4.2"/>')
    size = f'viewBox="-6 0 {WIDTH + 12} 52" width="{WIDTH + 12}" height="52"'
    return f'<svg class="forest" role="img" aria-label="{_words(verdict)}" {size}>{"".join(parts)}</svg>'


def _numbers(verdict: Verdict, place: Axis) -> list[str]:
    """The ends of the expected range below the axis, and of its round numbers those for which there is room."""
    ends = verdict.claim.expect.ends
    labels = [(place.x(end), figure(end), "end") for end in ends]
    if len(labels) == 2 and abs(labels[1][0] - labels[0][0]) < 2 * APART:  # the two would lie over each other
        labels = [((labels[0][0] + labels[1][0]) / 2, " to ".join(map(figure, ends)), "end")]
    parts = []
    for tick in place.ticks():
        if all(abs(place.x(tick) - at) >= APART * (1 + 0.3 * (len(text) > 6)) for at, text, _ in labels):
            labels.append((place.x(tick), figure(tick), "tick"))
            parts.append(f'<line class="axis" x1="{place.x(tick)}" x2="{place.x(tick)}" y1="32" y2="36"/>')
    for at, text, kind in labels:
        side = "start" if at < 20 else "end" if at > WIDTH - 20 else "middle"
        parts.append(f'<text class="{kind}" x="{at:.1f}" y="49" text-anchor="{side}">{text}</text>')
    return parts


def _words(verdict: Verdict) -> str:
    claim = verdict.claim
    mean, interval = estimate(
        verdict.mean, verdict.low, verdict.high, claim.expect.ends, even=claim.kind == "difference"
    )
    said = f"mean {mean}, expected {claim.expect}"
    said += f", interval {interval}" if interval != NONE else ""
    return said + (f", the paper's figure {figure(claim.paper)}" if math.isfinite(claim.paper) else "")
