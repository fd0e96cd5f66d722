"""One rule for all claims: a confidence interval over seeds against the interval where the paper puts the number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.spec import Claim, Interval, Study

FEWEST_SEEDS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of one claim.

    `verdict` is "supported", "refuted", "undecided", or "not judged" (a scale too small, fewer than three complete
    seeds, or data that stand in for the scale's own). `low` and `high` bound the mean with confidence 1 - alpha over
    all claims of the study together. `agree` counts the seeds whose number lies where the claim expects it; `sign_p` is
    the exact two-sided sign test of that count against a fair coin.
    """

    claim: Claim
    values: Sequence[float]
    mean: float
    low: float
    high: float
    agree: int
    sign_p: float
    verdict: str


def trials(study: Study, records: Sequence[Record]) -> dict[int, dict[str, Mapping[str, float]]]:
    """{seed: {variant: metrics}} for the seeds that have every variant that any of them has.

    Beside a run's metrics stand its `seconds`.
    """
    by_seed: dict[int, dict[str, Mapping[str, float]]] = {}
    for record in records:
        by_seed.setdefault(record.spec.seed, {})[record.spec.variant] = {
            "seconds": record.env.get("seconds", math.nan),
            **record.metrics,
        }
    names = {record.spec.variant for record in records}
    return {seed: trial for seed, trial in sorted(by_seed.items()) if trial.keys() == names}


def interval(values: Sequence[float], alpha: float) -> tuple[float, float]:
    """The two-sided Student t confidence interval of the mean, at confidence 1 - alpha; unbounded below two values."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    if variance == 0:
        return mean, mean
    from scipy.stats import t

    reach = float(t.ppf(1 - alpha / 2, n - 1)) * math.sqrt(variance / n)
    return mean - reach, mean + reach


def decide(low: float, high: float, expect: Interval) -> str:
    """The verdict of a confidence interval: inside `expect`, outside it, or neither. Touching an end is neither."""
    if expect.low < low and high < expect.high:
        return "supported"
    if high < expect.low or low > expect.high:
        return "refuted"
    return "undecided"


def judge(study: Study, records: Sequence[Record], alpha: float = ALPHA) -> list[Verdict]:
    """A verdict for each claim of the study, from records of one scale.

    The intervals are Bonferroni-corrected: each has confidence 1 - alpha / (number of claims), so that all hold
    together with 1 - alpha. A claim about variants without runs is not judged. Raises Problem where it names a variant
    that the study lacks or a metric that no run has.
    """
    complete = trials(study, records)
    scale = records[0].spec.scale if records else ""
    judges = bool(records) and study.scales[scale].judges and len(complete) >= FEWEST_SEEDS
    judges = judges and not substitutes(study, records)
    absent = {variant.name for variant in study.variants} - {record.spec.variant for record in records}
    verdicts = []
    for claim in study.claims:
        try:
            values = [float(claim.measure(trial)) for trial in complete.values()]
        except KeyError as missing:
            if missing.args[0] not in absent:
                raise Problem(f"claim '{claim.name}' of {study.name} asks for {missing}, which no run has") from None
            values = []
        low, high = interval(values, alpha / len(study.claims))
        agree = sum(value in claim.expect for value in values)
        verdict = decide(low, high, claim.expect) if judges and values else "not judged"
        mean = math.fsum(values) / len(values) if values else math.nan
        verdicts.append(Verdict(claim, values, mean, low, high, agree, _sign_test(agree, len(values)), verdict))
    return verdicts


def substitutes(study: Study, records: Sequence[Record]) -> dict[str, str]:
    """{field: name} of what stands in, in the runs, for the scale's own data, which the claims are about."""
    if not records:
        return {}
    spec = records[0].spec
    return {field: name for field, name in study.scales[spec.scale].substitutes.items() if spec.config[field] == name}


def _sign_test(agree: int, n: int) -> float:
    """Exact two-sided binomial test of `agree` of n against probability one half; 1 without any."""
    extreme = max(agree, n - agree)
    tail = sum(math.comb(n, k) for k in range(extreme, n + 1))
    return min(1.0, tail / (1 << (n - 1))) if n else 1.0
