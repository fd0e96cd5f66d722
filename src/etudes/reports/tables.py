"""All numbers of a report as CSV, for spreadsheets and data frames: a row for each claim, mean, run and point."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from etudes.reports import words
from etudes.reports.numbers import plain
from etudes.reports.report import Report

ALONE = ("parameters", "seconds")  # of which a report's table has means alone
Rows = Sequence[Mapping[str, Any]]  # all of them with the same names, in the same order


def csv_files(report: Report) -> dict[str, str]:
    """claims.csv, numbers.csv, runs.csv and curves.csv. What is not known, not finite or does not apply is empty."""
    tables = {"claims": claims(report), "numbers": numbers(report), "runs": runs(report), "curves": curves(report)}
    return {f"{name}.csv": _csv(rows) for name, rows in tables.items()}


def claims(report: Report) -> Rows:
    """Each claim's verdict, with the interval, the range where the claim puts its number, and the paper's figure."""
    return [
        {
            "claim": verdict.sentence,
            "where": verdict.claim.where,
            "number": words.number(report.definition, verdict.claim),
            "verdict": verdict.verdict,
            "mean": verdict.mean,
            "low": verdict.low,
            "high": verdict.high,
            "p": verdict.p,
            "expected_low": verdict.claim.expect.low,
            "expected_high": verdict.claim.expect.high,
            "margin": verdict.claim.matters,
            "seeds": len(verdict.values),
            "seeds_agree": verdict.agree,
            "paper": verdict.claim.paper,
        }
        for verdict in report.verdicts
    ]


def numbers(report: Report) -> Rows:
    """Each variant's measured numbers: means over seeds and their standard deviations. Its size and seconds are among
    them, as means alone."""
    rows = []
    for row in report.table:
        alone = {name: {"mean": row[name], "deviation": None, "seeds": row["seeds"]} for name in ALONE}
        for name, found in (row["metrics"] | alone).items():
            if found["seeds"]:
                rows.append(
                    {"variant": row["variant"], "metric": name, "words": words.of(report.definition, name)} | found
                )
    return rows


def runs(report: Report) -> Rows:
    """Each run's own numbers, and why it has none where it diverged."""
    names = [*report.metrics, "parameters"]
    return [
        {"variant": trial["variant"], "seed": trial["seed"]}
        | {name: trial["metrics"].get(name) for name in names}
        | {"seconds": trial["seconds"], "diverged": trial.get("diverged", ""), "run": trial["key"]}
        for trial in report.trials
    ]


def curves(report: Report) -> Rows:
    """Each logged number of each run at each of its steps."""
    return [
        {"variant": series["variant"], "seed": series["seed"], "metric": series["metric"], "step": step, "value": value}
        for series in report.curves
        for step, value in zip(series["steps"], series["values"], strict=True)
    ]


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
        table.writeheader()
        table.writerows(plain(row) for row in rows)
    return text.getvalue()
