"""What notebooks call: a study, its runs, its report, and what a network of it writes."""

import dataclasses
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from etudes.core import catalogue, registration
from etudes.core.checkpoints import save_seconds
from etudes.core.errors import Problem
from etudes.core.files import write_json
from etudes.core.record import DIVERGED, UNKNOWN, Record, latest, load
from etudes.core.record import read as read_run
from etudes.core.run import device
from etudes.core.spec import Changes, Spec, Study
from etudes.core.verdicts import judge
from etudes.reports import facts, replication
from etudes.reports.build import build, read
from etudes.reports.replication import Replication
from etudes.reports.report import Report

if TYPE_CHECKING:
    from etudes.sweep.cluster import Cluster
    from etudes.sweep.plan import Outcome
    from etudes.sweep.store import Store

ROOT = Path("runs")


def study(name: str) -> Study:
    """The study of that name, or the one defined in the Python file at that path. Raises Problem."""
    return catalogue.find(name)


@dataclass(frozen=True)
class Options:
    """What of a study is to be run, and how, beside the fields of its Config.

    `variants` (): those of the scale; `seeds` and `threads` None: as many as the scale says. `tune` takes seeds that
    never judge, `replicate` those of a replication. `until` "decided" goes on, look by look, with the variants that
    undecided claims read. `budget` is the seconds that it all may take. `root` is a folder or a URL (see
    `etudes.sweep.store`). `cluster` (see `etudes.sweep.cluster`) performs the plan in place of this machine, and
    `tracker` shows each finished run (see `etudes.sweep.tracking`). `vary` are variants of the user's own, {name:
    changed fields}: they are compared with `variants`, by default with the scale's first, and nothing is judged.
    """

    scale: str = "laptop"
    variants: Sequence[str] = ()
    seeds: int | None = None
    threads: int | None = None
    tune: bool = False
    replicate: bool = False
    until: Literal["", "decided"] = ""
    budget: float = math.inf
    root: Path | str = ROOT
    precision: str = "auto"
    cluster: "Cluster | None" = None
    tracker: str = ""
    vary: Mapping[str, Changes] = dataclasses.field(default_factory=dict)


def run(
    study: Study | str,
    scale: str = "laptop",
    *,
    variants: Sequence[str] = (),
    seeds: int | None = None,
    threads: int | None = None,
    tune: bool = False,
    replicate: bool = False,
    until: Literal["", "decided"] = "",
    budget: float = math.inf,
    root: Path | str = ROOT,
    precision: str = "auto",
    cluster: "Cluster | None" = None,
    tracker: str = "",
    vary: Mapping[str, Changes] | None = None,
    **fields: Any,
) -> Report:
    """The report of a scale's runs, after those that are left of them have been performed below `root`.

    The options are those of `Options`; `fields` override fields of the study's Config. Where data of the scale that no
    field names can be had from nowhere, its offline changes are made and announced. Raises Problem on bad input, and
    Broken where the program raises; a run that diverges is told of and left out of the report.
    """
    options = Options(
        scale, variants, seeds, threads, tune, replicate, until, budget, root, precision, cluster, tracker, vary or {}
    )
    return run_all(study, options, fields)[0]


def run_all(study: Study | str, options: Options, fields: Mapping[str, Any]) -> tuple[Report, list["Outcome"]]:
    """As `run`; the report, and what came of the runs that were left."""
    from etudes.sweep import tracking
    from etudes.sweep.plan import OutOfTime, code_notes, note, pending
    from etudes.sweep.store import Store
    from etudes.train.distribute import rank, wait

    chosen = _chosen(study, options)
    if options.tracker:
        tracking.check(options.tracker)
    console = Console(stderr=True, quiet=rank() > 0)
    plan, notice = _planned(chosen, options, fields)
    if notice:
        console.print(notice, highlight=False)
    store = Store(options.root)
    for words in code_notes(plan, store.folder, _report_command(chosen, options)):
        console.print(words, highlight=False, soft_wrap=True)
    store.bring(plan)
    left = pending(plan, store.folder)
    if len(left) < len(plan):
        console.print(f"{len(plan) - len(left)} of {len(plan)} runs are finished already.", highlight=False)
    if left and not options.cluster:  # what every run would stop at
        save_seconds()
        device()
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + options.budget
    try:
        while True:
            if rank() == 0:
                note(list({spec.key: spec for spec in [*plan, *left]}.values()), store.folder)
            outcomes += _performed(chosen, left, store, options, console, deadline)
            wait()  # the first process writes the results that all of them read
            left = _further(chosen, plan, options, store, console, deadline) if options.until else []
            if not left:
                break
    except OutOfTime:
        console.print("The budget is used up; the same command goes on.", highlight=False)
    for outcome in outcomes:
        if outcome.reason:
            console.print(outcome.reason, highlight=False)
    records = load(plan, store.folder)
    if not any(record.metrics for record in records):
        raise Problem(f"no run of {chosen.name} was finished; the logs are kept in {store.folder}")
    return build(chosen, plan, records, registration.load(chosen, options.scale, store.folder)), outcomes


