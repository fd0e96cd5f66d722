"""From finished runs, or from a folder that holds their report, to a `Report`.

All numbers of a report follow from its `trials`, which are rounded as report.json holds them. So a report that is read
back says, draws and judges the same as the one that was built from the runs, to the last digit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.files import read_json
from etudes.core.record import Record
from etudes.core.spec import Spec, Study
from etudes.core.verdicts import Verdict, judge

from . import facts, sheets
from .numbers import NONE, given, number, plain, span, spread, tidy
from .sheets import Picture, Sheet

if TYPE_CHECKING:
    import altair

POINTS = 200  # kept of a logged metric of a run
TIMES = 20  # and of its seconds, which rise almost evenly


@dataclass(frozen=True)
class Report:
    """What the runs of one study at one scale say.

    `study` is the study's card with a verdict for each claim; `table` has a row for each variant, `trials` an entry for
    each run, `curves` one for each logged metric of each run, `pictures` one for each file of the runs that a chart
    shows. `choice` are the keyword arguments of `Study.plan` that lead here, of which `changed` are the Config fields.
    `committed` is the folder of a report that came with the project, in place of one of the user's own runs.
    """

    definition: Study = field(repr=False)
    study: Mapping[str, Any]
    scale: str
    code: str
    title: str
    data: Sequence[Mapping[str, Any]]
    changed: Mapping[str, Any]
    choice: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    table: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, Any]]
    curves: Sequence[Mapping[str, Any]] = field(repr=False)
    pictures: Sequence[Picture]
    warnings: Sequence[str]
    environment: Mapping[str, Any]
    commands: Sequence[str]
    departures: str = ""
    committed: Path | None = None

    @property
    def metrics(self) -> list[str]:
        """The names of the measured numbers, without the count of parameters."""
        return sorted({name for trial in self.trials for name in trial["metrics"]} - {"parameters"})

    def folder(self, root: Path) -> Path:
        """Where the report belongs below the root of the runs: each choice of fields and variants has its own."""
        name = f"report-{facts.digest(self.choice)}" if self.choice else "report"
        return root / self.definition.name / self.scale / name

    def chart(self, name: str) -> "altair.Chart | Sheet":
        """The study's chart of that name, titled. Raises Problem where there is none, or nothing to draw."""
        from .look import framed

        charts = {chart.name: chart for chart in self.definition.charts}
        if name not in charts:
            raise unknown(f"chart of {self.definition.name}", name, charts)
        drawn = charts[name].draw(self)
        return drawn if isinstance(drawn, Sheet) else framed(drawn, charts[name].title, self.title)

    def verdict_rows(self) -> list[dict[str, str]]:
        """A row of words for each claim. `mean`, `interval` and `agree` are of our runs, `paper` is the paper's."""
        rows = []
        for verdict in self.verdicts:
            claim, n = verdict.claim, len(verdict.values)
            rows.append(
                {
                    "claim": verdict.sentence,
                    "says": claim.number,
                    "where": claim.where,
                    "verdict": verdict.verdict,
                    "mean": number(verdict.mean),
                    "interval": span(verdict.low, verdict.high) if n > 1 else NONE,
                    "expected": str(claim.expect),
                    "agree": f"{verdict.agree} of {n} (p = {verdict.sign_p:.2g})" if n else NONE,
                    "paper": given(claim.paper),
                }
            )
        return rows

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        """The headings, and the cells of a row for each variant: means over seeds and their standard deviations."""
        counted = any(row["parameters"] is not None for row in self.table)
        head = ["variant", "seeds", *self.metrics, *(["parameters"] if counted else []), "seconds"]
        body = []
        for row in self.table:
            found = [row["metrics"].get(name, {"mean": None, "deviation": None}) for name in self.metrics]
            cells = [spread(metric["mean"], metric["deviation"]) for metric in found]
            size = [number(row["parameters"])] if counted else []
            body.append([row["variant"], str(row["seeds"]), *cells, *size, number(row["seconds"], 3)])
        return head, body

    def json(self) -> dict[str, Any]:
        """The content of report.json: all but the curves, with floats of six significant digits and null for nan."""
        verdicts = [
            {
                "claim": v.sentence,
                "verdict": v.verdict,
                "reason": v.reason,
                "mean": v.mean,
                "low": v.low,
                "high": v.high,
                "expect": [v.claim.expect.low, v.claim.expect.high],
                "agree": v.agree,
                "seeds": len(v.values),
                "sign_p": v.sign_p,
                "values": list(v.values),
                "paper": v.claim.paper,
            }
            for v in self.verdicts
        ]
        exact = {"study": self.study, "changed": self.changed, "choice": self.choice, "data": self.data}
        return {
            **exact,
            "scale": self.scale,
            "code": self.code,
            "title": self.title,
            "verdicts": plain(verdicts),
            "table": [plain({**row, "config": None}) | {"config": row["config"]} for row in self.table],
            "trials": plain(list(self.trials)),
            "pictures": [picture.json() for picture in self.pictures],
            "warnings": list(self.warnings),
            "environment": plain(self.environment),
            "commands": list(self.commands),
        }

    def packed(self) -> dict[str, Any]:
        """The content of curves.json: as `curves`, but what most of them share, the steps, stands there once."""
        steps: list[Sequence[float]] = []
        for series in self.curves:
            if series["steps"] not in steps:
                steps.append(series["steps"])
        return {"steps": steps, "curves": [{**c, "steps": steps.index(c["steps"])} for c in self.curves]}

    def _repr_html_(self) -> str:
        from .render import summary

        return summary(self)


