"""One rule for all claims: one-sided tests over seeds, corrected for the number of claims and of looks.

Three families are kept apart, each with an error rate of its own: at most 5 % of studies have a false "supported",
5 % a false "refuted" and 5 % a false "negligible". docs/verdicts.md says for what, and for what not.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etudes.core import inference
from etudes.core.claims import Claim
from etudes.core.observations import Observations, observe
from etudes.core.record import Record
from etudes.core.spec import TUNING, Study, first_seed

ALPHA = 0.05
FUTILE = 0.6  # a |t| below which going on is not worth its time
CLUSTERED = 8  # the fewest seeds that judge numbers in two clusters
DECIDED = ("supported", "refuted", "negligible")


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of one claim.

    `verdict` is "supported", "refuted", "negligible" (within the claim's margin of the end of `expect`), "undecided",
    or "not judged"; `reason` says why, where it is about this claim alone. `values` are those of the look that is
    shown: the one that decided, or the last one made. `low` and `high` bound their mean at the level at which the claim
    was tested, so that the interval and the verdict say the same; of a ratio it is the geometric mean. `p` is the
    verdict's probability, corrected for claims and looks (of an undecided one the smallest of the three). `deviation`
    is the standard deviation of the numbers (of their logarithms, or of Fisher's z). `agree` counts the seeds whose
    number lies where it is expected. `is_small`: decided, but within the margin.

    `sees` is the distance from the end which that many seeds see with 80 % power, and `last_sees` what the last look
    does; `next_look` is the number of seeds that would judge it next, 0 where there is none or where going on is
    hardly worth it. `reads` are the (variant, metric) of its number, and `noise` is the variance of their difference
    over the sum of their variances, where it is a difference: below 1 the shared seeds have taken noise away.
    """

    sentence: str
    claim: Claim
    values: Sequence[float]
    mean: float
    low: float
    high: float
    agree: int
    verdict: str
    reason: str = ""
    p: float = math.nan
    is_small: bool = False
    deviation: float = math.nan
    sees: float = math.nan
    last_sees: float = math.nan
    next_look: int = 0
    reads: Sequence[tuple[str, str]] = ()
    noise: float = math.nan
    warnings: Sequence[str] = ()

    @property
    def is_open(self) -> bool:
        """Whether more seeds may decide it."""
        return self.verdict == "undecided" and self.next_look > 0


def judge(
    study: Study, records: Sequence[Record], alpha: float = ALPHA, changed: Mapping[str, str] | None = None
) -> list[Verdict]:
    """A verdict for each claim of the study, from records of one scale.

    `changed` are the claims that are not what was registered before the first judged run, each with what is to be said
    of that, see `etudes.core.registration`; those of them which the study no longer has count too.
    """
    changed = changed or {}
    records = [record for record in records if record.spec.variant not in study.own]  # of which no claim speaks
    seen = [observe(study, sentence, claim, records) for sentence, claim in study.claims.items()]
    looks = study.scales[records[0].spec.scale].looks if records else ()
    judged = bool(records) and not why_not_judged(study, records)
    tested = [
        _Tested(claim, n, looks if judged and not n.reason and sentence not in changed else ())
        for (sentence, claim), n in zip(study.claims.items(), seen, strict=True)
    ]
    gone = len(changed.keys() - study.claims.keys())
    families = {}
    for k, family in enumerate(DECIDED):
        # A claim that was left out counts as one that was not shown; a margin is not every claim's.
        own = [i for i, t in enumerate(tested) if family != "negligible" or not math.isnan(t.claim.matters)]
        adjusted, levels = inference.holm([*(tested[i].least(k) for i in own), *[1.0] * gone], alpha)
        families[family] = {i: (p, level) for i, p, level in zip(own, adjusted, levels, strict=False)}
    return [
        _plain(sentence, t.claim, n, changed[sentence])
        if sentence in changed
        else _verdict(sentence, t, n, {name: family[i] for name, family in families.items() if i in family}, alpha)
        for i, (sentence, t, n) in enumerate(zip(study.claims, tested, seen, strict=True))
    ]


