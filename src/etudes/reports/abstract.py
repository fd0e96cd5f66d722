"""What came out, in sentences made from the verdicts: the first thing that a report says."""

import math
from collections.abc import Sequence

from etudes.core.claims import Difference, Metric
from etudes.core.verdicts import DECIDED, Verdict
from etudes.reports import remarks, words
from etudes.reports.numbers import NONE, estimate
from etudes.reports.report import Report

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FEW = 4  # numbers of a user's own variant that are told in sentences
Paragraph = tuple[str, Sequence[str]]  # a label, such as "Supported" ("": the answer), and what is to be said there


def paragraphs(report: Report) -> list[Paragraph]:
    """The answer in a sentence or two, and then a sentence for each claim, with its number, below its verdict."""
    if report.definition.own:
        return [("", [_exploration(report)]), *_comparisons(report)]
    counts = [(word, [v for v in report.verdicts if v.verdict == word]) for word in (*DECIDED, "undecided")]
    told = [(word.capitalize(), [_finding(report, v) for v in found]) for word, found in counts if found]
    absent = [v for v in report.verdicts if v.verdict == "not judged"]
    if not told:
        return [("", [_unjudged(report, absent)])]
    if absent:
        told.append(("Not judged", [words.sentence(v.sentence) for v in absent]))
    return [("", [_answer(report)]), *told]


def sentences(report: Report) -> str:
    """The paragraphs as one text."""
    return " ".join(" ".join([f"{label}:"] * bool(label) + list(said)) for label, said in paragraphs(report))


def _answer(report: Report) -> str:
    verdicts = [verdict.verdict for verdict in report.verdicts]
    held, total = verdicts.count("supported"), len(verdicts)
    seeds = sorted({len(v.values) for v in report.verdicts if v.verdict != "not judged"})
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
    of = f"the {_count(len(there))} claims that have numbers" if len(there) > 1 else "the one claim that has a number"
    return f"{why} By the means alone {_count(inside)} of {of} would come out as the paper has it; that is no verdict."


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
    claim = verdict.claim
    is_even = claim.kind == "difference"
    if verdict.verdict == "supported" and _is_plain(verdict):
        sign = math.copysign(1.0, verdict.mean)
        low, high = sorted((sign * verdict.low, sign * verdict.high))
        mean, interval = estimate(sign * verdict.mean, low, high, (0.0,))
        return words.sentence(f"{verdict.sentence}, by {mean} {interval}{_smallness(verdict)}")
    mean, interval = estimate(verdict.mean, verdict.low, verdict.high, claim.expect.ends, even=is_even)
    number = words.number(report.definition, claim)
    found = f"{number}: {mean} {interval}" if ":" not in number else f"{number} is {mean} {interval}"
    said = f"{verdict.sentence} ({found.removeprefix(': ')}{_smallness(verdict)}"
    if verdict.verdict == "undecided" and math.isfinite(verdict.sees):
        said += f"; {len(verdict.values)} seeds would see {remarks.difference(claim, verdict.sees)}"
    if verdict.verdict == "negligible":
        said += f"; the margin is {remarks.size(claim, claim.matters)}"
    return words.sentence(f"{said})")


def _smallness(verdict: Verdict) -> str:
    return f", less than the margin of {remarks.size(verdict.claim, verdict.claim.matters)}" if verdict.is_small else ""


def _is_plain(verdict: Verdict) -> bool:
    """Whether the claim is that one metric is lower, or higher, under one variant than under another."""
    measure, claim = verdict.claim.measure, verdict.claim
    if not isinstance(measure, Difference) or claim.kind != "difference" or claim.expect.ends != [0]:
        return False
    ends = (measure.minuend, measure.subtrahend)
    return all(isinstance(end, Metric) for end in ends) and len({getattr(end, "metric", "") for end in ends}) == 1


def _data(report: Report) -> list[str]:
    names = list(dict.fromkeys(str(entry["dataset"]) for entry in report.data if "dataset" in entry))
    return [words.enumeration(names)] if names else []


def _count(n: int) -> str:
    return COUNTS[n] if n < len(COUNTS) else str(n)
