"""How often the rule of judgement errs, and what it sees: etudes bench verdicts

Simulated studies of eight claims are judged at 5, 8, 12 and 20 seeds, going on as `--until decided` does. Of each kind
of study, the first fifty are judged by `judge` itself; all 1,000 by `rule`, which does the same with arrays, and must
agree on the fifty in each verdict and each seed. The tables go into docs/verdicts.md, between the comments that name
them. Half a minute of one core.

errors     false verdicts where the rule holds. Goal: each kind in at most 5 % of studies.
failures   false verdicts where it does not, beside the remedy
margins    how often a number on the end is found negligible
power      what is seen at which price, beside fixed numbers of seeds and a two-sided interval after Bonferroni
shares     other shares of the error for the looks
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtr, stdtr, stdtrit

from etudes.core import inference
from etudes.core.claims import Claim, Metric, above, higher
from etudes.core.record import Record
from etudes.core.spec import Paper, Scale, Spec, Study, Variant
from etudes.core.verdicts import ALPHA, CLUSTERED, DECIDED, FUTILE, judge
from etudes.sweep.plan import further

LOOKS, COUNT, STUDIES, JUDGED = (5, 8, 12, 20), 8, 1000, 50
MIXED = (0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0)
PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Config:
    pass


def nothing(cfg: Config, run: object) -> None:
    """The program: the numbers come from elsewhere."""


NOISE: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda draw, shape: draw.normal(size=shape) / math.sqrt(2),  # a difference of two has deviation 1
    "heavy": lambda draw, shape: draw.standard_t(3, shape) / math.sqrt(6),  # and of two of these
    "skewed": lambda draw, shape: draw.lognormal(size=shape),
    "9 in 10": lambda draw, shape: (draw.random(shape) < 0.9) + 0.05 * draw.normal(size=shape),  # learners that
    "7 in 10": lambda draw, shape: (draw.random(shape) < 0.7) + 0.05 * draw.normal(size=shape),  # reach 1 or nothing
}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Studies of eight claims that a number is above an end, and where the numbers truly lie.

    `distances` are from the end, in standard deviations of a claim's number. `noise` is that of the variants' scores.
    `end` (None: claims are on differences from a baseline) and `kind` are those of claims on one variant's score.
    """

    says: str
    distances: Sequence[float]
    noise: str = "normal"
    matters: float = math.nan
    end: float | None = None
    kind: Any = "difference"

    def study(self, looks: Sequence[int]) -> Study:
        names = [f"v{i}" for i in range(COUNT)]
        claims = {
            f"{name} is higher": higher(name, "base", "", of="score", matters=self.matters)
            if self.end is None
            else Claim(Metric(name, "score"), above(self.end), "", kind=self.kind)
            for name in names
        }
        scales = {"smoke": Scale({}, 2, 1, judges=False), "laptop": Scale({}, looks, 1)}
        variants = [Variant(name) for name in (["base"] if self.end is None else []) + names]
        return Study("simulated", "", Paper("", "", 2026, ""), Config, nothing, variants, scales, claims)

    def scores(self, studies: int, seed: int) -> Array:
        """[studies, seeds, variants], the baseline first."""
        shifts = [0.0, *self.distances] if self.end is None else self.distances
        return NOISE[self.noise](np.random.default_rng(seed), (studies, LOOKS[-1], len(shifts))) + shifts

    def numbers(self, scores: Array) -> Array:
        """[studies, claims, seeds]: the claims' numbers less their end, on the scale on which they are tested."""
        if self.end is None:
            numbers = scores[..., 1:] - scores[..., :1]
        else:
            numbers = np.log(scores / self.end) if self.kind == "ratio" else scores - self.end
        return numbers.swapaxes(1, 2)


class Outcomes(NamedTuple):
    """`verdicts` [3, studies, claims]: which of DECIDED holds of a claim. `seeds` [studies, variants]: those run."""

    verdicts: Array
    seeds: Array


ZERO, ONE = (0.0,) * COUNT, (1.0,) * COUNT
ERRORS = (
    Scenario("two claims each at distance 0, 0.5, 1 and 2", MIXED),
    Scenario("the same with margins of 1", MIXED, matters=1.0),
    Scenario("all eight on the end", ZERO),
    Scenario("all eight true, by 1", ONE),
    Scenario("all eight untrue, by 1", (-1.0,) * COUNT),
    Scenario("all eight just a margin of 1 away", ONE, matters=1.0),
    Scenario("0, 0.5, 1 and 2, noise with heavy tails (Student's t, 3 degrees)", MIXED, "heavy"),
)
FAILURES = (
    Scenario("skewed numbers (lognormal) against their mean", ZERO, "skewed", end=math.exp(0.5)),
    Scenario("the same as ratios, against their geometric mean", ZERO, "skewed", end=1.0, kind="ratio"),
    Scenario("differences of two such numbers", ZERO, "skewed"),
    Scenario("learners that succeed in 9 of 10 runs, against their mean", ZERO, "9 in 10", end=0.9),
    Scenario("learners that succeed in 7 of 10 runs, against their mean", ZERO, "7 in 10", end=0.7),
    Scenario("differences of two learners of 9 in 10", ZERO, "9 in 10"),
)
MARGINS = tuple(Scenario("", (0.0,) * 4 + (margin,) * 4, matters=margin) for margin in (0.5, 1.0, 1.5, 2.0))


