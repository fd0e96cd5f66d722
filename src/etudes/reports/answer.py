"""What came out, in sentences."""

from collections import Counter

from etudes.reports.numbers import NONE
from etudes.reports.report import Report


def sentences(report: Report) -> list[str]:
    """How many claims came out how, and each claim with its verdict; [] where there are none."""
    counts = Counter(verdict.verdict for verdict in report.verdicts)
    total = len(report.verdicts)
    tally = ", ".join(f"{n} {'is' if n == 1 else 'are'} {verdict}" for verdict, n in counts.items())
    each = [
        f"{row['verdict'].capitalize()}: {row['claim']}"
        + (f" (mean {row['mean']}, interval {row['interval']})." if row["interval"] != NONE else ".")
        for row in report.verdict_rows()
    ]
    return [f"Of {total} {'claim' if total == 1 else 'claims'}, {tally} at this scale.", *each] if total else []
