"""One rule for all claims: a confidence interval over seeds against the interval where the paper puts the number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etudes.core.claims import Claim, Interval, Trial
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.spec import TUNING, Study

FEWEST_SEEDS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of one claim.

    `verdict` is "supported", "refuted", "undecided", or "not judged" (a scale too small, fewer than three complete
    seeds, data that stand in for the scale's own, or a number that the claim cannot be computed from). `reason` says
    why, where it is about this claim alone. `low` and `high` bound the mean with confidence 1 - alpha over
    all claims of the study together. `agree` counts the seeds whose number lies where the claim expects it; `sign_p` is
    the exact two-sided sign test of that count against a fair coin.
    """

    sentence: str
    claim: Claim
    values: Sequence[float]
    mean: float
    low: float
    high: float
    agree: int
    sign_p: float
    verdict: str
    reason: str = ""


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
    """A verdict for each claim of the study, from records of one scale. Tuning seeds never judge."""
    complete = trials(study, records)
    judges = bool(records) and study.scales[records[0].spec.scale].judges and len(complete) >= FEWEST_SEEDS
    judges = judges and not substitutes(study, records) and not any(r.spec.seed >= TUNING for r in records)
    verdicts = []
    for sentence, claim in study.claims.items():
        values, reason = _values(study, sentence, claim, complete, records)
        low, high = interval(values, alpha / len(study.claims))
        agree = sum(value in claim.expect for value in values)
        verdict = decide(low, high, claim.expect) if judges and values else "not judged"
        mean = math.fsum(values) / len(values) if values else math.nan
        sign = _sign_test(agree, len(values))
        verdicts.append(Verdict(sentence, claim, values, mean, low, high, agree, sign, verdict, reason))
    return verdicts


def _values(
    study: Study, sentence: str, claim: Claim, complete: Mapping[int, Trial], records: Sequence[Record]
) -> tuple[list[float], str]:
    """The claim's number under each seed, or none and the reason. Raises Problem on a name that no run has."""
    absent = {variant.name for variant in study.variants} - {record.spec.variant for record in records}
    lost = {(record.spec.seed, name): record.spec.variant for record in records for name in record.absent}
    values = []
    for seed, trial in complete.items():
        try:
            value = float(claim.measure(trial))
        except KeyError as missing:
            name = missing.args[0]
            if name in absent:
                return [], f"{name} was not run"
            if (seed, name) in lost:
                return [], f"{name} of {lost[seed, name]} is not finite under seed {seed}"
            raise Problem(f"the claim '{sentence}' of {study.name} asks for {missing}, which no run has") from None
        except Exception as error:  # whatever its author wrote
            return [], f"its number cannot be computed under seed {seed} ({type(error).__name__}: {error})"
        if not math.isfinite(value):
            return [], f"its number is {value} under seed {seed}"
        values.append(value)
    return values, ""


def substitutes(study: Study, records: Sequence[Record]) -> dict[str, object]:
    """{field: name} of what stands in, in the runs, for the scale's own data, which the claims are about."""
    if not records:
        return {}
    spec = records[0].spec
    return {
        field: name for field, name in study.scales[spec.scale].substitutes.items() if spec.config.get(field) == name
    }


def _sign_test(agree: int, n: int) -> float:
    """Exact two-sided binomial test of `agree` of n against probability one half; 1 without any."""
    extreme = max(agree, n - agree)
    tail = sum(math.comb(n, k) for k in range(extreme, n + 1))
    return min(1.0, tail / (1 << (n - 1))) if n else 1.0