def simulate(scenario: Scenario, studies: int = STUDIES, looks: Sequence[int] = LOOKS, seed: int = 0) -> Outcomes:
    """What is decided in so many studies. Raises AssertionError where `rule` decides otherwise than `judge`."""
    scores = scenario.scores(studies, seed)
    outcomes = rule(scenario, scores, looks, inference.shares(looks))
    for ours, its in zip(outcomes, judgements(scenario, scores[:JUDGED], looks), strict=True):
        np.testing.assert_array_equal(ours[..., :JUDGED, :], its)
    return outcomes


def judgements(scenario: Scenario, scores: Array, looks: Sequence[int]) -> Outcomes:
    """What `judge` says at the end of `--until decided`."""
    study = scenario.study(looks)
    specs = {variant.name: study.plan(variants=[variant.name], seeds=looks[-1]) for variant in study.variants}
    verdicts = np.zeros((len(DECIDED), len(scores), COUNT), bool)
    seeds = np.zeros((len(scores), len(specs)), int)
    for i in range(len(scores)):
        made, used = outcome(study, specs, scores[i])
        seeds[i] = [*used.values()]
        for k, name in enumerate(DECIDED):
            verdicts[k, i] = [v.verdict == name or (v.is_small and name == "negligible") for v in made]
    return Outcomes(verdicts, seeds)


def outcome(study: Study, specs: Mapping[str, list[Spec]], scores: Array) -> tuple[list[Any], dict[str, int]]:
    """The verdicts of one study, and {variant: seeds} when nothing was left to run."""
    seeds = dict.fromkeys(specs, study.scales["laptop"].looks[0])
    while True:
        records = [
            Record(spec, {"score": float(scores[spec.seed, column])}, {}, Path())
            for column, (name, all_of_it) in enumerate(specs.items())
            for spec in all_of_it[: seeds[name]]
        ]
        verdicts = judge(study, records)
        wanted = {spec.variant: spec.seed + 1 for spec in further(verdicts, lambda name, n: specs[name][:n])}
        if all(seeds[name] >= count for name, count in wanted.items()):
            return verdicts, seeds
        seeds |= wanted


def false(scenario: Scenario, outcomes: Outcomes) -> Array:
    """[3, studies]: whether a study has a false verdict of each kind. On the end, neither side is true."""
    distances = np.array(scenario.distances)
    untrue = [distances <= 0, distances >= 0, np.abs(distances) >= scenario.matters]
    return (outcomes.verdicts & np.array(untrue)[:, None]).any(-1)


def power(outcomes: Outcomes, distance: float) -> float:
    """The share of claims at that distance of MIXED that are supported."""
    return float(outcomes.verdicts[0][:, np.array(MIXED) == distance].mean())


def rule(scenario: Scenario, scores: Array, looks: Sequence[int], shares: Sequence[float]) -> Outcomes:
    """What `judge` decides of these studies, and which seeds `--until decided` runs, for all of them at once."""
    numbers, margin = scenario.numbers(scores), scenario.matters
    found = [corrected(numbers[..., :n], share, margin) for n, share in zip(looks, shares, strict=True)]
    p = np.minimum.accumulate([one[0] for one in found])  # [looks, families, studies, claims]
    mean, deviation = (np.array([one[k] for one in found]) for k in (1, 2))
    look = np.zeros(mean.shape[1:], int)  # that each claim has reached
    while True:
        shown = holm(np.take_along_axis(p, look[None, None], 0)[0]) <= ALPHA
        center, spread = (np.take_along_axis(array, look[None], 0)[0] for array in (mean, deviation))
        n = np.array(looks)[look]
        futile = (n >= CLUSTERED) & (np.abs(center) < FUTILE * spread / np.sqrt(n))
        if not math.isnan(margin):
            level = ALPHA / (COUNT - shown[2].sum(-1, keepdims=True)) * shares[-1]  # of those that Holm keeps
            reach, root = -stdtrit(looks[-1] - 1, level), math.sqrt(looks[-1])
            gaps = ((margin + sign * np.abs(center)) / spread * root for sign in (-1, 1))
            futile &= sum(nctdtr(looks[-1] - 1, gap, reach) for gap in gaps) > 0.9
        going = ~shown.any(0) & ~futile & (look < len(looks) - 1)
        if not going.any():
            seeds = np.column_stack([n.max(1), n] if scenario.end is None else [n])
            return Outcomes(shown & ~shown[:2].all(0), seeds)
        look += going


