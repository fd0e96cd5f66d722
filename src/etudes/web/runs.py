"""The runs of each study and scale as their page shows them: how many are left, for how long, and which is which."""

import itertools
import math
from collections.abc import Collection, Sequence
from statistics import fmean
from typing import Any

from etudes.sweep.progress import duration
from etudes.web.live import State, Watch

LISTED = 200  # runs of one kind on the page
STATES = ("running", "stopped", "finished")
BESIDE = ("precision", "threads", "revision", "code")  # what else of a run's spec may set it apart


def groups(watch: Watch) -> list[dict[str, Any]]:
    """A group for each root, study and scale: those with runs at work first, then the latest."""

    def place(run: State) -> tuple[str, str, str]:
        return run.who, run.study, run.scale

    found = [
        _group(key, list(members), watch.plan(*key))
        for key, members in itertools.groupby(sorted(watch.runs().values(), key=place), key=place)
    ]
    return sorted(found, key=lambda group: (not group["states"]["running"], -group["updated"]))


def _group(key: tuple[str, str, str], members: list[State], plan: Collection[str]) -> dict[str, Any]:
    members.sort(key=lambda run: -run.updated)
    runs = [run for run in members if not run.is_shared]
    states = {state: [run for run in runs if run.state == state] for state in STATES}
    return {
        "who": key[0],
        "study": key[1],
        "scale": key[2],
        "planned": len(plan),
        "finished": sum(run.key in plan for run in states["finished"]),
        "others": sum(run.key not in plan for run in runs),
        "left": in_words(left(runs, plan)),
        "updated": members[0].updated,
        "counts": {state: len(kept) for state, kept in states.items()},
        "states": {state: kept[:LISTED] for state, kept in states.items()},
        "shared": [run for run in members if run.is_shared][:LISTED],
        "apart": apart(members),
    }


def apart(runs: Sequence[State]) -> dict[str, str]:
    """{key: words} for runs of which others of their scale bear the same variant and seed: in what they differ."""
    alike: dict[tuple[str, str, str, int], list[State]] = {}
    for run in runs:
        alike.setdefault((run.who, run.scale, run.variant, run.seed), []).append(run)
    found = {}
    for same in (same for same in alike.values() if len(same) > 1):
        settings = [{**run.config, **{name: run.spec.get(name) for name in BESIDE}} for run in same]
        names = dict.fromkeys(name for each in settings for name in each)
        differ = [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]
        for run, each in zip(same, settings, strict=True):
            found[run.key] = ", ".join(f"{name} {each[name]}" for name in differ if each.get(name) is not None)
    return found


def left(runs: Sequence[State], plan: Collection[str]) -> float:
    """The seconds until the runs of the plan are all finished, nan where none is at work or nothing tells.

    What finished runs of a variant took, another of it will take; those at work go on side by side.
    """
    working = [run for run in runs if run.state == "running"]
    took: dict[str, list[float]] = {}
    for run in runs:
        whole = run.seconds if run.state == "finished" else run.left / (1 - run.share) if run.share < 1 else math.nan
        if not math.isnan(whole):
            took.setdefault(run.variant, []).append(whole)
    if not working or not took:
        return math.nan
    usual = fmean(fmean(each) for each in took.values())
    begun = {run.key for run in runs if run.state in ("running", "finished")}
    waiting = [key.split("/")[-2] for key in plan if key not in begun]
    ahead = sum(fmean(took.get(variant, [usual])) for variant in waiting)
    ahead += sum(usual / 2 if math.isnan(run.left) else run.left for run in working)
    longest = max((run.left for run in working if not math.isnan(run.left)), default=0.0)
    return max(ahead / len(working), longest)


def in_words(seconds: float) -> str:
    """As "about 3 min", "" for nan: of an estimate nobody wants the seconds of an hour."""
    if math.isnan(seconds):
        return ""
    grain = 5 if seconds < 60 else 60 if seconds < 3600 else 300
    return f"about {duration(max(grain, grain * round(seconds / grain)))}".removesuffix(" 00 s")
