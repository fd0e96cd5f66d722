"""Finds the studies: name -> STUDY, importing only that study's module."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import io
import json
import math
import sys
import textwrap
import tokenize
import traceback
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem, unknown
from etudes.core.spec import Study

STUDIES = Path(__file__).parents[1] / "studies"
BESIDE: list[str] = []  # folders of users' files, from which those import modules of their own


def names() -> dict[str, str]:
    """{study name: family}, from the file names alone."""
    found = {}
    for family in sorted(path for path in STUDIES.iterdir() if path.is_dir()):
        for path in sorted(family.iterdir()):
            if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").exists()):
                found[path.stem.replace("_", "-")] = family.name
    return found


def find(name: str) -> Study:
    """The study of that name, or the one defined in the Python file at that path. Raises Problem."""
    if name.endswith(".py"):
        return _from_file(Path(name))
    known = names()
    if name not in known:
        raise unknown("study", name, known)
    module = importlib.import_module(f"etudes.studies.{known[name]}.{name.replace('-', '_')}")
    study: Study = module.STUDY
    if study.name != name:
        raise Problem(f"{module.__file__} defines the study '{study.name}'; its file must bear that name")
    return study


def _from_file(path: Path) -> Study:
    if not path.is_file():
        raise Problem(f"no file {path}; give the path of a study's file, or the name of a study")
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # behind all else: a file random.py there hides no library
        BESIDE.append(folder)
    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Problem:
        raise
    except (Exception, SystemExit) as error:  # whatever its author wrote
        raise Problem(_slip(path, str(spec.origin), error)) from None
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise Problem(f"{path} defines no STUDY; end it with STUDY = Study(...)")
    return study


def _module_name(path: Path) -> str:
    """The file's own name, by which other processes can import it, unless another module has that."""
    try:
        there = sys.modules[path.stem] if path.stem in sys.modules else importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        there = None
    file = getattr(there, "origin", None) or getattr(there, "__file__", None)
    return path.stem if file and Path(file).resolve() == path.resolve() else f"study_{path.stem}"


def _slip(path: Path, file: str, error: BaseException) -> str:
    """What ails a study's file, with the line of it where that came up."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    lines += [error.lineno] if isinstance(error, SyntaxError) and error.filename == file else []
    says = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f", line {lines[-1]}" if lines else ""
    return f"{path}{where}: {type(error).__name__}: {' '.join(str(says).split())}; mend the file"


def committed_folder(name: str, scale: str = "laptop") -> Path:
    """The folder of the committed results, in a checkout or inside the installed package. It may not exist."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1] / "results"
    return (checkout if checkout.is_dir() else package / "results") / name / scale


def reported_scales(name: str) -> list[str]:
    """The scales of which a report of the study is committed."""
    return sorted(path.parent.name for path in committed_folder(name).parent.glob("*/report.json"))


def card(study: Study) -> dict[str, Any]:
    """All that can be told of a study without running it, as JSON."""
    return {
        "name": study.name,
        "family": names().get(study.name, ""),
        "origin": study.origin,
        "question": study.question,
        "paper": vars(study.paper) | {},
        "revision": study.revision,
        "revisions": list(study.revisions),
        "variants": [{"name": v.name, "changes": dict(v.changes), "says": v.says} for v in study.variants],
        "scales": {
            name: {
                "seeds": s.looks[0],
                "looks": list(s.looks),
                "minutes": s.minutes,
                "variants": len(s.variants or study.variants),
                "judges": s.judges,
            }
            for name, s in study.scales.items()
        },
        "claims": [
            {
                "says": sentence,
                "number": claim.number,
                "where": claim.where,
                "expect": str(claim.expect),
                "paper": None if math.isnan(claim.paper) else claim.paper,
                "matters": None if math.isnan(claim.matters) else claim.matters,
                "verdict": "",
            }
            for sentence, claim in study.claims.items()
        ],
    }


def comments(config: type) -> dict[str, str]:
    """{field: the comments on its lines}, with those of the classes that it inherits from; {} without the source."""
    found: dict[str, str] = {}
    for parent in reversed([c for c in config.__mro__ if dataclasses.is_dataclass(c)]):
        try:
            source = textwrap.dedent(inspect.getsource(parent))
        except (OSError, TypeError):
            continue
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        said = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                found[node.target.id] = " ".join(said[line] for line in lines if line in said)
    return found


def cards() -> list[dict[str, Any]]:
    """The card of every study, with the verdicts of its committed laptop report.

    The report holds the card, so that no study is imported, and with it torch, but those not yet reported.
    """
    found = []
    for name in names():
        path = committed_folder(name) / "report.json"
        found.append(part(path.read_text(encoding="utf-8"), "study") if path.exists() else card(find(name)))
    return found


def part(report: str, name: str) -> Any:
    """One part of the text of a report.json, which has a line for each, without reading what stands around it."""
    mark = f'\n"{name}":'
    return json.JSONDecoder().raw_decode(report, report.index(mark) + len(mark))[0]