class _Tested:
    """A claim's numbers, on the scale on which they vary evenly, tested at each look that they suffice for."""

    def __init__(self, claim: Claim, seen: Observations, looks: Sequence[int]) -> None:
        self.claim = claim
        self.values = [to_scale(claim, value) for value in seen.values]
        self.low, self.high = to_scale(claim, claim.expect.low), to_scale(claim, claim.expect.high)
        self.ends = [end for end in (self.low, self.high) if math.isfinite(end)]
        self.looks = dict(zip(looks, inference.shares(looks), strict=True)) if looks else {}
        self.made: dict[int, inference.PValues] = {}
        self.clustered = 0
        for n in self.looks:
            values = self.values[:n]
            if len(values) < n or inference.is_constant(values):
                continue
            if n < CLUSTERED and self.in_clusters(n):
                self.clustered = n
                continue
            self.made[n] = inference.p_values(values, self.low, self.high, claim.matters)

    def probability(self, n: int, k: int) -> float:
        """The k-th family's probability at a look, times what its share of the error costs."""
        return min(1.0, self.made[n][k] / self.looks[n])

    def least(self, k: int) -> float:
        return min((self.probability(n, k) for n in self.made), default=1.0)

    def deciding(self, k: int) -> int:
        """The look at which the k-th family's probability is least."""
        return min(self.made, key=lambda n: self.probability(n, k))

    def distance(self, n: int) -> float:
        """From the mean of n numbers to the nearest end."""
        mean, _ = inference.mean_and_deviation(self.values[:n])
        return min(abs(mean - end) for end in self.ends)

    def too_few(self, seen: Observations) -> str:
        """Why no look was made; "" where none was to be."""
        if not self.looks:
            return ""
        first, n = min(self.looks), len(self.values)
        if n < first:
            return f"it is judged from {first} seeds on, and {n or 'none'} {'is' if n == 1 else 'are'} complete"
        return f"the seed has no effect: its number is {seen.values[0]:.6g} under all of them"

    def in_clusters(self, n: int) -> bool:
        values = self.values[:n]
        return inference.two_clusters(values, min(abs(value - end) for value in values for end in self.ends))

    def futile(self, n: int, level: float) -> bool:
        """Whether going on from look n is hardly worth it: the mean is all but on the end, and the last look would
        hardly call that negligible either."""
        _, deviation = inference.mean_and_deviation(self.values[:n])
        distance, last = self.distance(n), max(self.looks)
        if n < CLUSTERED or distance >= FUTILE * deviation / math.sqrt(n):
            return False
        if math.isnan(self.claim.matters):
            return True
        room = (self.claim.matters - distance, self.claim.matters + distance)  # to the margin's two ends
        misses = sum(1 - inference.power(gap / deviation, last, level * self.looks[last]) for gap in room)
        return misses > 0.9


def _verdict(
    sentence: str, t: _Tested, seen: Observations, families: Mapping[str, tuple[float, float]], alpha: float
) -> Verdict:
    """`families` is {family: (corrected probability, level)} of this claim."""
    further = [n for n in t.looks if n > len(t.values)]  # not after the last look made: clusters may have skipped one
    if seen.reason or not t.made:
        if t.clustered and not seen.reason:
            reason = f"its numbers fall into two clusters, which asks for {CLUSTERED} seeds"
            plain = _plain(sentence, t.claim, seen, reason)
            return dataclasses.replace(plain, verdict="undecided", next_look=further[0] if further else 0)
        return _plain(sentence, t.claim, seen, seen.reason or t.too_few(seen))
    true = [name for name in DECIDED if name in families and families[name][0] <= alpha]
    conflict = true[:2] == ["supported", "refuted"]
    verdict = true[0] if true and not conflict else "undecided"
    last_made, last = max(t.made), max(t.looks)
    levels = {name: level / (len(t.ends) if name == "refuted" else 1) for name, (_, level) in families.items()}
    look = last_made if verdict == "undecided" else t.deciding(DECIDED.index(verdict))
    low, high = inference.interval(
        t.values[:look], t.looks[look] * (min(levels.values()) if verdict == "undecided" else levels[verdict])
    )
    mean, deviation = inference.mean_and_deviation(t.values[:look])
    futile = verdict == "undecided" and bool(further) and t.futile(last_made, levels.get("negligible", 0.0))
    reason = f"at {last_made} seeds its mean is all but on the end, so more would hardly decide it" if futile else ""
    return Verdict(
        sentence,
        t.claim,
        seen.values[:look],
        from_scale(t.claim, mean),
        from_scale(t.claim, low),
        from_scale(t.claim, high),
        sum(value in t.claim.expect for value in seen.values[:look]),
        verdict,
        "its looks contradict each other" if conflict else reason,
        p=families[verdict][0] if verdict in families else min(p for p, _ in families.values()),
        is_small=not conflict and len(true) > 1,
        deviation=deviation,
        sees=deviation * inference.detectable(look, levels["supported"] * t.looks[look]),
        last_sees=deviation * inference.detectable(last, levels["supported"] * t.looks[last]),
        next_look=further[0] if further and verdict == "undecided" and not (futile or conflict) else 0,
        reads=seen.reads,
        noise=seen.noise,
        warnings=_warnings(t, last_made),
    )


