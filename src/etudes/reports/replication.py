"""Whether a stranger gets the same verdicts, claim by claim.

A replication has the claims, looks and settings of the first judgement and seeds of its own. Beside each pair of
verdicts stands how probable it was that the second decides the claim too, by what the first saw.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.core import inference
from etudes.core.files import read_json
from etudes.core.spec import Study
from etudes.core.verdicts import ALPHA, DECIDED, Verdict, to_scale
from etudes.reports.numbers import NONE, number, plain

FILE = "replication.json"
LEVEL = 0.05  # at which two means are called apart


@dataclass(frozen=True)
class Pair:
    """A claim's two verdicts. `power` is how probable a decision of the second was, by the mean and deviation of the
    first; `p_apart` is Welch's test that the two means are the same."""

    claim: str
    first: str
    second: str
    first_mean: float
    second_mean: float
    seeds: tuple[int, int]
    power: float
    p_apart: float

    @property
    def is_reversed(self) -> bool:
        return {self.first, self.second} == {"supported", "refuted"}


@dataclass(frozen=True)
class Replication:
    """The pairs of a study, and what they come to: of the claims that the first decided, the share that the second
    decided alike, and the share that the powers let one expect (the sum of their squares over their sum)."""

    study: str
    scale: str
    revision: int
    pairs: Sequence[Pair]

    @property
    def decisions(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.first in DECIDED]

    @property
    def alike(self) -> int:
        return sum(pair.first == pair.second for pair in self.decisions)

    @property
    def expectation(self) -> float:
        powers = [pair.power for pair in self.pairs if math.isfinite(pair.power)]
        return sum(power**2 for power in powers) / sum(powers) if sum(powers) else math.nan

    @property
    def apart(self) -> int:
        return sum(pair.p_apart < LEVEL for pair in self.pairs)

    @property
    def sentences(self) -> list[str]:
        reversals = sum(pair.is_reversed for pair in self.pairs)
        tested = sum(math.isfinite(pair.p_apart) for pair in self.pairs)
        return [
            f"Of {len(self.decisions)} verdicts {self.alike} came out alike; by their power one expects "
            f"{self.expectation * len(self.decisions):.1f}.",
            f"{reversals or 'None'} of them {'is' if reversals == 1 else 'are'} reversed.",
            f"Of {tested} pairs of means {self.apart} are apart at 5 %; chance alone sets {LEVEL * tested:.1f} apart.",
        ]

    def json(self) -> dict[str, Any]:
        """As `read` takes it."""
        found: dict[str, Any] = plain(dataclasses.asdict(self))
        return found


def compare(study: Study, scale: str, first: Sequence[Verdict], second: Sequence[Verdict]) -> Replication:
    """Two judgements of one study at one scale, claim by claim."""
    pairs = [
        Pair(
            one.sentence,
            one.verdict,
            other.verdict,
            one.mean,
            other.mean,
            (len(one.values), len(other.values)),
            power(study.scales[scale].looks, first, one),
            _apart(one, other),
        )
        for one, other in zip(first, second, strict=True)
    ]
    return Replication(study.name, scale, study.revision, pairs)


def power(looks: Sequence[int], verdicts: Sequence[Verdict], verdict: Verdict) -> float:
    """How probable a decision is by the last look, were the mean and deviation what they were seen to be.

    nan where they are not known. A lower bound, as earlier looks may decide too.
    """
    claim = verdict.claim
    if not verdict.deviation > 0:
        return math.nan
    share, level = inference.shares(looks)[-1], ALPHA / len(verdicts)
    mean = to_scale(claim, verdict.mean)
    low, high = mean - to_scale(claim, claim.expect.low), to_scale(claim, claim.expect.high) - mean  # how far inside

    def seen(distance: float, level: float) -> float:
        return inference.power(distance / verdict.deviation, looks[-1], level * share)

    found = [seen(low, level) + seen(high, level) - 1, seen(-low, level), seen(-high, level)]
    if not math.isnan(claim.matters):
        margins = ALPHA / sum(not math.isnan(v.claim.matters) for v in verdicts)
        away = min(low, high, key=abs)
        found.append(seen(claim.matters - away, margins) + seen(claim.matters + away, margins) - 1)
    return max(0.0, *found)


def _apart(first: Verdict, second: Verdict) -> float:
    from scipy.stats import ttest_ind

    values = [[to_scale(v.claim, value) for value in v.values] for v in (first, second)]
    if min(map(len, values)) < 2:
        return math.nan
    return float(ttest_ind(*values, equal_var=False).pvalue)


def rows(found: Replication) -> tuple[list[str], list[list[str]]]:
    """The headings, and a row of words for each claim."""
    head = ["claim", "first", "again", "first mean", "mean again", "probability of a decision"]
    body = []
    for pair in found.pairs:
        chance = f"{100 * pair.power:.0f} %" if math.isfinite(pair.power) else NONE
        verdicts = [f"{word}, {n} seeds" for word, n in zip((pair.first, pair.second), pair.seeds, strict=True)]
        body.append([pair.claim, *verdicts, number(pair.first_mean), number(pair.second_mean), chance])
    return head, body


def lines(found: Replication) -> list[str]:
    """The claims and their two verdicts for the terminal, and what they come to."""
    said = []
    for pair, row in zip(found.pairs, rows(found)[1], strict=True):
        same = "alike" if pair.first == pair.second else "REVERSED" if pair.is_reversed else "not alike"
        said += [row[0], f"    {same}: {row[1]}, mean {row[3]}; then {row[2]}, mean {row[4]}"]
        said.append(f"    a decision was to be expected with a probability of {row[5]}")
    return [*said, *found.sentences]


def read(file: Path, study: Study) -> Replication | None:
    """What `etudes replicate` left in a file; None where there is none, or one of another revision. Raises Problem."""
    if not file.exists():
        return None
    saved = read_json(file, f"run `etudes replicate {study.name}` again", check=lambda value: "pairs" in value)
    if saved["revision"] != study.revision:
        return None
    pairs = [
        Pair(**{k: math.nan if v is None else v for k, v in p.items()} | {"seeds": tuple(p["seeds"])})
        for p in saved["pairs"]
    ]
    return Replication(saved["study"], saved["scale"], saved["revision"], pairs)
