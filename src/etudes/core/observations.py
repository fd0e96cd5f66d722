"""The number that a claim takes from each seed, with a trace of what it reads there.

A measure is any function of one seed's numbers. What it asks for is noted while it is called, so that a seed counts for
a claim as soon as it has the variants which that claim reads, whatever others are still to be run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etudes.core.claims import Claim
from etudes.core.errors import Problem
from etudes.core.inference import mean_and_deviation
from etudes.core.record import Record
from etudes.core.spec import Study


@dataclass(frozen=True)
class Observations:
    """`values` of the seeds in order, up to the first that is not complete for the claim; or none, and the `reason`.

    `reads` are the (variant, metric) that were asked for. `noise` is the variance of the numbers over the sum of the
    variances of the two metrics of which they are the difference; nan where they are something else.
    """

    values: Sequence[float]
    reads: Sequence[tuple[str, str]] = ()
    noise: float = math.nan
    reason: str = ""


@dataclass
class Reads:
    """What a measure asked for: (variant, metric), the variants, whether all of them, and variants that are missing."""

    places: dict[tuple[str, str], None] = field(default_factory=dict)
    variants: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    all: bool = False


class _Traced(Mapping[str, Any]):
    """One seed's {variant: {metric: number}}, or one variant's {metric: number}, which notes what is read."""

    def __init__(self, content: Mapping[str, Any], reads: Reads, variant: str = "") -> None:
        self._content, self._reads, self._variant = content, reads, variant

    def __getitem__(self, name: str) -> Any:
        if self._variant:
            self._reads.places[self._variant, name] = None
            return self._content[name]
        self._reads.variants.add(name)
        if name not in self._content:
            self._reads.missing.add(name)
        return _Traced(self._content[name], self._reads, name)

    def __iter__(self) -> Iterator[str]:
        self._reads.all |= not self._variant
        return iter(self._content)

    def __len__(self) -> int:
        self._reads.all |= not self._variant
        return len(self._content)


def by_seed(records: Sequence[Record]) -> dict[int, dict[str, Record]]:
    """{seed: {variant: its run}}, seeds in order."""
    found: dict[int, dict[str, Record]] = {}
    for record in records:
        found.setdefault(record.spec.seed, {})[record.spec.variant] = record
    return dict(sorted(found.items()))


def observe(study: Study, sentence: str, claim: Claim, records: Sequence[Record]) -> Observations:
    """The claim's number under each seed. Raises Problem on a name that no run has."""
    seeds = by_seed(records)
    ran = {record.spec.variant for record in records}
    values: list[float] = []
    parts: list[list[float]] = []
    reads = Reads()
    for seed, runs in seeds.items():
        if seed != next(iter(seeds)) + len(values):
            break  # a seed is missing: those behind it wait for it
        trial = {variant: {"seconds": run.env.get("seconds", math.nan), **run.metrics} for variant, run in runs.items()}
        here = Reads()
        try:
            value = float(claim.measure(_Traced(trial, here)))
            reason = "" if math.isfinite(value) else f"its number is {value} under seed {seed}"
        except KeyError as error:
            value, reason = math.nan, _missing(study, sentence, error, here, runs, ran)
        except Exception as error:  # whatever its author wrote
            value, reason = (
                math.nan,
                f"its number cannot be computed under seed {seed} ({type(error).__name__}: {error})",
            )
        reads.places |= here.places
        if here.all:  # what goes through the variants needs all of them, also those of which it reads nothing
            reads.places |= dict.fromkeys((name, "") for name in sorted(ran - {name for name, _ in reads.places}))
        if absent := (here.missing or (ran - runs.keys() if here.all else set())):
            if absent <= ran:
                break  # not run yet under this seed
            return Observations([], list(reads.places), reason=f"{min(absent - ran)} was not run")
        if lost := [runs[variant] for variant in sorted(here.variants) if runs[variant].diverged]:
            value, reason = claim.worst, f"{lost[0].spec.variant} diverged under seed {seed}"
        if not math.isfinite(value):
            return Observations([], list(reads.places), reason=reason)
        if not _possible(claim, value):
            return Observations([], list(reads.places), reason=f"its {claim.kind} is {value:g} under seed {seed}")
        values.append(value)
        parts.append([trial[variant].get(metric, math.nan) for variant, metric in here.places])
    return Observations(values, list(reads.places), _noise(values, parts))


def _missing(
    study: Study, sentence: str, error: KeyError, reads: Reads, runs: Mapping[str, Record], ran: set[str]
) -> str:
    """Why a name is not there. Raises Problem where no variant and no run has it, as a typing error would; but of a
    scale that judges nothing, whose data may not have what the claims are about, it is a reason like others."""
    name = error.args[0]
    for variant, run in runs.items():
        if (name in run.absent or run.diverged) and variant in reads.variants:
            return f"{name} of {variant} is not finite under seed {run.spec.seed}"
    if name in reads.missing and (name in ran or name in {variant.name for variant in study.variants}):
        return f"{name} was not run"
    if not all(study.scales[run.spec.scale].judges for run in runs.values()):
        return f"{name} is not measured at this scale"
    raise Problem(f"the claim '{sentence}' of {study.name} asks for {error}, which no run has") from None


def _possible(claim: Claim, value: float) -> bool:
    return {"ratio": value > 0, "correlation": -1 < value < 1}.get(claim.kind, True)


def _noise(values: Sequence[float], parts: Sequence[Sequence[float]]) -> float:
    """The variance of a difference over the sum of the variances of its two parts; nan of anything else."""
    if len(values) < 2 or {len(row) for row in parts} != {2}:
        return math.nan
    if not all(
        math.isclose(value, a - b, rel_tol=1e-6, abs_tol=1e-12) for value, (a, b) in zip(values, parts, strict=True)
    ):
        return math.nan
    both = sum(mean_and_deviation(column)[1] ** 2 for column in zip(*parts, strict=True))
    return mean_and_deviation(values)[1] ** 2 / both if both else math.nan
