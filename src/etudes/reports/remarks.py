"""What is to be said beside a verdict: what could have been seen, with how many seeds and at which cost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etudes.core import inference
from etudes.core.claims import Claim
from etudes.core.spec import Study
from etudes.core.verdicts import ALPHA, DECIDED, Verdict, to_scale
from etudes.reports.numbers import number
from etudes.reports.words import sentence

Trials = Sequence[Mapping[str, Any]]  # a report's entries for its runs
MOST = 100  # seeds that are thought of for an undecided claim
CORES = 2  # on which a study's minutes are told


def remark(study: Study, scale: str, trials: Trials, verdict: Verdict) -> str:
    """What is to be said of a claim beside its verdict and numbers, in sentences; "" where nothing is."""
    claim = verdict.claim
    said = [sentence(verdict.reason)] if verdict.reason else []
    if verdict.verdict == "negligible":
        said.append(f"The difference, if any, is smaller than the margin of {size(claim, claim.matters)}.")
    if verdict.is_small:
        said.append(f"It is smaller than the margin of {size(claim, claim.matters)}: too small to matter.")
    if verdict.verdict == "undecided" and math.isfinite(verdict.sees):
        seen = difference(claim, verdict.sees)
        said.append(_leaning(study, verdict))
        said.append(
            f"{len(verdict.values)} seeds can detect {seen} with 80 % power{_further(study, scale, trials, verdict)}."
        )
    said += [sentence(warning) for warning in verdict.warnings]
    return " ".join(said)


def _leaning(study: Study, verdict: Verdict) -> str:
    """To which side an undecided claim leans, and how many seeds would tell, were its mean the true number."""
    claim, n = verdict.claim, len(verdict.values)
    inside = verdict.mean in claim.expect
    if inside != (2 * verdict.agree > n):  # most seeds lie on the other side than their mean, or as many
        return f"It leans to neither side: {verdict.agree} of {n} seeds agree."
    said = f"It leans {'for' if inside else 'against'} the claim: {verdict.agree} of {n} seeds agree"
    gap = min(abs(to_scale(claim, verdict.mean) - to_scale(claim, end)) for end in claim.expect.ends)
    level = ALPHA / len(study.claims)
    enough = next((k for k in range(n, MOST) if verdict.deviation * inference.detectable(k, level) <= gap), 0)
    if not enough:
        return f"{said}, with a mean so near to the range's end that {MOST} seeds would hardly tell."
    more = (
        f"about {enough - n} more seed{'s' * (enough > n + 1)} would tell"
        if enough > n
        else "as many fresh ones would mostly tell"
    )
    return f"{said}. Were the mean the true number, {more}."


def _further(study: Study, scale: str, trials: Trials, verdict: Verdict) -> str:
    last = study.scales[scale].looks[-1]
    if last <= len(verdict.values):
        return ""
    seen = f"; {last} could detect {difference(verdict.claim, verdict.last_sees)}"
    if not verdict.is_open:
        return seen
    left = cost(study, scale, trials, {variant for variant, _ in verdict.reads}) * (last - len(verdict.values)) / 60
    return f"{seen}, in about {number(left, 2)} minutes more"


def size(claim: Claim, distance: float) -> str:
    """A distance from an end of a claim's interval, on the scale on which the claim is judged."""
    if claim.kind == "ratio":
        return f"a factor of {number(math.exp(min(distance, 700.0)), 3)}"
    return f"{number(distance, 2)} in Fisher's z" if claim.kind == "correlation" else number(distance, 2)


def difference(claim: Claim, distance: float) -> str:
    """A distance from an end of the range where a claim expects its number, as what can be detected."""
    if claim.kind == "correlation":
        return f"one {size(claim, distance)} from {number(claim.expect.ends[0], 2)}"
    if claim.expect.ends == [0 if claim.kind == "difference" else 1]:
        return "a difference of " * (claim.kind == "difference") + size(claim, distance)
    return f"a mean {size(claim, distance)} away from the end of the range"


def cost(study: Study, scale: str, trials: Trials, variants: Iterable[str]) -> float:
    """The seconds that one seed of these variants takes on two cores, by a report's own runs."""
    total = 0.0
    for variant in variants:
        own = [trial["seconds"] for trial in trials if trial["variant"] == variant and trial["seconds"]]
        total += sum(own) / len(own) if own else 0.0
    return total / max(1, CORES // study.scales[scale].threads)


@dataclass(frozen=True)
class Prospect:
    """What the looks of a scale would see of a claim with 80 % power, in its own unit, and which margin the last one
    would call negligible where there is no difference (nan: the claim names none). `noise` as in a Verdict;
    `is_decided`: by the runs that tell."""

    claim: Claim
    sentence: str
    sees: Mapping[int, float]
    least_margin: float
    noise: float
    is_decided: bool

    @property
    def margin_is_too_small(self) -> bool:
        return self.claim.matters < self.least_margin


def prospects(looks: Sequence[int], verdicts: Sequence[Verdict]) -> list[Prospect]:
    """For each claim, from its deviation over seeds, were it tested first of all (Holm)."""
    shares = dict(zip(looks, inference.shares(looks), strict=True))
    margins = sum(not math.isnan(verdict.claim.matters) for verdict in verdicts)
    found = []
    for verdict in verdicts:
        level, deviation = ALPHA / len(verdicts), verdict.deviation
        sees = {n: deviation * inference.detectable(n, level * share) for n, share in shares.items()}
        least = math.nan
        if not math.isnan(verdict.claim.matters):  # both tests must succeed: each fails half as often
            both = 1 - (1 - inference.POWER) / 2
            least = deviation * inference.detectable(looks[-1], ALPHA / margins * shares[looks[-1]], both)
        found.append(Prospect(verdict.claim, verdict.sentence, sees, least, verdict.noise, verdict.verdict in DECIDED))
    return found
