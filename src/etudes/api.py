"""What notebooks call: a study, its runs, its report, and what a network of it writes."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from etudes.core import catalogue
from etudes.core.checkpoints import save_seconds
from etudes.core.errors import Problem
from etudes.core.record import Record, latest, load
from etudes.core.record import read as read_run
from etudes.core.run import device
from etudes.core.spec import Spec, Study
from etudes.reports import facts
from etudes.reports.build import Report, build, read

if TYPE_CHECKING:
    from etudes.sweep.cluster import Cluster
    from etudes.sweep.store import Store

ROOT = Path("runs")


def study(name: str) -> Study:
    """The study of that name, or the one defined in the Python file at that path. Raises Problem."""
    return catalogue.find(name)


def run(
    study: Study | str,
    scale: str = "laptop",
    *,
    variants: Sequence[str] = (),
    seeds: int | None = None,
    root: Path | str = ROOT,
    precision: str = "auto",
    cluster: "Cluster | None" = None,
    tracker: str = "",
    **fields: Any,
) -> Report:
    """Perform what is left of a scale's runs below `root`, and report them.

    `root` is a folder or a URL (see `etudes.sweep.store`). `cluster` (see `etudes.sweep.cluster`) performs the plan in
    place of this process, and `tracker` shows each finished run (see `etudes.sweep.tracking`). `fields` override fields
    of the study's Config. Where data of the scale that no field names can be had from nowhere, its offline changes are
    made and announced. Raises Problem on bad input; a run that diverges is told of and left out of the report.
    """
    report, _ = run_all(study, scale, variants, seeds, root, precision, fields, cluster, tracker)
    return report


def run_all(
    study: Study | str,
    scale: str,
    variants: Sequence[str],
    seeds: int | None,
    root: Path | str,
    precision: str,
    fields: dict[str, Any],
    cluster: "Cluster | None" = None,
    tracker: str = "",
) -> tuple[Report, Sequence[Problem]]:
    """As `run`; the report, and the runs that diverged or were lost.

    `cluster` performs the plan in place of this process. Each run that ends well is shown to the `tracker` of that
    name, see `etudes.sweep.tracking`.
    """
    from etudes.sweep import tracking
    from etudes.sweep.plan import pending
    from etudes.sweep.store import Store
    from etudes.train.distribute import rank, wait

    chosen = _found(study)
    if tracker:
        tracking.check(tracker)
    console = Console(stderr=True, quiet=rank() > 0)
    plan = _planned(chosen, scale, {"variants": variants, "seeds": seeds, "precision": precision}, fields, console)
    store = Store(root)
    store.bring(plan)
    left = pending(plan, store.folder)
    if len(left) < len(plan):
        console.print(f"{len(plan) - len(left)} of {len(plan)} runs are finished already.", highlight=False)
    problems = _performed(chosen, left, store, cluster, tracker, console)
    wait()  # the first process writes the results that all of them read
    for problem in problems:
        console.print(str(problem), highlight=False)
    records = load(plan, store.folder)
    if problems and not records:
        raise Problem(f"no run of {chosen.name} was finished; the logs are kept in {store.folder}")
    return build(chosen, plan, records), problems


def _performed(
    study: Study,
    plan: Sequence[Spec],
    store: "Store",
    cluster: "Cluster | None",
    tracker: str,
    console: Console,
) -> Sequence[Problem]:
    """The runs of the plan that diverged or were lost, after all have been performed."""
    from etudes.sweep import cluster as clusters
    from etudes.sweep import local, tracking
    from etudes.sweep.progress import PlanProgress

    if plan and not cluster:  # what every run would stop at
        save_seconds()
        device()
    with PlanProgress(plan, console) as progress:

        def finish(spec: Spec, status: str) -> None:
            if status == "done" and not cluster:  # a cluster's workers have sent theirs
                store.send(spec)
            if status == "done" and tracker:
                try:
                    tracking.show(tracker, read_run(store.folder / spec.key), store.folder)
                except Problem as problem:  # no reason to stop the runs
                    console.print(str(problem), highlight=False)
            progress.finish(spec, status)

        if cluster:
            return clusters.perform(study, plan, store.root, cluster, watch=progress.watch, finish=finish)
        if (count := local.workers(study, plan)) > 1:
            return local.together(study, plan, store.folder, count, watch=progress.watch, finish=finish)
        return local.perform(study, plan, store.folder, watch=progress.watch, finish=finish)


def _planned(study: Study, scale: str, choice: dict[str, Any], fields: dict[str, Any], console: Console) -> list[Spec]:
    """The runs, with the scale's offline changes where its data can be had from nowhere; that is announced."""
    from etudes.train.precision import resolve

    choice = choice | {"precision": resolve(study, choice["precision"])} | fields
    plan = study.plan(scale, **choice)
    if "WORLD_SIZE" in os.environ or not _unreachable(plan, study.scales[scale].substitutes.keys() - fields.keys()):
        return plan
    offline = study.scales[scale].offline.items()
    changes = ", ".join(f"{name} = {value}" for name, value in offline if name not in fields)
    console.print(
        f"No source of the data can be reached: running with {changes} instead, without verdicts.", highlight=False
    )
    return study.plan(scale, offline=True, **choice)


def report(study: Study | str, scale: str = "laptop", *, root: Path | str = "", **fields: Any) -> Report:
    """The report of a scale's finished runs below `root`.

    Without a root it is that of the runs in `runs`, or, where there are none, the one committed with the project, which
    has a `committed` folder. `fields` are those that the runs overrode. Raises Problem where there is neither.
    """
    chosen = _found(study)
    for offline in (False, True):
        plan = chosen.plan(scale, offline=offline, **fields)
        if records := load(plan, Path(root or ROOT)):
            return build(chosen, plan, records)
    committed = catalogue.committed(chosen.name, scale)
    if not root and not fields and (committed / "report.json").exists():
        return dataclasses.replace(read(committed, chosen), committed=committed)
    again = facts.command(chosen, scale, fields | ({"root": str(root)} if root else {}), precision="")
    raise Problem(f"no finished runs of {chosen.name} at scale {scale} in {root or ROOT}; `{again}` makes them")


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


def _unreachable(plan: Sequence[Spec], fields: Iterable[str]) -> bool:
    """Whether a dataset that these fields name in the plan can be had from nowhere."""
    from etudes.data.sources import SOURCES, reachable

    names = {name for field in fields for name in plan[0].config[field].split(" and ")}
    return any(not reachable(name) for name in sorted(names & SOURCES.keys()))