def build(study: Study, plan: Sequence[Spec], records: Sequence[Record]) -> Report:
    """The report of the finished runs of a plan. Raises Problem where there are none."""
    scale = plan[0].scale
    if not records:
        again = facts.command(study, scale, facts.choice(study, plan, []), plan[0].precision)
        raise Problem(f"no finished runs of {study.name} at scale {scale}; `{again}` makes them")
    chosen = facts.choice(study, plan, records)
    saved = {
        "scale": scale,
        "code": records[0].spec.code,
        "title": facts.title(study, scale, records),
        "data": facts.data(records),
        "changed": facts.changed(study, plan),
        "choice": chosen,
        "warnings": facts.warnings(study, plan, records),
        "environment": facts.environment(records),
        "commands": [facts.command(study, scale, chosen, records[0].spec.precision)],
        "pictures": sheets.collect(study, records),
    }
    configs = {spec.variant: dict(spec.config) for spec in plan}
    trials = [
        {
            "variant": record.spec.variant,
            "seed": record.spec.seed,
            "metrics": {name: tidy(value) for name, value in sorted(record.metrics.items())},
            "seconds": tidy(float(record.env.get("seconds", math.nan))),
            "precision": record.spec.precision,
            "threads": record.spec.threads,
            "key": record.spec.key,
        }
        for record in records
    ]
    return _report(study, configs, trials, [series for record in records for series in _curves(record)], saved)


def read(folder: Path, study: Study) -> Report:
    """The report that `render.write` left in a folder, judged again. Raises Problem where it is not of this study."""
    remedy = f"run `etudes run {study.name}` and report again"
    saved = read_json(folder / "report.json", remedy, check=lambda value: isinstance(value, dict) and "trials" in value)
    packed = read_json(folder / "curves.json", remedy, check=lambda value: {"steps", "curves"} == set(value))
    curves = [{**series, "steps": packed["steps"][series["steps"]]} for series in packed["curves"]]
    card, names = saved["study"], {variant.name for variant in study.variants}
    if (card["name"], card["revision"]) != (study.name, study.revision):
        found = f"{card['name']}, revision {card['revision']}"
        raise Problem(f"{folder} reports {found}, but this is {study.name}, revision {study.revision}; {remedy}")
    if saved["scale"] not in study.scales or not names.issuperset(row["variant"] for row in saved["table"]):
        raise Problem(f"{folder} reports a scale or variants which {study.name} no longer has; {remedy}")
    configs = {row["variant"]: row["config"] for row in saved["table"]}
    pictures = sheets.restore(study, saved.get("pictures", []), folder, remedy)
    return _report(study, configs, saved["trials"], curves, {"code": "", **saved, "pictures": pictures})


def _report(
    study: Study,
    configs: Mapping[str, Mapping[str, Any]],
    trials: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    saved: Mapping[str, Any],
) -> Report:
    records = [
        Record(
            Spec(study.name, saved["scale"], t["variant"], t["seed"], configs[t["variant"]], t["precision"],
                 t.get("threads", 0), study.revision, saved.get("code", "")), t["metrics"],
            {"seconds": t["seconds"] or math.nan}, Path(t["key"]),
        )
        for t in trials
    ]  # fmt: skip
    verdicts = judge(study, records)
    card = catalogue.card(study)
    for claim, verdict in zip(card["claims"], verdicts, strict=True):
        claim["verdict"] = verdict.verdict
    kept = {name: saved[name] for name in saved if name in Report.__dataclass_fields__ and name != "study"}
    origin = facts.origin(study, saved.get("code", ""), saved["environment"])
    kept["warnings"] = [*origin, *(words for words in saved["warnings"] if words not in origin)]
    return Report(
        **kept | {"verdicts": verdicts, "table": _table(study, configs, trials), "trials": trials},
        definition=study,
        study=card,
        curves=curves,
        departures=facts.departures(study),
    )


def _table(
    study: Study, configs: Mapping[str, Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    rows = []
    for variant in study.variants:
        own = [trial for trial in trials if trial["variant"] == variant.name]
        if not own:
            continue
        names = sorted({name for trial in own for name in trial["metrics"]})
        metrics = {name: _summary([t["metrics"][name] for t in own if name in t["metrics"]]) for name in names}
        size = metrics.pop("parameters", None)
        rows.append(
            {
                "variant": variant.name,
                "seeds": len(own),
                "metrics": metrics,
                "parameters": size["mean"] if size else None,
                "seconds": _summary([math.nan if t["seconds"] is None else t["seconds"] for t in own])["mean"],
                "config": dict(configs[variant.name]),
            }
        )
    return rows


def _summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over seeds; the deviation of a single value is None."""
    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
    return {"mean": tidy(mean), "deviation": None if deviation is None else tidy(deviation), "seeds": n}


def _curves(record: Record) -> list[dict[str, Any]]:
    """The run's logged metrics, each as {variant, seed, metric, steps, values} of at most `POINTS` points.

    The seconds that the run had worked by then stand among them.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    times = record.times or [None] * len(record.log)
    for line, seconds in zip(record.log, times, strict=True):
        for name, value in (line if seconds is None else line | {"seconds": seconds}).items():
            if name != "step":
                steps, values = found.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(tidy(value, 5))
    return [
        {
            "variant": record.spec.variant,
            "seed": record.spec.seed,
            "metric": name,
            "steps": thinned(steps, TIMES if name == "seconds" else POINTS),
            "values": thinned(values, TIMES if name == "seconds" else POINTS),
        }
        for name, (steps, values) in sorted(found.items())
    ]


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, evenly spaced, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
