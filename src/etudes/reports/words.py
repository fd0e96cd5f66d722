"""What measured numbers are called: "test error" for test/error, or as their study says; and how sentences begin."""

import re
from collections.abc import Iterable, Sequence

from etudes.core.claims import Claim
from etudes.core.spec import Study

METRIC = re.compile(r"\b(?:train|validation|test)/[a-z0-9-]+")


def of(study: Study, metric: str) -> str:
    """A metric in words: those of the study, or else its name spelled out."""
    return study.words.get(metric) or spell(metric)


def spell(name: str) -> str:
    """A name of the code as words: "test error" of test/error."""
    return name.replace("/", " ").replace("_", " ").replace("-", " ")


def capital(said: str) -> str:
    """The text with a capital at its beginning."""
    return f"{said[:1].upper()}{said[1:]}"


def enumeration(parts: Sequence[str]) -> str:
    """ "a, b and c", "" of nothing."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def sentence(said: str) -> str:
    """The text as a sentence, with a capital and one full stop."""
    return f"{capital(said).rstrip('.')}."


def main(study: Study, metrics: Iterable[str]) -> list[str]:
    """Those of the metrics that lead the study's tables: the ones that it has words for, in their order; all without
    any."""
    there = list(metrics)
    return [name for name in study.words if name in there] or there


def number(study: Study, claim: Claim) -> str:
    """What a claim's number is, in words: "test error: mixup minus erm"; of one variant "mixup: test error"."""
    place = rf"({METRIC.pattern}) of ([a-z0-9-]+)"
    if alone := re.fullmatch(place, claim.number):
        return f"{alone[2]}: {of(study, alone[1])}"
    if pair := re.fullmatch(rf"{place} (minus|over) {place}", claim.number):
        metric, variant, sign, other_metric, other = pair.groups()
        sign = sign.replace("over", "divided by")
        if metric == other_metric:
            return f"{of(study, metric)}: {variant} {sign} {other}"
        if variant == other:
            return f"{variant}: {of(study, metric)} {sign} {of(study, other_metric)}"
    return METRIC.sub(lambda found: of(study, found[0]), claim.number)
