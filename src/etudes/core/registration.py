"""What a study will be judged by, written down before its first judged run.

    runs/NAME/SCALE/registration-REVISION.json

Claims, margins, looks, seeds, variants and program are described in words and hashes, and all of it by one hash. What
differs from that when the runs are judged is "not judged: changed after the data". A file on one's own disk can be
written anew at any time: only a commit of it, or a copy in another's hands, proves that it came first.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etudes.core import inference
from etudes.core.errors import Problem, unknown
from etudes.core.files import read_json, write_json
from etudes.core.program import measure_digest
from etudes.core.spec import REPLICATION, Study

AFTER = "changed after the data"


def path(study: Study, scale: str, root: Path) -> Path:
    return root / study.name / scale / f"registration-{study.revision}.json"


def description(study: Study, scale: str) -> dict[str, Any]:
    """What decides the verdicts of a study at one scale, as JSON."""
    looks = study.scales[scale].looks
    return {
        "study": study.name,
        "revision": study.revision,
        "scale": scale,
        "program": study.code,
        "looks": list(looks),
        "shares of the error": [round(share, 6) for share in inference.shares(looks)],
        "seeds": f"0 to {looks[-1] - 1}",
        "variants": {
            name: {field: _plain(value) for field, value in config.items()}
            for name, config in study.configs[scale].items()
        },
        "claims": {
            sentence: {
                "expects its number": [_plain(claim.expect.low), _plain(claim.expect.high), claim.expect.open],
                "margin": _plain(claim.matters),
                "kind": claim.kind,
                "worst number": _plain(claim.worst),
                "measure": measure_digest(claim.measure),
            }
            for sentence, claim in study.claims.items()
        },
    }


def digest(described: Mapping[str, Any]) -> str:
    """The sha256 of a description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def register(study: Study, scale: str, root: Path) -> dict[str, Any]:
    """The registration of the study below a root, written there unless it is already.

    Raises Problem where the scale does not judge, where judged runs of this revision have begun, or where something
    else was registered for it.
    """
    if scale not in study.scales:
        raise unknown(f"scale of {study.name}", scale, study.scales)
    if not study.scales[scale].judges:
        raise Problem(f"{study.name} is not judged at scale {scale}: there is nothing to register")
    described = description(study, scale)
    if (file := path(study, scale, root)).exists():
        made = read(file)
        if made["description"] == described:
            return made
        raise Problem(f"{file} registers something else; what is changed now takes a new revision of {study.name}")
    if begun := _begun(study, scale, root):
        raise Problem(
            f"{begun} judged runs of revision {study.revision} have begun in {root}; "
            "a registration comes before the first: a new revision has fresh seeds"
        )
    made = {
        "hash": digest(described),
        "registered": datetime.now(UTC).isoformat(timespec="seconds"),
        "description": described,
    }
    write_json(file, made)
    return made


def read(file: Path) -> dict[str, Any]:
    """The registration in a file. Raises Problem where it is not whole, or is not what its own hash says."""
    made: dict[str, Any] = read_json(
        file, "take the copy that was committed", check=lambda value: isinstance(value, dict) and "description" in value
    )
    if made.get("hash") != digest(made["description"]):
        raise Problem(f"{file} was changed: its hash is of something else; take the copy that was committed")
    return made


def load(study: Study, scale: str, root: Path) -> dict[str, Any] | None:
    """The registration of the study's revision below a root, or None."""
    file = path(study, scale, root)
    return read(file) if file.exists() else None


def alterations(study: Study, registered: Mapping[str, Any] | None) -> dict[str, str]:
    """{sentence: what is not as it was registered}, also of claims that were left out; {} without a registration."""
    if not registered:
        return {}
    before = registered["description"]
    now = description(study, before["scale"])
    of_all = [
        f"the {name} {'is' if name in ('program', 'scale') else 'are'} not what was registered"
        for name in ("study", "revision", "scale", "program", "looks", "shares of the error", "seeds")
        if before.get(name) != now[name]
    ]
    of_all += [
        f"variant {name} {'was left out' if name not in now['variants'] else 'is not what was registered'}"
        for name, config in before["variants"].items()
        if now["variants"].get(name) != config
    ]
    found = {}
    for sentence in [*now["claims"], *(s for s in before["claims"] if s not in now["claims"])]:
        if words := [*_differences(before["claims"].get(sentence), now["claims"].get(sentence)), *of_all]:
            found[sentence] = f"{AFTER}: {'; '.join(words)}"
    return found


def _differences(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    if before is None:
        return ["it was not registered"]
    if now is None:
        return ["it was registered, and left out"]
    return [
        "it measures something else"
        if name == "measure"
        else f"its {name} was {_words(before.get(name))}, and is {_words(value)}"
        for name, value in now.items()
        if before.get(name) != value
    ]


def _words(value: Any) -> str:
    return "none" if value is None else str(value)


def _begun(study: Study, scale: str, root: Path) -> int:
    """The judged runs of the study's revision that have begun below a root."""
    begun = 0
    for file in (root / study.name / scale).glob("*/*/spec.json"):
        spec = read_json(file, f"delete {file.parent}")
        begun += spec.get("revision") == study.revision and spec["seed"] < REPLICATION
    return begun


def _plain(value: Any) -> Any:
    """A number or a field as JSON gives it back: None for what is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value