def _plain(sentence: str, claim: Claim, seen: Observations, reason: str) -> Verdict:
    """What is shown of a claim that is not judged: its numbers, without an interval."""
    values = [] if seen.reason else seen.values
    mean, deviation = math.nan, math.nan
    if values:
        mean, deviation = inference.mean_and_deviation([to_scale(claim, value) for value in values])
    return Verdict(
        sentence,
        claim,
        values,
        from_scale(claim, mean),
        -math.inf,
        math.inf,
        sum(value in claim.expect for value in values),
        "not judged",
        reason,
        deviation=deviation,
        reads=seen.reads,
        noise=seen.noise,
    )


def _warnings(t: _Tested, n: int) -> list[str]:
    if t.in_clusters(n):
        return ["its numbers fall into two clusters: the test is too sure where few seeds fail altogether"]
    if inference.is_skewed(t.values[:n]):
        return ["its numbers are skewed, so the test is too sure of them; a logarithm or a difference may be even"]
    return []


def why_not_judged(study: Study, records: Sequence[Record]) -> str:
    """Why none of the claims is judged from these runs, in a sentence; "" where they are."""
    scale = records[0].spec.scale
    if study.own:
        what = "a variant" if len(study.own) == 1 else "variants"
        return f"The claims are not judged: these runs explore {what} of your own ({', '.join(study.own)})."
    if records[0].spec.seed >= TUNING:
        return "The claims are not judged: these are seeds for tuning."
    if not study.scales[scale].judges:
        return f"The claims are not judged at scale {scale}: it is too small for verdicts, or has too few seeds."
    if stand_ins := substitutes(study, records):
        own = study.configs[scale][records[0].spec.variant]
        listed = ", ".join(f"{field} = {name} for {own[field]}" for field, name in stand_ins.items())
        return f"The claims are not judged: substitutes stand in for the scale's own data ({listed})."
    usual = study.configs[scale]
    changes = {
        field: value
        for record in records
        for field, value in record.spec.config.items()
        if usual.get(record.spec.variant, {}).get(field, value) != value
    }
    if changes:
        listed = ", ".join(f"{field} = {value}" for field, value in changes.items())
        return f"The claims are not judged: these runs explore another setting ({listed})."
    if len({first_seed(record.spec.seed) for record in records}) > 1:
        return "The claims are not judged: the runs are of seeds that do not belong together."
    return ""


def substitutes(study: Study, records: Sequence[Record]) -> dict[str, object]:
    """{field: name} of what stands in, in the runs, for the scale's own data, which the claims are about."""
    if not records:
        return {}
    spec = records[0].spec
    return {
        field: name for field, name in study.scales[spec.scale].substitutes.items() if spec.config.get(field) == name
    }


def to_scale(claim: Claim, value: float) -> float:
    """A number of the claim, or an end of its interval, on the scale on which it is tested."""
    if claim.kind == "ratio":
        return math.log(value) if value > 0 else -math.inf
    if claim.kind == "correlation" and math.isfinite(value):
        return math.atanh(value) if -1 < value < 1 else math.copysign(math.inf, value)
    return value


def from_scale(claim: Claim, value: float) -> float:
    """What `to_scale` made of a number, as the number again."""
    if claim.kind == "ratio":
        return math.inf if value > 700 else math.exp(value)
    return math.tanh(value) if claim.kind == "correlation" else value
