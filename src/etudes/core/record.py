"""Finished runs on disk, as `Record`s: what `etudes.core.run` leaves in a run's folder."""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.core.configs import as_tuples
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.core.spec import Spec, Study, first_seed

DIVERGED = "diverged.json"  # what a run leaves that diverged, in place of a result
UNKNOWN = "unknown"  # what a code is called that was not written down: of runs made before it was


def is_finished(folder: Path) -> bool:
    """Whether the run is finished. Raises Problem where its result is not whole."""
    path = folder / "result.json"
    if not path.exists():
        return False
    read_json(path, f"delete {folder} and run the same command again")
    if (folder / "progress.json").exists():  # killed after its result, before it had cleaned up
        clean(folder)
    return True


def clean(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in [*folder.glob("checkpoint-*"), *folder.glob(".*.*"), folder / "progress.json"]:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Record:
    """A finished run, as read from its folder. `absent` are the metrics that were not finite.

    A run that diverged is a record too, without metrics: `diverged` says how.
    """

    spec: Spec
    metrics: Mapping[str, float]
    env: Mapping[str, Any]
    folder: Path
    absent: Sequence[str] = ()
    diverged: str = ""

    @functools.cached_property
    def log(self) -> list[dict[str, float]]:
        """The logged lines, each {"step": i, name: number, ...}."""
        try:
            return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        except ValueError:
            raise Problem(f"{self.folder / 'log.jsonl'} is not whole; delete {self.folder} and run again") from None

    @functools.cached_property
    def times(self) -> list[float]:
        """The seconds that the run had worked when it logged each line; [] where that is not known."""
        path = self.folder / "times.txt"
        try:
            times = [float(line) for line in path.read_text().splitlines()] if path.exists() else []
        except ValueError:
            times = []
        return times if len(times) == len(self.log) else []


def read(folder: Path) -> Record:
    """The finished run in a folder, or the one that diverged there. Raises Problem on files that are not whole."""
    remedy = f"delete {folder} and run the same command again"
    spec = read_spec(folder)
    if not (folder / "result.json").exists():
        return Record(spec, {}, {}, folder, diverged=read_json(folder / DIVERGED, remedy)["reason"])
    result = read_json(folder / "result.json", remedy)
    metrics = {name: number for name, number in result.items() if number is not None}
    return Record(spec, metrics, read_json(folder / "env.json", remedy), folder, sorted(result.keys() - metrics.keys()))


def read_spec(folder: Path) -> Spec:
    """What the run in a folder was asked for. Raises Problem where its file is not whole."""
    fields = read_json(folder / "spec.json", f"delete {folder} and run the same command again", check=_is_spec)
    # Runs made before these two were written down: whatever they were is not what a plan asks for.
    return Spec(**{"threads": 0, "code": ""} | fields | {"config": as_tuples(fields["config"])})


def load(plan: Sequence[Spec], root: Path) -> list[Record]:
    """The runs with the configs and the code of `plan` that are finished or diverged, ordered by seed and variant.

    They are of any seed of those that belong together with the plan's: of a judgement, a replication or a tuning.
    Where a variant and seed was run in several precisions or with several numbers of threads, those that most runs
    have are taken, then the plan's. Raises Problem on files that are not whole.
    """
    found: dict[tuple[int, str], list[Record]] = {}
    for path, spec, wanted in _alike(plan, root):
        if spec.code == wanted.code and first_seed(spec.seed) == first_seed(wanted.seed):
            found.setdefault((spec.seed, spec.variant), []).append(read(path))
    first = plan[0]
    counts = Counter((r.spec.precision, r.spec.threads) for records in found.values() for r in records)
    order = list(dict.fromkeys(spec.variant for spec in plan))

    def rank(record: Record) -> tuple[int, bool]:
        how = (record.spec.precision, record.spec.threads)
        return counts[how], how == (first.precision, first.threads)

    return [max(found[key], key=rank) for key in sorted(found, key=lambda key: (key[0], order.index(key[1])))]


def other_code(plan: Sequence[Spec], root: Path) -> dict[str, int]:
    """{code: finished runs} of what `load` leaves out because the study's program was another."""
    codes = Counter(spec.code for _, spec, _ in _alike(plan, root))
    return {code: count for code, count in sorted(codes.items()) if code != plan[0].code}


def _alike(plan: Sequence[Spec], root: Path) -> Iterator[tuple[Path, Spec, Spec]]:
    """Runs with the configs of a plan that are finished or diverged, whatever the seed, precision, threads and code: of
    each the folder, its spec, and that of the plan."""
    for variant, wanted in {spec.variant: spec for spec in plan}.items():
        ended = (root / wanted.study / wanted.scale / variant).glob("*/*.json")
        for path in sorted(path for path in ended if path.name in ("result.json", DIVERGED)):
            spec = read_spec(path.parent)
            free = {name: getattr(spec, name) for name in ("seed", "precision", "threads", "code")}
            if dataclasses.replace(wanted, **free) == spec:
                yield path.parent, spec, wanted


def latest(study: Study, root: Path, scale: str = "", variant: str = "") -> Record:
    """The run of the study's present revision that was finished last, of any scale and variant unless named.

    Raises Problem where there is none.
    """
    fields = {f.name for f in dataclasses.fields(study.config)}
    paths = (root / study.name).glob(f"{scale or '*'}/{variant or '*'}/*/result.json")
    for path in sorted(
        (p for p in paths if p.parents[2].name != "once"), key=lambda p: p.stat().st_mtime, reverse=True
    ):
        record = read(path.parent)
        if record.spec.revision == study.revision and record.spec.config.keys() == fields:
            return record
    which = f" at scale {scale}" * bool(scale) + f" of variant {variant}" * bool(variant)
    raise Problem(f"no finished run of {study.name}{which} in {root}; `etudes run {study.name}` makes some")


def _is_spec(value: Any) -> bool:
    fields = {f.name for f in dataclasses.fields(Spec)}
    return isinstance(value, dict) and value.keys() | {"threads", "code"} == fields