def _further(
    study: Study, plan: Sequence[Spec], options: Options, store: "Store", console: Console, deadline: float
) -> list[Spec]:
    """The runs that are left of those which the open claims need for their next look, announced; [] at the end."""
    from etudes.sweep.plan import further, pending
    from etudes.sweep.progress import duration

    registered = registration.load(study, options.scale, store.folder)
    verdicts = judge(study, load(plan, store.folder), changed=registration.alterations(study, registered))
    how = {"precision": plan[0].precision, "threads": options.threads, "replicate": options.replicate}
    wanted = further(verdicts, lambda name, seeds: study.plan(options.scale, variants=[name], seeds=seeds, **how))
    store.bring(wanted)
    left = [spec for spec in pending(wanted, store.folder) if not (store.folder / spec.key / DIVERGED).exists()]
    if left:
        still = [verdict for verdict in verdicts if verdict.is_open]
        count = f"{len(still)} of {len(verdicts)} claims {'is' if len(still) == 1 else 'are'} open"
        rest = deadline - time.monotonic()
        time_left = f"; {duration(max(rest, 0))} of the budget left" if math.isfinite(rest) else ""
        console.print(f"{count}, next at {max(v.next_look for v in still)} seeds{time_left}:", highlight=False)
        for verdict in still:
            console.print(f"  {verdict.sentence}", highlight=False)
    return left


def outlook(study: Study | str, options: Options, fields: Mapping[str, Any]) -> list[str]:
    """What `run` would do, in lines: how many runs, and for each variant what is kept, what is run, and why."""
    from etudes.sweep.plan import code_notes, outlook, pending
    from etudes.sweep.store import Store

    chosen = _chosen(study, options)
    plan, notice = _planned(chosen, options, fields)
    store = Store(options.root)
    store.bring(plan)
    left = len(pending(plan, store.folder))
    lines = [f"{chosen.name}, {options.scale} scale: {left} of {len(plan)} runs would be performed."]
    notes = code_notes(plan, store.folder, _report_command(chosen, options))
    return [*filter(None, [notice]), *lines, *outlook(plan, store.folder), *notes]


def _report_command(study: Study, options: Options) -> str:
    return facts.report_command(study, options.scale, "" if str(options.root) == str(ROOT) else str(options.root))


def _performed(
    study: Study, plan: Sequence[Spec], store: "Store", options: Options, console: Console, deadline: float
) -> list["Outcome"]:
    """What came of the runs, after all have been performed."""
    from etudes.sweep import cluster as clusters
    from etudes.sweep import local, tracking
    from etudes.sweep.progress import PlanProgress

    if not plan:
        return []
    with PlanProgress(plan, console) as progress:

        def finish(outcome: "Outcome") -> None:
            if outcome.status == "done" and not options.cluster:  # a cluster's workers have sent theirs
                store.send(outcome.spec)
            if outcome.status == "done" and options.tracker:
                try:
                    tracking.show(options.tracker, read_run(store.folder / outcome.spec.key), store.folder)
                except Problem as problem:  # no reason to stop the runs
                    console.print(str(problem), highlight=False)
            progress.finish(outcome)

        how: Any = {"watch": progress.watch, "finish": finish, "deadline": deadline}
        if options.cluster:
            return clusters.perform(study, plan, store.root, options.cluster, **how)
        return local.perform(study, plan, store.folder, count=0, **how)


def _planned(study: Study, options: Options, fields: Mapping[str, Any]) -> tuple[list[Spec], str]:
    """The runs, and a sentence where the scale's offline changes are made because its data can be had from nowhere."""
    from etudes.train.precision import resolve

    chosen: Any = {
        name: getattr(options, name) for name in ("scale", "variants", "seeds", "threads", "tune", "replicate")
    }
    chosen |= {"precision": resolve(study, options.precision), **fields}
    plan = study.plan(**chosen)
    if "WORLD_SIZE" in os.environ or not _unreachable(plan, study.scales[options.scale].substitutes.keys() - fields):
        return plan, ""
    offline = study.scales[options.scale].offline.items()
    changes = ", ".join(f"{name} = {value}" for name, value in offline if name not in fields)
    notice = f"No source of the data can be reached: running with {changes} instead, without verdicts."
    return study.plan(offline=True, **chosen), notice


