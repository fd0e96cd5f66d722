"""From finished runs, or from a folder that holds their report, to a `Report`.

All numbers of a report follow from its `trials`, which are rounded as report.json holds them. So a report that is read
back says, draws and judges the same as the one that was built from the runs, to the last digit.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etudes.core import catalogue, registration
from etudes.core.configs import as_tuples
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.core.inference import mean_and_deviation
from etudes.core.record import Record
from etudes.core.spec import Spec, Study
from etudes.core.verdicts import Verdict, judge
from etudes.reports import compare, facts, left, replication
from etudes.reports.numbers import thin, tidy
from etudes.reports.report import Report

POINTS = 200  # kept of a logged metric of a run
TIMES = 20  # and of its seconds, which rise almost evenly


def build(
    study: Study,
    plan: Sequence[Spec],
    records: Sequence[Record],
    registered: Mapping[str, Any] | None = None,
) -> Report:
    """The report of the finished runs of a plan. Raises Problem where there are none.

    `registered` is what was written down before the first of them, see `etudes.core.registration`.
    """
    scale = plan[0].scale
    if study.own:  # what else was run of those beside them does not enter the comparison
        seeds = {spec.seed for spec in plan}
        records = [record for record in records if record.spec.seed in seeds]
    if not records:
        again = facts.command(study, scale, facts.choice(study, plan, []), plan[0].precision)
        raise Problem(f"no finished runs of {study.name} at scale {scale}; `{again}` makes them")
    chosen = facts.choice(study, plan, records)
    saved = {
        "scale": scale,
        "code": records[0].spec.code,
        "title": facts.title(study, scale, records),
        "data": facts.data(records),
        "changed": facts.changes(study, plan),
        "choice": chosen,
        "warnings": facts.warnings(study, plan, records),
        "environment": facts.environment(records),
        "commands": [facts.command(study, scale, chosen, records[0].spec.precision)],
        "exhibits": left.collect(study, records),
        "registration": registered,
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
            **({"absent": list(record.absent)} if record.absent else {}),
            **({"diverged": record.diverged} if record.diverged else {}),
        }
        for record in records
    ]
    return _report(study, configs, trials, [series for record in records for series in _curves(record)], saved)


def read(folder: Path, study: Study) -> Report:
    """The report that `render.write` left in a folder, judged again. Raises Problem where it is not of this study."""
    remedy = f"run `etudes run {study.name}` and report again"
    saved = {"code": ""} | read_json(
        folder / "report.json", remedy, check=lambda value: isinstance(value, dict) and "trials" in value
    )
    packed = read_json(folder / "curves.json", remedy, check=lambda value: {"steps", "curves"} == set(value))
    curves = [{**series, "steps": packed["steps"][series["steps"]]} for series in packed["curves"]]
    card = saved["study"]
    another, scale = (card["name"], card["revision"]) != (study.name, study.revision), study.scales.get(saved["scale"])
    if another and (card["name"] != study.name or not scale or scale.judges):
        found = f"{card['name']}, revision {card['revision']}"
        raise Problem(f"{folder} reports {found}, but this is {study.name}, revision {study.revision}; {remedy}")
    if another:  # where nothing is judged, what an earlier revision left is still worth a look
        said = f"The runs were made under revision {card['revision']} of {study.name}."
        saved["warnings"] = list(dict.fromkeys([said, *saved["warnings"]]))
    if own := saved.get("choice", {}).get("vary"):
        study = study.vary(own)
    names = {variant.name for variant in study.variants}
    if saved["scale"] not in study.scales or not names.issuperset(row["variant"] for row in saved["table"]):
        raise Problem(f"{folder} reports a scale or variants which {study.name} no longer has; {remedy}")
    configs = {row["variant"]: as_tuples(row["config"]) for row in saved["table"]}
    exhibits = left.restore(study, saved.get("exhibits", []), folder, remedy)
    again = replication.read(folder / replication.FILE, study)
    return _report(study, configs, saved["trials"], curves, {**saved, "exhibits": exhibits, "replication": again})


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
                 t.get("threads", 0), study.revision, saved["code"]), t["metrics"],
            {"seconds": t["seconds"] or math.nan}, Path(t["key"]), t.get("absent", ()), t.get("diverged", ""),
        )
        for t in trials
    ]  # fmt: skip
    changed = registration.alterations(study, saved.get("registration"))
    verdicts = judge(study, records, changed=changed)
    card = catalogue.card(study)
    for claim, verdict in zip(card["claims"], verdicts, strict=True):
        claim["verdict"] = verdict.verdict
    kept = {name: saved[name] for name in saved if name in Report.__dataclass_fields__ and name != "study"}
    origin = facts.origin(study, saved["code"], saved["environment"])
    first = [*origin, *_unjudged(verdicts, {k: v for k, v in changed.items() if k not in study.claims})]
    kept["warnings"] = [*first, *(words for words in saved["warnings"] if words not in first)]
    kept |= {"table": _table(study, configs, trials), "comparisons": compare.comparisons(study, trials)}
    return Report(
        **kept | {"verdicts": verdicts, "trials": trials},
        definition=study,
        study=card,
        curves=curves,
        departures=facts.departures(study),
    )


def _unjudged(verdicts: Sequence[Verdict], left_out: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each reason for which claims are not judged; {sentence: reason} of those that were left out."""
    reasons: dict[str, list[str]] = {}
    for sentence, why in [*((v.sentence, v.reason) for v in verdicts if v.verdict == "not judged"), *left_out.items()]:
        reasons.setdefault(why, []).append(sentence)
    for why, sentences in reasons.items():
        if why and "not run" not in why and "not measured" not in why:
            said = sentences[0] if len(sentences) == 1 else f"{len(sentences)} claims"
            yield f"Not judged: {said}; {why}."


def _table(
    study: Study, configs: Mapping[str, Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    rows = []
    for variant in study.variants:
        own = [trial for trial in trials if trial["variant"] == variant.name]
        if not own:
            continue
        finished = [trial for trial in own if not trial.get("diverged")]
        names = sorted({name for trial in own for name in trial["metrics"]})
        metrics = {name: _summary([t["metrics"][name] for t in own if name in t["metrics"]]) for name in names}
        size = metrics.pop("parameters", None)
        rows.append(
            {
                "variant": variant.name,
                "seeds": len(finished),
                "metrics": metrics,
                "parameters": size["mean"] if size else None,
                "seconds": _summary([math.nan if t["seconds"] is None else t["seconds"] for t in finished])["mean"],
                "config": dict(configs[variant.name]),
            }
        )
    return rows


def _summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over seeds; the deviation of a single value is None, as is no mean at all."""
    if not values:
        return {"mean": None, "deviation": None, "seeds": 0}
    mean, deviation = mean_and_deviation(values)
    return {"mean": tidy(mean), "deviation": tidy(deviation) if len(values) > 1 else None, "seeds": len(values)}


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
            "steps": thin(steps, TIMES if name == "seconds" else POINTS),
            "values": thin(values, TIMES if name == "seconds" else POINTS),
        }
        for name, (steps, values) in sorted(found.items())
    ]