def corrected(values: Array, share: float, margin: float) -> tuple[Array, Array, Array]:
    """One look's probabilities over its share, [families, studies, claims], with the means and standard deviations."""
    n = values.shape[-1]
    mean, deviation = values.mean(-1), values.std(-1, ddof=1)
    t, width = mean / deviation * math.sqrt(n), margin / deviation * math.sqrt(n)
    p = np.array([stdtr(n - 1, -t), stdtr(n - 1, t), np.maximum(stdtr(n - 1, -t - width), stdtr(n - 1, t - width))])
    gaps = np.diff(np.sort(values)).max(-1)
    p[:, (n < CLUSTERED) & (gaps > inference.GAP * np.ptp(values, axis=-1)) & (gaps > np.abs(values).min(-1))] = 1
    return np.where(np.isnan(p), 1, np.minimum(p / share, 1)), mean, deviation


def holm(p: Array) -> Array:
    """Holm's corrected probabilities along the last axis."""
    order, m = p.argsort(-1), p.shape[-1]
    rising = np.maximum.accumulate(np.take_along_axis(p, order, -1) * np.arange(m, 0, -1), -1)
    return np.take_along_axis(rising, order.argsort(-1), -1)


def two_sided(numbers: Array, n: int) -> Outcomes:
    """Bonferroni, two-sided, one look: supported or refuted where the interval at 1 - 0.05 / 8 is all on one side."""
    mean, error = numbers[..., :n].mean(-1), numbers[..., :n].std(-1, ddof=1) / math.sqrt(n)
    reach = float(stdtrit(n - 1, 1 - ALPHA / COUNT / 2)) * error
    verdicts = np.array([mean > reach, mean < -reach, np.zeros(mean.shape, bool)])
    return Outcomes(verdicts, np.full((len(numbers), COUNT + 1), n))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(hits: Array) -> str:
    """The share of studies, with its binomial standard error."""
    p = hits.mean()
    return f"{100 * p:.1f} ± {100 * math.sqrt(p * (1 - p) / len(hits)):.1f} %" if p else "0 %"


def error_row(scenario: Scenario, outcomes: Outcomes) -> list[str]:
    hits = false(scenario, outcomes)
    cells = [share(hits[k]) for k in range(2)] + ["" if math.isnan(scenario.matters) else share(hits[2])]
    return [scenario.says, *cells, share(hits.any(0)), f"{outcomes.seeds.mean():.1f}"]


def power_row(says: str, outcomes: Outcomes) -> list[str]:
    hits = false(ERRORS[0], outcomes)
    seen = [f"{100 * power(outcomes, distance):.0f} %" for distance in (0.5, 1.0, 2.0)]
    return [says, *seen, f"{outcomes.seeds.mean():.1f}", share(hits[0]), share(hits[1])]


def power_table() -> str:
    numbers = ERRORS[0].numbers(ERRORS[0].scores(STUDIES, 0))
    rows = [power_row(f"Bonferroni, two-sided, one look at {n} seeds", two_sided(numbers, n)) for n in LOOKS]
    rows += [power_row(f"this rule, one look at {n} seeds", simulate(ERRORS[0], looks=(n,))) for n in LOOKS]
    rows.append(power_row("this rule, `--until decided`", simulate(ERRORS[0])))
    return table(["", "0.5", "1", "2", "seeds", "false supported", "false refuted"], rows)


def shares_table() -> str:
    scores, rows = ERRORS[0].scores(10 * STUDIES, 0), []  # where little is to be told apart
    for parts in ((1, 1, 1, 2), (1, 1, 1, 1), (1, 2, 3, 4), (1, 2, 2, 5), (4, 3, 2, 1)):
        shares = [part / sum(parts) for part in parts]
        *cells, supported, _ = power_row(" : ".join(map(str, parts)), rule(ERRORS[0], scores, LOOKS, shares))
        first = power(rule(ERRORS[0], scores, LOOKS[:1], shares[:1]), 2.0)
        rows.append([*cells, f"{100 * first:.0f} %", supported])
    return table(["shares", "0.5", "1", "2", "seeds", "2, at the first look", "false supported"], rows)


def margins_table() -> str:
    rows = []
    for scenario in MARGINS:
        outcomes = simulate(scenario)
        found = f"{100 * outcomes.verdicts[2][:, :4].mean():.0f} %"
        wrong = share(false(scenario, outcomes)[2])
        rows.append([f"{scenario.matters:g}", found, wrong, f"{outcomes.seeds.mean():.1f}"])
    return table(["margin", "negligible at distance 0", "false negligible", "seeds"], rows)


def write(name: str, text: str) -> None:
    """Put a table into the page, between its comments."""
    print(f"{name}\n\n{text}\n", flush=True)
    pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
    page, count = re.subn(pattern, lambda found: f"{found[1]}\n{text}\n\n{found[2]}", PAGE.read_text(), flags=re.DOTALL)
    assert count == 1, f"{PAGE} has no place for the table {name}"
    PAGE.write_text(page)


def main() -> None:
    head = ["", "false supported", "false refuted", "false negligible", "any", "seeds"]
    write("errors", table(head, [error_row(scenario, simulate(scenario)) for scenario in ERRORS]))
    write("power", power_table())
    write("shares", shares_table())
    write("margins", margins_table())
    failures = [error_row(scenario, simulate(scenario)) for scenario in FAILURES]
    write("failures", table([*head[:3], *head[4:]], [[*row[:3], *row[4:]] for row in failures]))


if __name__ == "__main__":
    main()
