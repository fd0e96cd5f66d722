"""Variants of a user's own beside those that a study has: how far their numbers differ. Nothing is judged here."""

from collections.abc import Mapping, Sequence
from typing import Any

from etudes.core.inference import interval, mean_and_deviation
from etudes.core.spec import Study
from etudes.reports import words
from etudes.reports.numbers import estimate
from etudes.reports.report import Report

LEVEL = 0.025  # at each end: an interval of 95 %
WORDS = (
    "Differences are taken seed by seed, and their mean has a 95 % Student t interval. The intervals are one by one, "
    "not corrected for their number: of twenty about one misses by chance alone, so this explores, and judges nothing. "
    "An interval without width comes from differences that are all the same, and says nothing about chance."
)


def comparisons(study: Study, trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each variant of the user's own, each other that was run, and each number that both have.

    `values` are the differences, own minus other, of the seeds that have both.
    """
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for trial in trials:
        found.setdefault(trial["variant"], {})[trial["seed"]] = trial["metrics"]
    metrics = sorted({name for trial in trials for name in trial["metrics"]} - {"parameters"})
    others = [variant.name for variant in study.variants if variant.name in found and variant.name not in study.own]
    rows = []
    for own in (name for name in study.own if name in found):
        for other in others:
            pairs = [(found[own][seed], found[other][seed]) for seed in sorted(found[own].keys() & found[other].keys())]
            for metric in metrics:
                values = [
                    ours[metric] - theirs[metric] for ours, theirs in pairs if metric in ours and metric in theirs
                ]
                if values:
                    rows.append({"variant": own, "reference": other, "metric": metric} | _summary(values))
    return rows


def _summary(values: Sequence[float]) -> dict[str, Any]:
    low, high = interval(values, LEVEL)
    return {"mean": mean_and_deviation(values)[0], "low": low, "high": high, "seeds": len(values), "values": values}


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells of the comparisons, of each pair the study's main numbers first."""
    head = ["difference", "of", "mean", "95 % interval", "seeds"]
    main = words.main(report.definition, report.metrics)
    rank = {name: i for i, name in enumerate([*main, *(name for name in report.metrics if name not in main)])}
    pairs = dict.fromkeys((row["variant"], row["reference"]) for row in report.comparisons)
    place = {pair: i for i, pair in enumerate(pairs)}
    rows = sorted(
        report.comparisons,
        key=lambda row: (place[row["variant"], row["reference"]], rank.get(row["metric"], len(rank))),
    )
    return head, [[f"{row['variant']} − {row['reference']}", *_cells(report, row)] for row in rows]


def _cells(report: Report, row: Mapping[str, Any]) -> list[str]:
    mean, found = estimate(row["mean"], row["low"], row["high"], (0.0,))
    return [words.of(report.definition, row["metric"]), mean, found, str(row["seeds"])]
