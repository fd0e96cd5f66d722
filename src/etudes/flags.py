"""The words of `etudes run` after the study's name: options of every run, and the fields of the study's Config."""

import contextlib
import csv
import dataclasses
import io
import math
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.spec import Study

if TYPE_CHECKING:
    from etudes.api import Options


@dataclasses.dataclass(frozen=True)
class RunOptions:
    scale: str = "laptop"  # how large: see `etudes show NAME`
    variants: str = ""  # only these, as a,b; all by default
    # a variant of your own, as "mine: FIELD=VALUE FIELD=VALUE"; compared with --variants, by default with the first
    vary: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    seeds: int = 0  # number of seeds; 0: as many as the scale has
    threads: int = 0  # threads of a run, on which its last digits depend; 0: as many as the scale says
    tune: bool = False  # take seeds that never judge, one by default: for choosing settings
    until: Literal["", "decided"] = ""  # decided: go on from look to look with what undecided claims read
    budget: str = ""  # of time, as 90s, 20m or 2h: then stop, whatever is left, and report
    dry: bool = False  # say what would be run, what is kept, and why, and run nothing
    root: str = "runs"  # folder of the runs, or a URL such as s3://bucket/runs
    engine: Literal["local", "ray"] = "local"  # who performs the runs: this process, or the tasks of a Ray cluster
    address: str = ""  # of the Ray cluster, as auto or HOST:PORT; by default one of this machine alone
    gpus_per_run: float = 0  # GPUs that a run takes of a Ray node; 0.25: four runs share one
    track: Literal["", "tensorboard", "wandb", "mlflow", "trackio"] = ""  # show finished runs to an experiment tracker
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bf16 where the hardware has it and the study allows


def split_name(arguments: list[str]) -> tuple[str, list[str]]:
    """The study, and the words after it. Raises Problem where it does not come first: its fields are the flags."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    known = catalogue.names()
    at = max((i for i, word in enumerate(arguments) if word in known or word.endswith(".py")), default=-1)
    others = [word for i, word in enumerate(arguments) if i != at]
    again = shlex.join(["etudes", "run", arguments[at] if at >= 0 else "NAME", *others])
    raise Problem(f"name the study first, as in `{again}`; `etudes list` shows them")


def parse(study: Study, arguments: list[str]) -> tuple[RunOptions, dict[str, Any]]:
    """The options, and the Config fields that the words name. A field's comment is the help of its flag."""
    said, hints = catalogue.comments(study.config), get_type_hints(study.config, include_extras=True)
    fields = [
        (f.name, Annotated[hints[f.name], tyro.conf.arg(help=said.get(f.name) or None)], f.default)
        for f in dataclasses.fields(study.config)
    ]
    config = dataclasses.make_dataclass("Config", fields)

    def both(options: Any, config: Any) -> tuple[Any, Any]:
        return options, config

    both.__annotations__ = {"options": RunOptions, "config": config}
    both.__defaults__ = (RunOptions(), config())
    how: Any = {"prog": f"etudes run {study.name}", "args": arguments, "description": study.question}
    options, found = tyro.cli(both, config=(tyro.conf.OmitArgPrefixes,), **how)
    flags = {word.partition("=")[0].removeprefix("--").removeprefix("no-") for word in arguments if word[:2] == "--"}
    flags = {flag.replace("-", "_") for flag in flags}
    return options, {f.name: getattr(found, f.name) for f in dataclasses.fields(found) if f.name in flags}


def choice(study: Study, options: RunOptions) -> "Options":
    """The options as Python's verbs take them. Raises Problem on flags that ask for a cluster without saying so, and on
    malformed variants."""
    from etudes.api import Options
    from etudes.sweep.cluster import Cluster

    cluster = Cluster(options.address, options.gpus_per_run)
    if options.engine != "ray" and cluster != Cluster():
        raise Problem("--address and --gpus-per-run are Ray's; add --engine ray")
    return Options(
        scale=options.scale,
        variants=tuple(filter(None, options.variants.split(","))),
        vary=own_variants(study, options.vary),
        seeds=options.seeds or None,
        threads=options.threads or None,
        tune=options.tune,
        until=options.until,
        budget=seconds(options.budget),
        root=options.root,
        precision=options.precision,
        cluster=cluster if options.engine == "ray" else None,
        tracker=options.track,
    )


def own_variants(study: Study, said: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{name: changed fields} of what --vary was given. Raises Problem on words that are none, and on unknown fields."""
    found: dict[str, dict[str, Any]] = {}
    hints = get_type_hints(study.config, include_extras=True)
    for text in said:
        name, colon, rest = text.partition(":")
        name = name.strip()
        try:
            pairs = [word.partition("=") for word in shlex.split(rest)]
        except ValueError:  # a quotation that does not end
            pairs = []
        fields = [field for field, _, _ in pairs]
        if not (name and colon and pairs and all(field and sign for field, sign, _ in pairs)):
            raise Problem(f"--vary is '{text}'; write it as in --vary \"mine: {next(iter(hints))}=VALUE\"")
        if name in found or len({*fields}) < len(fields):
            twice = name if name in found else next(field for field in fields if fields.count(field) > 1)
            raise Problem(f"--vary says '{twice}' twice; say it once")
        for field in fields:
            if field not in hints:
                raise unknown(f"config field of {study.name},", field, hints)
        found[name] = {field: value(hints[field], text) for field, _, text in pairs}
    return found


def value(hint: Any, text: str) -> Any:
    """The text as a value of the type, as a flag would be, or as it is where it is none: the study then says so.

    A tuple has commas between its items, and quotation marks around those that hold some.
    """
    kinds = [hint, *get_args(hint)] if get_origin(hint) is not tuple else [hint]
    several = any(get_origin(kind) is tuple for kind in kinds) and text != "None"
    words = next(csv.reader([text]), []) if several else [text.capitalize() if bool in kinds else text]
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        try:
            return tyro.cli(hint, args=words)
        except SystemExit:
            return text


def seconds(budget: str) -> float:
    """The seconds of a time such as 90s, 20m or 2h; without end for "". Raises Problem on anything else."""
    if not budget:
        return math.inf
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if not found or not float(found[1]):
        raise Problem(f"--budget is '{budget}'; give a time such as 90s, 20m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
