"""What all kinds of charts share: the value `Chart`, the checks of names, and the words for them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem, unknown
from etudes.reports.left import Exhibition
from etudes.reports.numbers import number
from etudes.reports.report import Report

if TYPE_CHECKING:
    import altair

Row = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A named drawing of a report. `says` is the caption: what the marks mean.

    One that shows a file of the runs names it, and the variants whose runs have it (all without names).
    """

    name: str
    title: str
    draw: Callable[[Report], "altair.Chart | Exhibition"]
    says: str = ""
    file: str = ""
    variants: Sequence[str] = ()


def select_variants(report: Report, variants: Sequence[str]) -> list[str]:
    """Those of the named variants (all without names) that have runs. Raises Problem on unknown names, or on none."""
    check_variants(variants, report)
    present = [row["variant"] for row in report.table]
    shown = [name for name in present if name in (variants or present)]
    if not shown:
        raise Problem(f"no finished runs of {' or '.join(variants)}; run them to draw this chart")
    return shown


def check_variants(names: Iterable[str], report: Report) -> None:
    for name in names:
        if name not in variant_names(report):
            raise unknown(f"variant of {report.definition.name}", name, variant_names(report))


def variant_names(report: Report) -> list[str]:
    return [variant.name for variant in report.definition.variants]


def config_value(row: Mapping[str, Any], field: str) -> Any:
    if field not in row["config"]:
        raise unknown("config field", field, row["config"])
    return row["config"][field]


def check_metrics(metrics: Iterable[str], known: Iterable[str], report: Report) -> None:
    known = sorted(known)
    for metric in metrics:
        if metric not in known:
            raise unknown(f"number in the runs of {report.definition.name},", metric, known)


def ends(metric: Mapping[str, Any]) -> Row:
    mean, deviation = metric["mean"], metric["deviation"] or 0.0
    return {"value": mean, "low": mean - deviation, "high": mean + deviation, "label": number(mean)}


def value_label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def join_labels(values: Sequence[Any]) -> str:
    return ", ".join(map(value_label, values))


def spell(name: str) -> str:
    return name.replace("/", " ").replace("_", " ").replace("-", " ")


def headline(metrics: Sequence[str], tail: str) -> str:
    words = [spell(metric) for metric in metrics]
    text = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"{text[0].upper()}{text[1:]} {tail}"


def slug(*words: str) -> str:
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)))
