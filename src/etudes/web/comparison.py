"""Reports of one study side by side: claims on one axis, numbers, and the settings in which they differ."""

from collections.abc import Sequence
from typing import Any

import markupsafe

from etudes.reports import intervals, words
from etudes.reports.numbers import NONE, number, spread
from etudes.reports.report import Report


def claims(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """For each claim its words, and a row of each report: what it says of it, drawn on an axis that all share."""
    found = []
    for rows, verdicts in zip(
        zip(*(report.verdict_rows() for report in reports), strict=True),
        zip(*(report.verdicts for report in reports), strict=True),
        strict=True,
    ):
        shared = intervals.axis(verdicts)
        drawn = [
            {**row, "forest": markupsafe.Markup(intervals.forest(verdict, shared)), "reason": verdict.reason}
            for row, verdict in zip(rows, verdicts, strict=True)
        ]
        found.append(
            {name: rows[0][name] for name in ("claim", "number", "where", "expected", "paper")} | {"rows": drawn}
        )
    return found


def numbers(first: Report, second: Report) -> list[list[str]]:
    """A row for each variant and metric of either: its means and deviations in both, and the difference."""
    tables = [{row["variant"]: row["metrics"] for row in report.table} for report in (first, second)]
    study, rows = first.definition, []
    for variant in dict.fromkeys(name for table in tables for name in table):
        pair = [table.get(variant, {}) for table in tables]
        metrics = {name: None for each in pair for name in each}
        main = words.main(study, metrics)
        for metric in [*main, *(name for name in metrics if name not in main)]:
            found = [each.get(metric, {"mean": None, "deviation": None}) for each in pair]
            cells = [spread(each["mean"], each["deviation"]) for each in found]
            rows.append([variant, words.of(study, metric), *cells, less(*(each["mean"] for each in found))])
    return rows


def settings(reports: Sequence[Report]) -> list[list[str]]:
    """A row for each Config field in which the reports differ: its values over their variants; seeds come first."""

    def values(report: Report, name: str) -> str:
        return ", ".join(dict.fromkeys(str(row["config"].get(name, NONE)) for row in report.table))

    names = sorted({name for report in reports for row in report.table for name in row["config"]})
    seeds = [str(max(row["seeds"] for row in report.table)) for report in reports]
    rows = [["seeds", *seeds], *([name, *(values(report, name) for report in reports)] for name in names)]
    return [row for row in rows if len({*row[1:]}) > 1]


def less(first: float | None, second: float | None) -> str:
    """The second minus the first, signed."""
    if first is None or second is None:
        return NONE
    return ("+" if second > first else "") + number(second - first)
