"""What all kinds of charts share: the value `Chart`, the checks of names, and the words for them."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etudes.core.errors import Problem, unknown
from etudes.reports.left import Exhibition
from etudes.reports.look import Style, styles
from etudes.reports.numbers import number
from etudes.reports.report import Report
from etudes.reports.words import capital, enumeration, spell

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


def ends(report: Report, row: Mapping[str, Any], metric: str) -> Row:
    """A variant's mean of a metric with one deviation to each side: never below 0 where no run's number is, and never
    above 1 where all lie between, as of shares."""
    found = row["metrics"][metric]
    mean, deviation = found["mean"], found["deviation"] or 0.0
    values = [t["metrics"][metric] for t in report.trials if metric in t["metrics"]]
    floor = 0.0 if min(values) >= 0 else -math.inf
    ceiling = 1.0 if min(values) >= 0 and max(values) <= 1 else math.inf
    return {
        "value": mean,
        "low": max(mean - deviation, floor),
        "high": min(mean + deviation, ceiling),
        "label": number(mean),
    }


def looks(report: Report, by: str = "") -> dict[str, Style]:
    """How each variant of the study looks, in all of its charts: one colour each, or one for each value of the Config
    fields `by`."""
    names = variant_names(report)
    return styles(groups(report, by) if by else {name: name for name in names})


def groups(report: Report, by: str) -> dict[str, str]:
    """{variant: its values of the Config fields `by`, joined by commas}, of all the study's variants in their order."""
    configs = report.definition.configs[report.scale] | {row["variant"]: row["config"] for row in report.table}
    fields = by.split(", ")
    return {
        name: join_labels([config_value({"config": configs[name]}, field) for field in fields])
        for name in variant_names(report)
    }


def palette(report: Report, by: str) -> dict[str, Style]:
    """{group of `groups`: its style}: those of the groups that have runs."""
    of_variants, named = looks(report, by), groups(report, by)
    present = {row["variant"] for row in report.table}
    return {named[name]: Style(of_variants[name].colour) for name in named if name in present}


def value_label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def join_labels(values: Sequence[Any]) -> str:
    return ", ".join(map(value_label, values))


def headline(metrics: Sequence[str], tail: str) -> str:
    return f"{capital(enumeration([spell(metric) for metric in metrics]))} {tail}"


def slug(*words: str) -> str:
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)))
