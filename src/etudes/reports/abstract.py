"""What came out, in sentences made from the verdicts, and what was run: the first thing that a report says."""

import math
from collections.abc import Sequence

from etudes.core.claims import Difference, Metric
from etudes.core.verdicts import DECIDED, Verdict
from etudes.reports import cards, remarks, words
from etudes.reports.numbers import NONE, estimate
from etudes.reports.report import Report

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FEW = 4  # numbers of a user's own variant that are told in sentences
MEANINGS = {
    "supported": "the seeds show it",
    "refuted": "the seeds show that it is not so",
    "negligible": "what difference there is would be too small to matter",
    "undecided": "the seeds at hand cannot tell",
    "not judged": "the numbers for it are missing, or were changed",
}
NOTATION = (
    "Each run is repeated with other random draws, by its seed. In “0.03 [0.01, 0.05]” the first number is the mean "
    "over seeds; the true mean lies between the other two, as far as the seeds tell."
)
UNEVEN = " Claims are settled at different numbers of seeds, so one variant's mean may differ a little between them."
Paragraph = tuple[str, Sequence[str]]  # a label, such as "Supported" ("": the answer), and what is to be said there


def paragraphs(report: Report) -> list[Paragraph]:
    """The answer and what was run, and then a sentence for each claim, with its number, below its verdict."""
    if report.definition.own:
        return [("", [_exploration(report)]), *_comparisons(report)]
    counts = [(word, [v for v in report.verdicts if v.verdict == word]) for word in (*DECIDED, "undecided")]
    told = [(_label(word), [_finding(report, v) for v in found]) for word, found in counts if found]
    absent = [v for v in report.verdicts if v.verdict == "not judged"]
    if not told:
        return [("", [_unjudged(report, absent)])]
    if absent:
        told.append((_label("not judged"), [words.sentence(v.sentence) for v in absent]))
    seeds = _seeds(report)
    notation = NOTATION + UNEVEN * (len(seeds) > 1)
    return [("", [_answer(report, seeds), *cards.opening(report), notation]), *told]


def sentences(report: Report) -> str:
    """The paragraphs as one text."""
    return " ".join(" ".join([f"{label}."] * bool(label) + list(said)) for label, said in paragraphs(report))


def _label(verdict: str) -> str:
    return f"{words.capital(verdict)}: {MEANINGS[verdict]}"


def _seeds(report: Report) -> list[int]:
    """The numbers of seeds at which claims were judged, the lowest first."""
    return sorted({len(v.values) for v in report.verdicts if v.verdict != "not judged"})


def _answer(report: Report, seeds: Sequence[int]) -> str:
    verdicts = [verdict.verdict for verdict in report.verdicts]
    held, total = verdicts.count("supported"), len(verdicts)
    spanned = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    where = ", ".join([*_data(report), f"{spanned} seeds"])
    others = [
        f"{_count(verdicts.count(word))} {'is' if verdicts.count(word) == 1 else 'are'} {word}"
        for word in (*DECIDED[1:], "undecided", "not judged")
        if word in verdicts
    ]
    if total == 1:
        return f"The claim {'holds' if held else f'is {verdicts[0]}'} at {report.scale} scale ({where})."
    said = f"{_count(held).capitalize()} of {_count(total)} claims {'holds' if held == 1 else 'hold'}"
    if held == total:
        said = f"All {_count(total)} claims hold"
    rest = f"; {words.enumeration(others)}" if others else ""
    return f"{said} at {report.scale} scale ({where}){rest}."


def _unjudged(report: Report, verdicts: Sequence[Verdict]) -> str:
    """Why nothing is judged, and where the means lie all the same."""
    why = next((words for words in report.warnings if "not judged" in words.lower()), "The claims are not judged.")
    there = [verdict for verdict in verdicts if verdict.values]
    inside = sum(verdict.mean in verdict.claim.expect for verdict in there)
    if not there:
        return why
    some = f"{_count(inside)} of the {_count(len(there))} claims that have numbers would"
    if len(there) == 1:
        some = f"the one claim that has a number would{'' if inside else ' not'}"
    return f"{why} By the means alone {some} come out as the paper has it; that is no verdict."


