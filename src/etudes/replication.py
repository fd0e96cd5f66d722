"""Whether a stranger gets the same verdicts: etudes replicate NAME.

A replication has the claims, looks and settings of the first judgement and seeds of its own. Beside each pair of
verdicts stands how probable it was that the second decides the claim too, by what the first saw.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes import api
from etudes.core import catalogue, inference
from etudes.core.errors import Problem
from etudes.core.files import read_json, write_json
from etudes.core.spec import Study
from etudes.core.verdicts import ALPHA, DECIDED, Verdict, to_scale
from etudes.reports.numbers import NONE, number, plain
from etudes.reports.report import Report

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


def main(name: str, scale: str, budget: float, root: Path) -> int:
    """Run and compare, print the table, and leave it in replication.json; the command's exit status."""
    study = catalogue.find(name)
    first = api.report(study, scale, root="" if root == api.ROOT else str(root))
    options = api.Options(scale, replicate=True, until="decided", budget=budget, root=root)
    second, outcomes = api.run_all(study, options, {})
    found = compare(first, second)
    file = first.folder(root) / FILE
    write_json(file, found.json())
    print("\n".join(table(found)))
    print(f"Kept: {file}")
    return 1 if any(outcome.reason for outcome in outcomes) else 0


def compare(first: Report, second: Report) -> Replication:
    """Two judgements of one study at one scale, claim by claim. Raises Problem where they are not of the same one."""
    about = [(r.definition.name, r.scale, r.definition.revision, r.code) for r in (first, second)]
    if about[0] != about[1]:
        raise Problem(f"{about[1]} replicates something else than {about[0]}; run the first judgement again")
    pairs = [_pair(first, one, other) for one, other in zip(first.verdicts, second.verdicts, strict=True)]
    return Replication(first.definition.name, first.scale, first.definition.revision, pairs)


def _pair(report: Report, first: Verdict, second: Verdict) -> Pair:
    return Pair(
        first.sentence,
        first.verdict,
        second.verdict,
        first.mean,
        second.mean,
        (len(first.values), len(second.values)),
        power(report, first),
        _apart(first, second),
    )


def power(report: Report, verdict: Verdict) -> float:
    """How probable a decision is by the last look, were the mean and deviation what they were seen to be.

    nan where they are not known. A lower bound, as earlier looks may decide too.
    """
    claim, looks = verdict.claim, report.definition.scales[report.scale].looks
    if not verdict.deviation > 0:
        return math.nan
    share, claims = inference.shares(looks)[-1], len(report.verdicts)
    mean = to_scale(claim, verdict.mean)
    ends = [to_scale(claim, end) for end in (claim.expect.low, claim.expect.high)]

    def seen(distance: float, level: float) -> float:
        return inference.power(distance / verdict.deviation, looks[-1], level * share)

    low, high = mean - ends[0], ends[1] - mean  # how far inside
    supported = max(0.0, seen(low, ALPHA / claims) + seen(high, ALPHA / claims) - 1)
    refuted = max(seen(-low, ALPHA / claims), seen(-high, ALPHA / claims))
    negligible = 0.0
    if not math.isnan(claim.matters):
        level = ALPHA / sum(not math.isnan(v.claim.matters) for v in report.verdicts)
        away = min(low, high, key=abs)
        negligible = max(0.0, seen(claim.matters - away, level) + seen(claim.matters + away, level) - 1)
    return max(supported, refuted, negligible)


def _apart(first: Verdict, second: Verdict) -> float:
    from scipy.stats import ttest_ind

    values = [[to_scale(v.claim, value) for value in v.values] for v in (first, second)]
    if min(map(len, values)) < 2:
        return math.nan
    return float(ttest_ind(*values, equal_var=False).pvalue)


def table(found: Replication) -> list[str]:
    """A line or two for each claim, and what they come to."""
    said = []
    for pair in found.pairs:
        said.append(pair.claim)
        same = "alike" if pair.first == pair.second else "REVERSED" if pair.is_reversed else "not alike"
        chance = f"{100 * pair.power:.0f} %" if math.isfinite(pair.power) else NONE
        said.append(
            f"    {same}: {pair.first} ({number(pair.first_mean)}, {pair.seeds[0]} seeds), then {pair.second} "
            f"({number(pair.second_mean)}, {pair.seeds[1]} seeds); decided again with a probability of {chance}"
        )
    return [*said, *found.sentences]


def read(file: Path, study: Study) -> Replication | None:
    """What `main` left in a file; None where there is none, or it is of another revision. Raises Problem."""
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
