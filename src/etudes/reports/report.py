"""What a report is: the numbers, verdicts and words of a study's runs at one scale."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core.errors import unknown
from etudes.core.spec import Study
from etudes.core.verdicts import Verdict
from etudes.reports import facts, remarks, words
from etudes.reports.left import Exhibit, Exhibition
from etudes.reports.look import frame
from etudes.reports.numbers import NONE, estimate, figure, number, plain, spread
from etudes.reports.replication import Replication

if TYPE_CHECKING:
    import altair


@dataclass(frozen=True)
class Report:
    """What the runs of one study at one scale say.

    `study` is the study's card with a verdict for each claim; `table` has a row for each variant, `trials` an entry for
    each run, `curves` one for each logged metric of each run, `exhibits` one for each file of the runs that a chart
    shows. `choice` are the keyword arguments of `etudes.run` that lead here, of which `changed` are the Config fields.
    `comparisons` has a row for each variant of the user's own, each of those beside it, and each measured number.
    `registration` is what was written down before the first judged run (see `etudes.core.registration`), if anything.
    `replication` is what came of the same claims under other seeds, where that was tried.
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
    exhibits: Sequence[Exhibit]
    warnings: Sequence[str]
    environment: Mapping[str, Any]
    commands: Sequence[str]
    registration: Mapping[str, Any] | None = None
    replication: Replication | None = None
    departures: str = ""
    comparisons: Sequence[Mapping[str, Any]] = ()
    committed: Path | None = None

    @functools.cached_property
    def metrics(self) -> list[str]:
        """The names of the measured numbers, without the count of parameters."""
        return sorted({name for trial in self.trials for name in trial["metrics"]} - {"parameters"})

    @property
    def seeds(self) -> str:
        """How many seeds its variants have, in words: "5 to 12 seeds"."""
        counts = sorted({row["seeds"] for row in self.table})
        return f"{counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} {'seed' if counts[-1] == 1 else 'seeds'}"

    @functools.cached_property
    def constants(self) -> dict[str, float]:
        """{name: value} of the measured numbers that are the same in every run of all variants, of which there are
        several: they make no column."""
        found = {}
        for name in self.metrics if len(self.table) > 1 else ():
            values = {trial["metrics"].get(name) for trial in self.trials}
            if len(values) == 1 and None not in values:
                found[name] = values.pop()
        return found

    @property
    def main_metrics(self) -> list[str]:
        """The measured numbers that lead the tables: those that the study has words for, without constants."""
        return words.main(self.definition, [name for name in self.metrics if name not in self.constants])

    @property
    def cautions(self) -> list[str]:
        """What a reader has to know before believing a number."""
        return [warning for warning in self.warnings if not facts.is_of_machine(warning)]

    @property
    def notes(self) -> list[str]:
        """Those of the warnings that are about code and machines."""
        return [warning for warning in self.warnings if facts.is_of_machine(warning)]

    def folder(self, root: Path) -> Path:
        """Where the report belongs below the root of the runs: each choice of fields and variants has its own."""
        choice = {name: value for name, value in self.choice.items() if name not in ("seeds", "until")}
        name = f"report-{facts.digest(choice)}" if choice else "report"
        return root / self.definition.name / self.scale / name

    def chart(self, name: str) -> "altair.Chart | Exhibition":
        """The study's chart of that name, titled. Raises Problem where there is none, or nothing to draw."""
        charts = {chart.name: chart for chart in self.definition.charts}
        if name not in charts:
            raise unknown(f"chart of {self.definition.name}", name, charts)
        drawn = charts[name].draw(self)
        return drawn if isinstance(drawn, Exhibition) else frame(drawn, charts[name].title, self.title)

    def verdict_rows(self) -> list[dict[str, str]]:
        """A row of words for each claim: its sentence, the `number` that decides it, what our runs say of that, and
        `paper`, the paper's figure."""
        rows = []
        for verdict in self.verdicts:
            claim, n = verdict.claim, len(verdict.values)
            even = claim.kind == "difference"
            mean, interval = estimate(verdict.mean, verdict.low, verdict.high, claim.expect.ends, even=even)
            rows.append(
                {
                    "claim": verdict.sentence,
                    "number": words.number(self.definition, claim),
                    "where": claim.where,
                    "verdict": verdict.verdict,
                    "mean": mean,
                    "interval": interval,
                    "p": f"{verdict.p:.2g}" if math.isfinite(verdict.p) else NONE,
                    "expected": str(claim.expect),
                    "agree": f"{verdict.agree} of {n}" if n else NONE,
                    "paper": figure(claim.paper),
                    "remark": remarks.remark(self.definition, self.scale, self.trials, verdict),
                }
            )
        return rows

    def table_rows(self, metrics: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
        """The headings in words, and the cells of a row for each variant: means over seeds and their standard
        deviations, of these metrics, or of all that are no constants, with the seeds, parameters and seconds."""
        names = [name for name in self.metrics if name not in self.constants] if metrics is None else list(metrics)
        whole = metrics is None
        counted = whole and any(row["parameters"] is not None for row in self.table)
        named = [words.of(self.definition, name) for name in names]
        head = ["variant", *["seeds"] * whole, *named, *["parameters"] * counted, *["seconds"] * whole]
        body = []
        for row in self.table:
            found = [row["metrics"].get(name, {"mean": None, "deviation": None}) for name in names]
            cells = [spread(metric["mean"], metric["deviation"]) for metric in found]
            size = [number(row["parameters"])] if counted else []
            seconds = [number(row["seconds"], 3)] if whole else []
            body.append([row["variant"], *[str(row["seeds"])] * whole, *cells, *size, *seconds])
        return head, body

    def constant_sentences(self) -> list[str]:
        """What each constant is, in a sentence."""
        said = {words.of(self.definition, name): spread(value, 0.0) for name, value in self.constants.items()}
        return [f"{words.capital(named)}: {value} in all variants." for named, value in said.items()]

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
                "p": v.p,
                "agree": v.agree,
                "seeds": len(v.values),
                "is_small": v.is_small,
                "deviation": v.deviation,
                "sees": v.sees,
                "last_sees": v.last_sees,
                "next_look": v.next_look,
                "noise": v.noise,
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
            "exhibits": [exhibit.json() for exhibit in self.exhibits],
            "warnings": list(self.warnings),
            "environment": plain(self.environment),
            "commands": list(self.commands),
            "registration": self.registration,
            **({"comparisons": plain(list(self.comparisons))} if self.definition.own else {}),
        }

    def curves_json(self) -> dict[str, Any]:
        """The content of curves.json: as `curves`, but what most of them share, the steps, stands there once, and what
        was logged a single time, which `trials` have, stands there not at all."""
        found = [series for series in self.curves if len(series["steps"]) > 1]
        steps: list[Sequence[float]] = []
        for series in found:
            if series["steps"] not in steps:
                steps.append(series["steps"])
        return {"steps": steps, "curves": [{**c, "steps": steps.index(c["steps"])} for c in found]}
