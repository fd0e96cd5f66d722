"""What a study claims: a sentence, a number per seed, and the interval where the paper puts that number.

claims={
    "mixup has a lower test error than plain training": lower("mixup", "erm", "sec. 3.2", paper=0.042 - 0.056),
}
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from etudes.core.errors import Problem

Trial = Mapping[str, Mapping[str, float]]  # {variant: {metric: number}} under one seed
Measure = Callable[[Trial], float]
Place = str | tuple[str, str]  # a variant, or a variant and the metric that is read there


@dataclass(frozen=True)
class Interval:
    """A range of numbers with its ends: where a claim expects its number, or which values a Config field may have.

    `open`: the ends are not in it.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    @property
    def ends(self) -> list[float]:
        """Those of its ends that are finite."""
        return [end for end in (self.low, self.high) if math.isfinite(end)]

    def __str__(self) -> str:
        if self.low == -math.inf:
            return f"{'below' if self.open else 'at most'} {self.high:g}"
        if self.high == math.inf:
            return f"{'above' if self.open else 'at least'} {self.low:g}"
        return f"between {self.low:g} and {self.high:g}"


def above(low: float) -> Interval:
    """For a claim: the numbers above `low`."""
    return Interval(low, math.inf, open=True)


def below(high: float) -> Interval:
    """For a claim: the numbers below `high`."""
    return Interval(-math.inf, high, open=True)


def within(low: float, high: float) -> Interval:
    """From `low` to `high`, of a claim's number or of a Config field."""
    return Interval(low, high)


def at_least(low: float) -> Interval:
    """For a Config field, as in `Annotated[float, at_least(0)]`: `low` or more."""
    return Interval(low=low)


positive = Interval(low=0, open=True)  # for a Config field: above 0


@dataclass(frozen=True)
class Claim:
    """A number per seed, and the interval where a statement of the paper puts it. Its sentence is its key in a Study.

    `measure` sees the finished numbers of one seed and nothing else; `number` says in words what it gives. `where` is
    the section or table of the paper; `paper` is the paper's own figure, shown apart from ours (nan: it gives none).

    `kind` says on which scale the number varies evenly. A "ratio" is judged as its logarithm, a "correlation" as its
    inverse hyperbolic tangent (Fisher's z). `matters` is the margin, on that scale: a number that differs by less from
    the end of `expect` is too small to matter (nan: none). `worst` is what a seed counts whose run diverged (nan: the
    claim is not judged then, as leaving the seed out would choose survivors).

    Raises Problem on a margin that is not positive or has two ends to be measured from, and on ends that a ratio or a
    correlation cannot have.
    """

    measure: Measure
    expect: Interval
    where: str
    paper: float = math.nan
    matters: float = math.nan
    number: str = ""
    kind: Literal["difference", "ratio", "correlation"] = "difference"
    worst: float = math.nan

    def __post_init__(self) -> None:
        ends = self.expect.ends
        if not ends or self.expect.low >= self.expect.high:
            raise Problem(f"a claim expects its number {self.expect}; give it an end, and the lower one first")
        if not math.isnan(self.matters):
            if len(ends) == 2:
                raise Problem(f"a claim that expects its number {self.expect} has a margin already; leave out matters")
            if not 0 < self.matters < math.inf:
                raise Problem(f"a claim's margin is {self.matters:g}; matters must be above 0")
        if self.kind == "ratio" and min(ends) < 0:
            raise Problem(f"a claim expects its ratio {self.expect}; ratios are above 0")
        if self.kind == "correlation" and not all(-1 < end < 1 for end in ends):
            raise Problem(f"a claim expects its correlation {self.expect}; correlations are between -1 and 1")


def lower(
    a: Place, b: Place, where: str, of: str = "test/error", paper: float = math.nan, matters: float = math.nan
) -> Claim:
    """The claim that the metric `of` is lower under variant `a` than under `b`: their difference is below 0.

    `a` or `b` may also be (variant, metric), to read another metric there.
    """
    return Claim(difference(a, b, of), below(0), where, paper, matters, _words(a, b, of))


def higher(
    a: Place, b: Place, where: str, of: str = "test/error", paper: float = math.nan, matters: float = math.nan
) -> Claim:
    """The claim that the metric `of` is higher under variant `a` than under `b`; as `lower`."""
    return Claim(difference(a, b, of), above(0), where, paper, matters, _words(a, b, of))


def alike(a: Place, b: Place, margin: float, where: str, of: str = "test/error", paper: float = math.nan) -> Claim:
    """The claim that the metric `of` differs by at most `margin` between variants `a` and `b`."""
    return Claim(difference(a, b, of), within(-margin, margin), where, paper, number=_words(a, b, of))


def between(
    a: Place,
    low: float,
    high: float,
    where: str,
    of: str = "test/error",
    paper: float = math.nan,
    matters: float = math.nan,
) -> Claim:
    """The claim that the metric `of` of variant `a` lies between two numbers, of which one may be infinite."""
    variant, metric = _place(a, of)
    return Claim(
        Metric(variant, metric),
        Interval(low, high, open=math.isinf(low) or math.isinf(high)),
        where,
        paper,
        matters,
        f"{metric} of {variant}",
    )


@dataclass(frozen=True)
class Metric:
    """A measure: one metric of one variant, under one seed."""

    variant: str
    metric: str

    def __call__(self, trial: Trial) -> float:
        return trial[self.variant][self.metric]


@dataclass(frozen=True)
class Difference:
    """A measure: one measure minus another, under one seed."""

    minuend: Measure
    subtrahend: Measure

    def __call__(self, trial: Trial) -> float:
        return self.minuend(trial) - self.subtrahend(trial)


def difference(a: Place, b: Place, of: str = "test/error") -> Measure:
    """A measure: the metric `of` of variant `a` minus that of `b`, under one seed."""
    return Difference(Metric(*_place(a, of)), Metric(*_place(b, of)))


def _place(a: Place, of: str) -> tuple[str, str]:
    return (a, of) if isinstance(a, str) else a


def _words(a: Place, b: Place, of: str) -> str:
    """test/error: mixup minus erm."""
    (one, metric), (other, its) = _place(a, of), _place(b, of)
    return f"{metric}: {one} minus {other}" if metric == its else f"{metric} of {one} minus {its} of {other}"
