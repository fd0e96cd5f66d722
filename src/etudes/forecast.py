"""What each number of seeds would see of a study's claims, and what it costs: etudes plan NAME."""

import math
from typing import Any

from etudes import api
from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.spec import Study
from etudes.reports import facts, remarks
from etudes.reports.numbers import figure, number
from etudes.reports.report import Report


def main(name: str, scale: str, root: str) -> int:
    """Print it; the command's exit status. Raises Problem where no run tells how much the numbers vary from seed to
    seed, or where a margin is smaller than what the last look can see of a claim that is not decided yet."""
    study = catalogue.find(name)
    if scale not in study.scales:
        raise unknown(f"scale of {study.name}", scale, study.scales)
    found = pilot(study, scale, root)
    prospects = remarks.prospects(study.scales[scale].looks, found.verdicts)
    print("\n".join(lines(found, prospects)))
    if small := [p for p in prospects if p.margin_is_too_small and not p.is_decided]:
        listed = "; ".join(
            f"'{p.sentence}' has {figure(p.claim.matters)} and would need {number(p.least_margin, 2)}" for p in small
        )
        raise Problem(f"margins that the last look cannot see: {listed}. Name larger ones or none, or add a look")
    return 0


def pilot(study: Study, scale: str, root: str) -> Report:
    """The report of finished runs that tells how much numbers vary: judged ones, else the committed ones, else those
    of tuning seeds. Raises Problem where there is none."""
    ways: list[dict[str, Any]] = [{}, {"tune": True}]
    for more in ways:
        try:
            return api.report(study, scale, root=root, **more)
        except Problem:
            continue
    some = facts.command(study, scale, {"tune": True, "seeds": 3} | ({"root": root} if root else {}), "")
    raise Problem(f"no run of {study.name} tells how much its numbers vary; `{some}` makes some that never judge")


def lines(found: Report, prospects: list[remarks.Prospect]) -> list[str]:
    """The costs of the looks, and of each claim what they would see."""
    scale = found.definition.scales[found.scale]
    seeds = max(len(verdict.values) for verdict in found.verdicts)
    said = [f"{found.title}, from {seeds} {'seed' if seeds == 1 else 'seeds'}; seen with 80 % power, two cores:"]
    names = list(dict.fromkeys(variant for verdict in found.verdicts for variant, _ in verdict.reads))
    seconds = remarks.cost(found.definition, found.scale, found.trials, names)
    said += [f"  {n} seeds: about {number(seconds * n / 60, 2)} minutes" for n in scale.looks]
    for prospect in prospects:
        said.append(prospect.sentence)
        if math.isnan(max(prospect.sees.values())):
            said.append("    nothing can be said: it has no number, or only one")
            continue
        sizes = [f"{remarks.size(prospect.claim, d)} at {n} seeds" for n, d in prospect.sees.items()]
        said.append(f"    sees {', '.join(sizes)}")
        if not math.isnan(prospect.claim.matters):
            verb = "cannot" if prospect.margin_is_too_small else "can"
            said.append(f"    its margin, {figure(prospect.claim.matters)}, {verb} be seen")
        if not math.isnan(prospect.noise):
            said.append(f"    shared seeds leave {100 * prospect.noise:.0f} % of the variance of two runs apart")
    return said
