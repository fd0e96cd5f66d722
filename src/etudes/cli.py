"""The command line: list, show, new, check, run, report, generate, ask, data, serve, bench.

Heavy libraries are imported by the commands that need them: `etudes list` answers in a blink.
"""

import dataclasses
import os
import runpy
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from etudes import encoding, flags, gallery
from etudes.core import catalogue
from etudes.core.environment import version
from etudes.core.errors import Broken, Problem, unknown


def enter() -> None:
    """Perform the process's command and end the process with its exit status."""
    encoding.settle(sys.stdout, sys.stderr)
    status = main()
    if status == 130:
        # Python may remember an interrupt that some library's nested code let pass, and end by the signal instead.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform one command; its exit status: 0, 1 where runs failed, 2 on bad input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = lambda message, *_: print(f"etudes: {message}", file=sys.stderr)
    try:
        return _dispatch(arguments)
    except Problem as problem:
        print(f"etudes: {problem}", file=sys.stderr)
        return 2
    except Broken as broken:
        print(f"{broken.trace}etudes: {broken.sentence}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as in `etudes list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        kept = "; finished runs are kept" * (arguments[:1] == ["run"])
        print(f"etudes: cannot use{where}: {error.strerror}{kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = shlex.join(["etudes", *arguments])
        print(
            f"\netudes: interrupted; nothing finished is lost, and the same command goes on: {again}", file=sys.stderr
        )
        return 130


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        print(f"etudes {version('etudes')}")
        return 0
    if arguments[:1] == ["run"] and arguments[1:] not in (["--help"], ["-h"]):
        return _run(*flags.split_name(arguments[1:]))

    commands = {"list": gallery.list_, "show": gallery.show, "run": run, "report": report, "generate": generate}
    commands |= {"data": data, "bench": bench, "serve": serve, "ask": ask, "check": check, "new": new}
    commands |= {"plan": plan, "register": register, "replicate": replicate}
    if arguments and arguments[0] in commands:  # one command's words are parsed in half the time that all take
        return tyro.cli(commands[arguments[0]], prog=f"etudes {arguments[0]}", args=arguments[1:])
    return tyro.extras.subcommand_cli_from_dict(
        commands, prog="etudes", args=arguments, description="Landmark experiments of deep learning, as studies."
    )


def new(name: tyro.conf.Positional[str], like: str = "", family: str = "") -> int:
    """Write the skeleton of a study, which runs as it is: NAME.py here, or with --family a study of the catalogue.

    Args:
        name: of the study: lower-case words joined by hyphens
        like: the study whose Config and program to begin with; by default label smoothing on digits
        family: write the study, its card and its test into the project's sources, in this family
    """
    from etudes import skeleton

    for path in skeleton.write(name, like, family):
        print(path)
    return 0


def check(name: tyro.conf.Positional[str], scale: str = "", variants: str = "", dataset: str = "") -> int:
    """Kill a study's smoke scale three times a run, resume it, and say where it then ends otherwise than unkilled.

    Args:
        name: the study, or the Python file of one
        scale: also take one step of this scale, such as paper: its parameters, FLOPs and memory
        variants: only these, as a,b; all by default
        dataset: for the step, in place of the scale's own
    """
    from etudes.sweep.check import main

    return main(name, scale, variants, dataset)


def plan(name: tyro.conf.Positional[str], scale: str = "laptop", root: str = "") -> int:
    """Say, before a study is run, which differences 5, 8, 12 ... seeds would see, and what they cost.

    How much numbers vary is taken from runs at hand, from the committed report, or from runs of tuning seeds.

    Args:
        name: the study, or the Python file of one
        scale: that is to be run
        root: folder of the runs; by default runs, and where that has none the committed report
    """
    from etudes.forecast import main

    return main(name, scale, root)


def replicate(
    name: tyro.conf.Positional[str], scale: str = "laptop", budget: str = "", root: Path = Path("runs")
) -> int:
    """Run a study again with seeds that nobody has judged, until decided, and lay its verdicts beside the first ones.

    The first are those of your own runs where there are some, or the committed ones. Killed, the same command goes on.

    Args:
        name: the study, or the Python file of one
        scale: that was run
        budget: of time, as 90s, 20m or 2h: then stop, whatever is left, and compare
        root: folder of the runs
    """
    from etudes import api
    from etudes.reports.replication import lines

    print("\n".join(lines(api.replicate(name, scale, budget=flags.seconds(budget), root=root))))
    return 0


def register(name: tyro.conf.Positional[str], scale: str = "laptop", root: Path = Path("runs")) -> int:
    """Write down, before the first judged run, what a study will be judged by; what is changed later is not judged.

    Args:
        name: the study, or the Python file of one
        scale: that is to be run
        root: folder of the runs
    """
    from etudes.core import registration

    study = catalogue.find(name)
    made = registration.register(study, scale, root)
    print(f"{len(study.claims)} claims of {study.name}, revision {study.revision}, at scale {scale}")
    print(f"registered {made['registered']} in {registration.path(study, scale, root)}")
    print(f"hash {made['hash']}")
    print("Commit the file, or give the hash to somebody: nothing else proves that it came before the runs.")
    return 0


def run(name: tyro.conf.Positional[str]) -> int:
    """Run a study: etudes run NAME [--scale S] [--FIELD VALUE ...]; `etudes run NAME --help` lists its fields.

    Args:
        name: the study, or the Python file of one
    """
    return _run(name, [])


def _run(name: str, arguments: list[str]) -> int:
    study = catalogue.find(name)
    options, fields = flags.parse(study, arguments)

    from etudes import api
    from etudes.sweep.store import Store
    from etudes.train.distribute import rank

    chosen = flags.choice(study, options)
    if options.dry:
        print("\n".join(api.outlook(study, chosen, fields)))
        return 0
    found, outcomes = api.run_all(study, chosen, fields)
    if rank() == 0:
        _publish(found, found.folder(Store(options.root).folder))
    return 1 if any(outcome.reason for outcome in outcomes) else 0


def report(
    name: tyro.conf.Positional[str] = "",
    scale: str = "laptop",
    format: str = "",
    template: str = "",
    out: Path | None = None,
    root: str = "",
    code: str = "",
    all: bool = False,
) -> int:
    """Report a study's finished runs again, or show its committed report; --all --format site: a site of them all.

    Args:
        name: the study
        scale: the scale that was run
        format: only md, html or ipynb, printed or written to --out; pdf; a folder of tex or of csv; site, with --all;
            by default a folder with the page, the notebook and the charts
        template: of tex and pdf: article, course, reproduction, or a LaTeX file with places such as \\VAR{claims}
        out: where to write: a folder, or with md, html, ipynb and pdf a file
        root: folder of the runs; by default runs, and where that has none the committed report
        code: report the runs that this code of the study made, as `etudes run` names it; by default the present one
        all: the committed reports of all studies, as a site of files for any web server
    """
    if all or format == "site":
        if not all or format != "site" or name:
            raise Problem("a site holds all studies: etudes report --all --format site --out site/")
        from etudes.web.site import export

        print(f"Site: {export(out or Path('site'))}")
        return 0
    if not name:
        raise Problem("name the study to report; `etudes list` shows them")
    from etudes import api
    from etudes.reports import exports

    exports.check(format, template)
    found = api.report(name, scale, root=root, code=code)
    if found.committed:
        print(f"etudes: no finished runs in {api.ROOT}; this is the project's committed report", file=sys.stderr)
    if format:
        print(exports.export(found, format, out, template))
    else:
        usual = found.folder(Path(root or api.ROOT))
        _publish(found, out or found.committed or (usual.with_name(f"report-{code}") if code else usual))
    return 0


def _publish(found: Any, folder: Path) -> None:
    from rich.console import Console

    from etudes.reports import render, terminal

    results = catalogue.committed_folder(found.definition.name, found.scale)
    kept = folder.resolve() == results.resolve()  # where the project keeps its own
    if folder != found.committed and kept:
        render.keep(dataclasses.replace(found, committed=results), folder)
    elif folder != found.committed:
        render.write(found, folder)
    console = Console()
    console.print(f"\n[bold]{found.title}[/bold]", highlight=False)
    shown = terminal.comparison_list if found.definition.own else terminal.verdict_list
    console.print(shown(found, console.width), end="", soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]{warning}[/yellow]", highlight=False)
    if (further := terminal.going_on(found)) and not found.committed:
        console.print(" ".join(further), highlight=False, soft_wrap=True)
    kind = "Committed report" if folder == found.committed else "Report"
    page = folder / ("report.md" if kept else "report.html")
    console.print(f"{kind}: {page}", highlight=False, soft_wrap=True)


def generate(
    name: tyro.conf.Positional[str],
    text: tyro.conf.Positional[str] = "",
    length: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 0.95,
    beam: int = 0,
    seed: int = 0,
    scale: str = "",
    variant: str = "",
    root: Path = Path("runs"),
) -> int:
    """Let the network of a study's latest finished run go on with a text, shown as it is written.

    Args:
        name: the study
        text: the beginning
        length: tokens to write
        temperature: above 1 more surprising, below 1 less; 0: always the most probable token
        top_k: draw from so many of the most probable tokens; 0: from all
        top_p: draw from the most probable tokens that have this probability together (nucleus sampling)
        beam: instead of drawing, keep so many continuations and show the most probable; 0: draw
        seed: of the draws
        scale: of the run; any by default
        variant: of the run; any by default
        root: folder of the runs
    """
    from etudes import api
    from etudes.core.record import latest

    study = catalogue.find(name)
    for kind, wanted, known in (("scale", scale, study.scales), ("variant", variant, [v.name for v in study.variants])):
        if wanted and wanted not in known:
            raise unknown(f"{kind} of {name}", wanted, known)
    record = latest(study, root, scale, variant) if study.generator else None
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "beam": beam, "seed": seed}
    pieces = api.write(study, text, length, **how, record=record, root=root)
    first = next(pieces, "")  # what can fail fails before anything is shown
    if record:
        print(f"etudes: {record.folder}", file=sys.stderr)
    print(text + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


def ask(
    place: tyro.conf.Positional[Path],
    question: tyro.conf.Positional[str],
    k: int = 3,
    mode: Literal["bm25", "dense", "hybrid", "reranked"] = "hybrid",
    model: str = "none",
    embedder: str = "e5-small",
    index: str = "",
    scores: bool = False,
) -> int:
    """Quote the sentence of documents (txt, md, html, pdf) that answers a question, or say that none does.

    Args:
        place: a document, or a folder of them
        question: in a sentence
        k: passages to find
        mode: how they are found: by words, by meaning, by both, or both and looked at again
        model: whose words are added and checked: smollm2-135m, a chat model owner/name of the hub, openai:MODEL at
            $OPENAI_BASE_URL, or none
        embedder: e5-small (many languages), minilm (English), or a sentence-transformers model owner/name of the hub
        index: folder, or URL of a Qdrant server, that keeps the vectors; by default the cache does
        scores: show how near everything is
    """
    from etudes.retrieval.ask import ask as answer

    return answer(place, question, k=k, mode=mode, model=model, embed=embedder, where=index, scores=scores)


def data(
    action: tyro.conf.Positional[Literal["", "get", "mirror"]] = "", names: tyro.conf.Positional[tuple[str, ...]] = ()
) -> int:
    """The datasets; `data get NAME ...` fetches, `data mirror DIR NAME ...` makes a folder for ETUDES_MIRROR."""
    from etudes.data import commands

    return commands.main(action, names)


def serve(root: tuple[Path, ...] = (Path("runs"),), port: int = 7860) -> int:
    """Gallery, reports, live runs and demos, for the browsers of this machine: http://127.0.0.1:7860

    Args:
        root: folder of the runs; several, such as class/*, are shown side by side, each by its name
        port: of the address; only this machine can reach it
    """
    if not root:
        raise Problem("--root names no folder; it is the folder of the runs")
    for folder in root:
        if folder.exists() and not folder.is_dir():
            raise Problem(f"{folder} is no folder; --root is the folder of the runs")
    try:
        from etudes.web.app import serve as start
    except ModuleNotFoundError as missing:
        raise Problem(f"the pages need {missing.name}; `pip install 'etudes[web]'` installs it") from None
    start(root, port)
    return 0


def bench(name: tyro.conf.Positional[str] = "") -> int:
    """Compare with peers, side by side in one run; needs a checkout of the project.

    Args:
        name: what to measure; without it, what there is
    """
    folder = Path(__file__).parents[2] / "benchmarks"
    known = sorted(path.stem for path in folder.glob("*.py"))
    if not known:
        raise Problem("benchmarks come with the project's sources; clone it and run the command there")
    if not name:
        print("\n".join(known))
        return 0
    if name not in known:
        raise unknown("benchmark", name, known)
    sys.path.insert(0, str(folder))  # as Python does for a script: one may import another
    runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")
    return 0