def report(
    study: Study | str,
    scale: str = "laptop",
    *,
    root: Path | str = "",
    code: str = "",
    vary: Mapping[str, Changes] | None = None,
    **fields: Any,
) -> Report:
    """The report of a scale's finished runs below `root`.

    Without a root it is that of the runs in `runs`, or, where there are none, the one committed with the project, which
    has a `committed` folder. `code` is that of the study's program which made the runs, by default the present one.
    `vary` are variants of the user's own, which are then among the runs, and `fields` are those that the runs overrode.
    Raises Problem where there is neither.
    """
    chosen = _found(study)
    if vary:
        chosen = chosen.vary(vary)
    folder = Path(root or ROOT)
    for offline in (False, True):
        plan = chosen.plan(scale, offline=offline, **fields)
        if code:
            plan = [dataclasses.replace(spec, code="" if code == UNKNOWN else code) for spec in plan]
        if records := load(plan, folder):
            found = build(chosen, plan, records, registration.load(chosen, scale, folder))
            again = replication.read(found.folder(folder) / replication.FILE, chosen)
            return dataclasses.replace(found, replication=again)
    committed = catalogue.committed_folder(chosen.name, scale)
    if code:
        raise Problem(f"no finished runs of {chosen.name} at scale {scale} in {root or ROOT} were made by code {code}")
    if not root and not fields and not vary and (committed / "report.json").exists():
        return dataclasses.replace(read(committed, chosen), committed=committed)
    again = facts.command(
        chosen, scale, fields | ({"vary": vary} if vary else {}) | ({"root": str(root)} if root else {}), precision=""
    )
    raise Problem(f"no finished runs of {chosen.name} at scale {scale} in {root or ROOT}; `{again}` makes them")


def replicate(
    study: Study | str, scale: str = "laptop", *, budget: float = math.inf, root: Path | str = ROOT
) -> Replication:
    """The verdicts of a scale, those of your runs or else the committed ones, beside those of seeds that nobody judged.

    The second runs are performed until decided, or until so many seconds are over, and the comparison is left beside
    the first report. Raises Problem where there is no first judgement, and as `run` does.
    """
    from etudes.sweep.store import Store

    chosen = _found(study)
    own = load(chosen.plan(scale), Path(root))
    first = report(chosen, scale, root=root if own else "")
    second = run(chosen, scale, replicate=True, until="decided", budget=budget, root=root)
    if first.code != second.code:
        raise Problem(f"the first judgement of {chosen.name} was of other code than the present; run it again first")
    found = replication.compare(chosen, scale, first.verdicts, second.verdicts)
    write_json(first.folder(Store(root).folder) / replication.FILE, found.json())
    return found


def write(
    study: Study | str,
    prompt: str,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    beam: int = 0,
    seed: int = 0,
    record: Record | None = None,
    root: Path | str = ROOT,
) -> Iterator[str]:
    """The continuation of `prompt` by the network of a finished run, piece by piece, `length` tokens in all.

    `record` is the run (by default the latest below `root`). With `beam` it is the most probable of that many
    continuations kept at each token, in one piece, and nothing is drawn; else see `etudes.generate.sampling.choice`.
    Raises Problem where the study's runs keep no network that writes, or none is there.
    """
    import torch

    from etudes.generate import sampling

    chosen = _found(study)
    if chosen.generator is None:
        raise Problem(f"{chosen.name} trains no network that writes; `etudes show {chosen.name}` tells what it does")
    record = record or latest(chosen, Path(root))
    model, tokenizer = chosen.generator(chosen.config(**record.spec.config), record.folder)
    tokens = torch.tensor([[tokenizer.start, *tokenizer.encode(prompt)]])
    if beam:
        yield tokenizer.decode(sampling.beam(model, tokens, length, beam)[0][0].tolist())
        return
    choose = sampling.choice(temperature, top_k, top_p, torch.Generator().manual_seed(seed))
    ids = tokens[0].tolist()
    shown = tokenizer.decode(ids)
    for token in sampling.stream(model, tokens, length, choose):
        ids.append(token.item())
        text = tokenizer.decode(ids)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # a character may be spread over several tokens
            yield text[len(shown) :]
            shown = text


def _found(study: Study | str) -> Study:
    return catalogue.find(study) if isinstance(study, str) else study


def _chosen(study: Study | str, options: Options) -> Study:
    """The study, with the variants of the user's own."""
    if options.vary and options.until:
        raise Problem("--until goes by claims, and beside a variant of your own none is judged; give --seeds instead")
    return _found(study).vary(options.vary) if options.vary else _found(study)


def _unreachable(plan: Sequence[Spec], fields: Iterable[str]) -> bool:
    """Whether a dataset that these fields name in the plan can be had from nowhere."""
    from etudes.data.sources import SOURCES, reachable

    named = [plan[0].config[field] for field in fields]
    names = {name for value in named for name in ((value,) if isinstance(value, str) else value)}
    return any(not reachable(name) for name in sorted(names & SOURCES.keys()))
