"""What a table depends on besides its numbers: the data, what was changed, the environment, and what to beware of."""

import csv
import hashlib
import io
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etudes.core import catalogue, verdicts
from etudes.core.record import Record
from etudes.core.spec import REPLICATION, TUNING, Spec, Study, first_seed
from etudes.reports.words import capital

# What must be equal in all runs of a table for its rows to be comparable, and how a warning calls it.
COMPARED = {
    "library": "the project's modules that the study uses",
    "host": "the machine",
    "device": "the device",
    "precision": "the precision",
    "processes": "the number of processes",
    "threads": "the number of threads",
    "python": "the version of Python",
}
MODULES = "The project's modules that the study uses have changed since the runs."
UNCOMMITTED = "The code that made the runs was not committed."
DIFFER = "The runs differ in"


def data(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The distinct data sets that the runs noted, in the order met."""
    found: list[dict[str, Any]] = []
    for record in records:
        for entry in _entries(record):
            if entry not in found:
                found.append(dict(entry))
    return found


def _entries(record: Record) -> list[Mapping[str, Any]]:
    noted = record.env.get("data", [])
    return list(noted) if isinstance(noted, list) else [noted]


def title(study: Study, scale: str, records: Sequence[Record]) -> str:
    """ "mixup on cifar10, laptop scale", with the data really used."""
    noted = [str(entry["dataset"]) for entry in data(records) if "dataset" in entry]
    asked = [str(record.spec.config["dataset"]) for record in records if "dataset" in record.spec.config]
    used = " and ".join(dict.fromkeys(noted or asked))
    return f"{study.name} on {used}, {scale} scale" if used else f"{study.name}, {scale} scale"


def changes(study: Study, plan: Sequence[Spec]) -> dict[str, Any]:
    """The Config fields in which the plan differs from the plain plan of its scale."""
    usual = study.configs[plan[0].scale]
    return {
        name: value
        for spec in plan
        for name, value in spec.config.items()
        if value != usual[spec.variant][name]
    }  # fmt: skip


def choice(study: Study, plan: Sequence[Spec], records: Sequence[Record]) -> dict[str, Any]:
    """The keyword arguments of `etudes.run` that lead to these runs: variants and seeds, where not all, variants of a
    user's own, and changes."""
    chosen: dict[str, Any] = {}
    asked = list(dict.fromkeys(spec.variant for spec in plan))
    scale = study.scales[plan[0].scale]
    if study.own:
        chosen["variants"] = [name for name in asked if name not in study.own]
        chosen["vary"] = {v.name: dict(v.changes) for v in study.variants if v.name in study.own}
    elif {*asked} != {*usual_variants(study, plan[0].scale)}:
        chosen["variants"] = asked
    first = first_seed(plan[0].seed)
    chosen |= {name: True for name, seed in (("tune", TUNING), ("replicate", REPLICATION)) if first == seed}
    specs = [*plan, *(record.spec for record in records)]
    seeds = {name: 1 + max(s.seed for s in specs if s.variant == name) - first for name in asked}
    if len({*seeds.values()}) > 1 and max(seeds.values()) in scale.looks:
        chosen["until"] = "decided"
    elif max(seeds.values()) != (1 if first == TUNING else scale.looks[0]):
        chosen["seeds"] = max(seeds.values())
    if plan[0].threads != scale.threads:
        chosen["threads"] = plan[0].threads
    return chosen | changes(study, plan)


def usual_variants(study: Study, scale: str) -> list[str]:
    """The names of those that a scale runs where none are named."""
    return list(study.scales[scale].variants) or [variant.name for variant in study.variants]


def command(study: Study, scale: str, chosen: Mapping[str, Any], precision: str) -> str:
    """The command line that performs these runs. The precision ("": any) is named where the hardware would decide."""
    words = ["etudes", "replicate" if "replicate" in chosen else "run", address(study), "--scale", scale]
    for name, value in chosen.items():
        if name == "replicate":
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif name == "variants":
            words += [f"--{flag}", ",".join(value)]
        elif name == "vary":
            words += [word for own, changed in value.items() for word in (f"--{flag}", own_words(own, changed))]
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    if precision and study.precision == "auto":
        words += ["--precision", precision]
    return shlex.join(words)


def own_words(name: str, changed: Mapping[str, Any]) -> str:
    """A variant of a user's own as the command line takes it: "mine: alpha=0.4 draw=example"."""

    def text(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return str(value)
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(value)
        return line.getvalue()

    return f"{name}: {' '.join(shlex.quote(f'{field}={text(value)}') for field, value in changed.items())}"


def report_command(study: Study, scale: str, root: str) -> str:
    """The command line that shows the runs of a scale below `root` ("": the usual one)."""
    words = ["etudes", "report", address(study), "--scale", scale]
    return shlex.join([*words, "--root", root] if root else words)


def address(study: Study) -> str:
    """What to call the study by: its name, or the name of its file where it is not one of the catalogue."""
    if study.name in catalogue.names():
        return study.name
    return Path(getattr(sys.modules.get(study.config.__module__), "__file__", None) or study.name).name


def digest(chosen: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]


def departures(study: Study) -> str:
    """What the study's docstring says after "Departures from the paper:", on one line; "" without such a paragraph."""
    text = getattr(sys.modules.get(study.config.__module__), "__doc__", None) or ""
    for paragraph in text.split("\n\n"):
        if paragraph.lstrip().startswith("Departures"):
            said = re.sub(r"^Departures(?: from the \w+)? ?(at [^:.]*)?[:.] ", _place, " ".join(paragraph.split()))
            return capital(said)
    return ""


def _place(found: re.Match[str]) -> str:
    return f"{found[1]}: " if found[1] else ""


def is_of_machine(warning: str) -> bool:
    """Whether a warning is about the code or the machines of the runs, and not about what is measured."""
    return warning in (MODULES, UNCOMMITTED) or (warning.startswith(DIFFER) and f"{DIFFER} the data " not in warning)


def environment(records: Sequence[Record]) -> dict[str, Any]:
    """The noted facts that all runs have in common; of the libraries, those of one version."""
    shared = _common([{k: v for k, v in r.env.items() if k not in ("data", "seconds", "libraries")} for r in records])
    libraries = _common([record.env.get("libraries", {}) for record in records])
    if commits := dict.fromkeys(record.env["commit"] for record in records if record.env.get("commit")):
        shared["commit"] = ", ".join(commits)  # what one command began, another may have gone on with later
    return shared | ({"libraries": libraries} if libraries else {})


def _common(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all have alike; of what is compared, such as the device, what those have alike that noted it."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for noted in facts for name in noted):
        values = [noted[name] for noted in facts if name in noted]
        if all(value == values[0] for value in values) and (len(values) == len(facts) or name in COMPARED):
            found[name] = values[0]
    return found


def warnings(study: Study, plan: Sequence[Spec], records: Sequence[Record]) -> list[str]:
    """A sentence for all that keeps the rows from being comparable, the table from being whole, or claims unjudged."""
    parts = (_differences(records), _gaps(plan, records), _numbers(records))
    return [sentence for part in (*parts, _reasons_not_judged(study, plan, records)) for sentence in part]


def origin(study: Study, code: str, environment: Mapping[str, Any]) -> list[str]:
    """What is to be known of the code that made the runs, if it is not the present one, or was never committed."""
    said = []
    if code != study.code:
        made = f" ({code}, and now {study.code})" if code else ""
        said.append(f"The runs were made by other code of {study.name} than the present{made}.")
    elif study.library not in ("", environment.get("library")):
        said.append(MODULES)
    if "+" in str(environment.get("commit", "+")):
        said.append(UNCOMMITTED)
    return said


def _numbers(records: Sequence[Record]) -> list[str]:
    """What is odd in the numbers themselves: some are not finite, or the seed has no effect."""
    said = [
        f"{name} of {record.spec.variant} is not finite under seed {record.spec.seed}; claims about it are not judged."
        for record in records
        for name in record.absent
    ]
    by_variant: dict[str, list[Mapping[str, float]]] = {}
    for record in records:
        by_variant.setdefault(record.spec.variant, []).append(record.metrics)
    same = [name for name, metrics in by_variant.items() if len(metrics) > 1 and all(m == metrics[0] for m in metrics)]
    if same:
        said.append(f"The seed has no effect on {', '.join(same)}: all seeds gave the same numbers.")
    return said


def _differences(records: Sequence[Record]) -> list[str]:
    said = []
    for name, words in COMPARED.items():
        said += _differ(words, (record.env.get(name) for record in records))
    libraries = [record.env.get("libraries", {}) for record in records]
    for library in sorted({name for found in libraries for name in found}):
        said += _differ(f"the version of {library}", (found.get(library) for found in libraries))
    prints: dict[str, list[str]] = {}
    for record in records:
        for entry in _entries(record):
            if "fingerprint" in entry:
                prints.setdefault(str(entry.get("dataset", "the data")), []).append(str(entry["fingerprint"])[:8])
    for dataset, found in prints.items():
        said += _differ(f"the data called {dataset}", found)
    return said


def _differ(words: str, values: Iterable[Any]) -> list[str]:
    counts = Counter(str(value) for value in values if value is not None)  # None: the run did not note it
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{value} ({n} {'run' if n == 1 else 'runs'})" for value, n in counts.items())
    return [f"{DIFFER} {words}: {listed}."]


def _gaps(plan: Sequence[Spec], records: Sequence[Record]) -> list[str]:
    have = {(record.spec.variant, record.spec.seed) for record in records}
    seeds = {spec.seed for spec in plan}
    said = []
    for variant in dict.fromkeys(spec.variant for spec in plan):
        own = {seed for name, seed in have if name == variant}
        # A variant that undecided claims read has more seeds than others.
        wanted = sorted(seeds.union(*(range(min(seeds), seed) for seed in own)))
        missing = [str(seed) for seed in wanted if seed not in own]
        if not own:
            said.append(f"Variant {variant} has no finished run.")
        elif missing:
            said.append(f"Variant {variant} misses {'seed' if len(missing) == 1 else 'seeds'} {', '.join(missing)}.")
    return said


def _reasons_not_judged(study: Study, plan: Sequence[Spec], records: Sequence[Record]) -> list[str]:
    if said := verdicts.why_not_judged(study, records):
        return [said]
    asked = {spec.variant for spec in plan}
    absent = [name for name in usual_variants(study, plan[0].scale) if name not in asked]
    if absent:
        return [f"Claims about variants that were not run are not judged: {', '.join(absent)}."]
    return []
