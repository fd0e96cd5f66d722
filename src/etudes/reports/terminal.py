"""A report's verdicts in the terminal."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etudes.reports import compare, facts
from etudes.reports.numbers import NONE
from etudes.reports.report import Report

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {"supported": "green", "refuted": "red", "negligible": "cyan", "undecided": "yellow", "not judged": "dim"}
INDENT = "    "


def verdict_list(report: Report, width: int) -> "Text":
    """Each claim's sentence, and below it its verdict and numbers; no line is longer than `width`, no word is cut."""
    from rich.text import Text

    found = Text()
    for row in report.verdict_rows():
        facts = {
            "mean": row["mean"],
            "interval": row["interval"],
            "p": row["p"],
            "expected": row["expected"],
            "seeds agree": row["agree"],
            "the paper's figure": row["paper"],
        }
        parts = [f"{name} {value}" for name, value in facts.items() if value != NONE]
        where = f" ({row['where']})" if row["where"] else ""
        found.append("\n".join(_wrap([f"{row['claim']}{where}"], width)) + "\n", "bold")
        first, *others = _wrap([row["verdict"], *parts], width - len(INDENT), "; ")
        others += _wrap([row["remark"]], width - len(INDENT)) if row["remark"] else []
        found.append(INDENT).append(row["verdict"], STYLES[row["verdict"]])
        found.append("".join(f"{line}\n" for line in [first[len(row["verdict"]) :], *(INDENT + o for o in others)]))
    return found


def comparison_list(report: Report, width: int) -> "Text":
    """The comparisons of a user's own variants, and what they mean; no line is longer than `width`, no word is cut."""
    from rich.text import Text

    found, pair = Text(), ""
    head, body = compare.table(report)
    longest = max((len(row[1]) for row in body), default=0)
    for difference, metric, mean, ends, seeds in body:
        if difference != pair:
            found.append(f"{difference}, with its {head[3]}\n", "bold")
            pair = difference
        words = f"{metric.ljust(longest)}  {mean}  {ends}  {seeds} {'seed' if seeds == '1' else 'seeds'}"
        found.append("".join(f"{INDENT}{line}\n" for line in _wrap([words], width - len(INDENT))))
    if body:
        found.append("".join(f"{line}\n" for line in _wrap([compare.WORDS], width)), "dim")
    return found


def going_on(report: Report) -> tuple[str, str] | None:
    """How many claims are open, in words, and the command that goes on with them; None where none is."""
    still = [verdict for verdict in report.verdicts if verdict.is_open]
    if not still:
        return None
    chosen = {name: value for name, value in report.choice.items() if name != "seeds"} | {"until": "decided"}
    command = facts.command(report.definition, report.scale, chosen, report.trials[0]["precision"])
    return f"{len(still)} {'claim is' if len(still) == 1 else 'claims are'} not decided yet; this goes on:", command


def _wrap(parts: Sequence[str], width: int, between: str = "") -> list[str]:
    """The parts on lines of that width, broken between two parts where that is possible, else between two words."""
    lines: list[str] = []
    for i, part in enumerate(parts):
        text = part + (between.rstrip() if i < len(parts) - 1 else "")
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines += textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)
    return lines