def _exploration(report: Report) -> str:
    own = words.enumeration(report.definition.own)
    rest = [row["variant"] for row in report.table if row["variant"] not in report.definition.own]
    others = words.enumeration(rest) or "nothing else"
    where = f" ({', '.join(_data(report))})" if _data(report) else ""
    return f"{own} beside {others}, at {report.scale} scale{where}; this explores, and judges nothing."


def _comparisons(report: Report) -> list[Paragraph]:
    pairs: dict[str, list[str]] = {}
    main = words.main(report.definition, report.metrics)
    for row in report.comparisons:
        own = pairs.setdefault(f"{row['variant']} minus {row['reference']}", [])
        if row["metric"] in main and len(own) < FEW:
            mean, interval = estimate(row["mean"], row["low"], row["high"], (0.0,))
            named = words.of(report.definition, row["metric"])
            own.append(f"{named} {mean}" + (f" {interval}" if interval != NONE else ""))
    return [(pair, [words.sentence("; ".join(found))]) for pair, found in pairs.items() if found]


def _finding(report: Report, verdict: Verdict) -> str:
    """The claim's sentence with what was found of it."""
    claim, pair = verdict.claim, _pair(report, verdict)
    if verdict.verdict == "supported" and pair and claim.expect.ends == [0]:
        sign = math.copysign(1.0, verdict.mean)
        low, high = sorted((sign * verdict.low, sign * verdict.high))
        mean, interval = estimate(sign * verdict.mean, low, high, (0.0,))
        size = f"{mean} {interval}{_smallness(verdict)}"
        (_, metric), *_ = verdict.reads
        values = f"{words.of(report.definition, metric)} {' and '.join(f'{its} for “{of}”' for of, its in pair)}"
        return words.sentence(f"{verdict.sentence}, by {size}: {values}")
    is_even = claim.kind == "difference"
    mean, interval = estimate(verdict.mean, verdict.low, verdict.high, claim.expect.ends, even=is_even)
    number = words.number(report.definition, claim)
    if pair:
        number = f"{number.partition(':')[0]}: {' minus '.join(f'“{of}” {its}' for of, its in pair)}"
    found = f"{number} is {mean} {interval}" if pair or ":" not in number else f"{number}: {mean} {interval}"
    found += _smallness(verdict)
    if verdict.verdict == "supported":
        return words.sentence(f"{verdict.sentence} ({found})")
    if verdict.verdict == "undecided" and math.isfinite(verdict.sees):
        found += f"; {len(verdict.values)} seeds could detect {remarks.difference(claim, verdict.sees)}"
    if verdict.verdict == "negligible":
        found += f"; the margin is {remarks.size(claim, claim.matters)}"
    return words.sentence(f"“{words.capital(verdict.sentence)}”: {found}")  # in quotes: nobody says that it is so


def _smallness(verdict: Verdict) -> str:
    return f", less than the margin of {remarks.size(verdict.claim, verdict.claim.matters)}" if verdict.is_small else ""


def _pair(report: Report, verdict: Verdict) -> list[tuple[str, str]]:
    """Of a claim that compares one metric of two variants, both with their means over the seeds that are judged."""
    measure = verdict.claim.measure
    if not isinstance(measure, Difference) or verdict.claim.kind != "difference":
        return []
    one, other = measure.minuend, measure.subtrahend
    if not isinstance(one, Metric) or not isinstance(other, Metric) or one.metric != other.metric:
        return []
    half, told = (verdict.high - verdict.low) / 2, []
    for end in (one, other):
        values = _values(report, end, len(verdict.values))
        if not values:
            return []
        mean = sum(values) / len(values)
        told.append((end.variant, estimate(mean, mean - half, mean + half)[0]))  # with as many decimals as its interval
    return told


def _values(report: Report, metric: Metric, seeds: int) -> list[float]:
    """The metric of its variant under the first so many seeds."""
    own = sorted((t for t in report.trials if t["variant"] == metric.variant), key=lambda trial: trial["seed"])
    return [t["metrics"][metric.metric] for t in own[:seeds] if metric.metric in t["metrics"]]


def _data(report: Report) -> list[str]:
    names = list(dict.fromkeys(str(entry["dataset"]) for entry in report.data if "dataset" in entry))
    return [words.enumeration(names)] if names else []


def _count(n: int) -> str:
    return COUNTS[n] if n < len(COUNTS) else str(n)
