"""What holds for every study of the catalogue."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etudes.core import catalogue, registration
from etudes.core.configs import OPTIONS, as_tuples
from etudes.core.observations import by_seed
from etudes.core.record import load
from etudes.core.run import Run
from etudes.core.verdicts import DECIDED
from etudes.flags import RunOptions
from etudes.reports import render, replication
from etudes.reports.build import build, read
from etudes.reports.drawings import THUMBNAIL, draw
from etudes.sweep import check
from etudes.train import loop, pictures, recipe

NAMES = list(catalogue.names())
HOUSE = Path(__file__).parents[1]


@pytest.fixture(scope="module", params=NAMES)
def study(request):
    return catalogue.find(request.param)


@pytest.fixture(scope="module")
def straight(study, tmp_path_factory):
    """The root below which the study's smoke scale was run, and {key: moments at which a run can be killed}."""
    root = tmp_path_factory.mktemp(study.name)
    return root, {spec.key: check.straight(study, spec, root) for spec in study.plan("smoke")}


@pytest.fixture(scope="module")
def smoke(straight):
    return straight[0]


IMPORTER = """
import os, sys, time
import torch
for name in sys.stdin:
    if os.fork() == 0:
        from etudes.core.catalogue import find
        find(name.strip())
        print(time.process_time(), flush=True)  # of this process, whatever else the machine does
        os._exit(0)
    if os.wait()[1]:
        print("failed", flush=True)
"""


@pytest.fixture(scope="module")
def importer(tmp_path_factory):
    """A process that has imported PyTorch alone, and the cache that it has: of each line, the name of a study, it
    prints the CPU seconds in which a process of its own found the study, without data and without the internet."""
    cache = tmp_path_factory.mktemp("cache")
    nowhere = {"ETUDES_CACHE": str(cache), "ETUDES_MIRROR": str(cache / "absent"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", IMPORTER]
    with subprocess.Popen(
        command, env=os.environ | nowhere, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, cache
        process.stdin.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_in_under_a_second_without_data(name, importer):
    process, cache = importer
    seconds = []
    for _ in range(2):
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        seconds.append(float(process.stdout.readline()))
    assert min(seconds) < 1.0
    assert list(cache.iterdir()) == []


def test_smoke_runs_every_variant_and_every_claim_finds_its_numbers(study, smoke):
    records = load(study.plan("smoke"), smoke)
    complete = [{v: r.metrics for v, r in runs.items()} for runs in by_seed(records).values()]
    assert len(complete) == study.scales["smoke"].looks[0]
    left_out = {v.name for v in study.variants} - {record.spec.variant for record in records}
    for claim in study.claims.values():
        for trial in complete:
            try:
                value = claim.measure(trial)
            except KeyError as missing:
                if missing.args[0] not in left_out:  # one that needs the internet; the laptop report has its numbers
                    raise
                continue
            assert isinstance(float(value), float)
    for record in records:
        assert all(re.fullmatch(r"(train|validation|test)/[a-z0-9-]+|parameters", name) for name in record.metrics)


def test_its_main_numbers_have_words_and_are_measured(study, smoke):
    measured = {name for record in load(study.plan("smoke"), smoke) for name in record.metrics}
    file = catalogue.committed_folder(study.name, "laptop") / "report.json"
    if not file.exists():
        pytest.skip("no report is committed yet")
    saved = json.loads(file.read_text())
    measured |= {name for trial in saved["trials"] for name in trial["metrics"]}
    assert 1 <= len(study.words) <= 8
    assert study.words.keys() <= measured
    assert len({*study.words.values()}) == len(study.words)
    assert not [words for words in study.words.values() if "/" in words or len(words) > 70]


def test_its_idea_has_the_papers_equation_or_its_place(study):
    if study.idea is None and not catalogue.reported_scales(study.name):
        pytest.skip("no report is committed yet")
    assert inspect.getdoc(study.idea)
    said = f"{inspect.getdoc(study.idea)}\n{inspect.getdoc(sys.modules[study.config.__module__])}"
    assert re.search(r" [=+|] |<-|\b(eqs?|sec|fig|table)\. ?\d|arXiv", said)
    assert len(inspect.getsource(study.idea).splitlines()) <= 40


def test_every_chart_builds(study, smoke):
    plan = study.plan("smoke")
    report = build(study, plan, load(plan, smoke))
    assert study.charts
    assert [drawing.problem for drawing in draw(report)] == [""] * len(study.charts)


def test_killed_three_times_and_run_twice_it_ends_with_the_same_bytes(study, straight, tmp_path):
    root, moments = straight
    for spec in study.plan("smoke", seeds=1):
        at = check.kills(moments[spec.key])
        check.resume(study, spec, tmp_path, at)
        assert check.difference(root / spec.key, tmp_path / spec.key) == "", f"{spec.variant}, killed at {at}"
        kinds = {kind for kind, *_ in moments[spec.key]}
        inside = "in the evaluation after step"
        assert [kind for kind, *_ in at].count(inside) == (inside in kinds)
        chances = {m for m in moments[spec.key] if m[0] in ("before step", inside)} or set(moments[spec.key])
        assert len(at) == 3 or len(chances) < 6


def test_no_field_of_its_config_is_unused(study):
    own = Path(sys.modules[study.program.__module__].__file__)
    texts = [path.read_text() for path in (own.parent.glob("*.py") if own.stem == "__init__" else [own])]
    source = "\n".join([*texts, *map(inspect.getsource, (recipe, pictures, loop))])
    for field in dataclasses.fields(study.config):
        assert re.search(rf"\bcfg\.{field.name}\b", source), f"{field.name} is never read"


def test_its_header_tells_the_minutes_and_seeds_of_its_scales(study):
    said = header_scales(study)
    assert {"minutes", "seeds"} <= said.get("laptop", {}).keys(), "its header has no minutes and seeds of `etudes run`"
    for name, numbers in said.items():
        scale = study.scales[name]
        has = {"minutes": scale.minutes, "seeds": scale.looks[0], "variants": len(scale.variants or study.variants)}
        assert numbers == {what: has[what] for what in numbers}, f"scale {name}"


def header_scales(study):
    """{scale: {"minutes" | "seeds" | "variants": number}} as the docstring's lines `etudes run NAME` tell them."""
    found = {}
    text = sys.modules[study.program.__module__].__doc__
    for flags, words in re.findall(
        rf"^ +etudes run {study.name}((?: --\S+ \S+)*)(?:  +(.*))?$", text, flags=re.MULTILINE
    ):
        scale = dict(re.findall(r"--(\S+) (\S+)", flags)).get("scale", "laptop")
        numbers = re.findall(r"([\d.,]+) (minute|hour|seed|variant)s?\b", words)
        found[scale] = {
            f"{'minute' if unit == 'hour' else unit}s": float(n.replace(",", "")) * (60 if unit == "hour" else 1)
            for n, unit in numbers
        }
    return found


def test_its_file_is_short_and_in_order(study):
    text = Path(sys.modules[study.program.__module__].__file__).read_text()
    assert len(text.splitlines()) <= 300
    assert text.startswith('"""')
    order = [text.index("class Config"), text.index(f"def {study.program.__name__}("), text.index("STUDY = Study(")]
    assert order == sorted(order)


def test_its_card_exists(study):
    text = (HOUSE / "docs" / "studies" / f"{study.name}.md").read_text()
    assert text.startswith(f"# {study.name}")


def test_its_committed_reports_are_of_the_present_revision(study):
    scales = catalogue.reported_scales(study.name)
    assert "laptop" in scales
    for scale in scales:
        folder = catalogue.committed_folder(study.name, scale)
        saved = json.loads((folder / "report.json").read_text())
        report = read(folder, study)  # refuses another revision, and scales or variants that the study has not
        verdicts = [verdict.verdict for verdict in report.verdicts]
        # A dear scale may have been run for some variants or seeds alone.
        judged = [v.verdict for v in report.verdicts if "the seed has no effect" not in v.reason]
        assert {*judged} <= {*DECIDED, "undecided", *["not judged"] * (scale != "laptop")}
        registered = registration.load(study, scale, catalogue.committed_folder("").parent)
        assert registered == report.registration
        configs = {spec.variant: spec.config for spec in study.plan(scale)}
        told = {row["variant"]: as_tuples(row["config"]) for row in saved["table"]}
        assert told.keys() <= configs.keys() if scale != "laptop" else told.keys() == configs.keys()
        if saved.get("code") == study.code:
            assert told == {name: configs[name] for name in told}
            for claim in saved["study"]["claims"]:
                claim["verdict"] = ""
            assert saved["study"] == json.loads(json.dumps(catalogue.card(study)))
            assert [verdict["verdict"] for verdict in saved["verdicts"]] == verdicts
        else:
            assert f"by other code of {study.name} than the present" in report.warnings[0]


def test_its_committed_folders_hold_what_cannot_be_made_from_the_rest(study):
    for scale in catalogue.reported_scales(study.name):
        folder = catalogue.committed_folder(study.name, scale)
        report = read(folder, study)
        files = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        known = {Path("report.json"), Path("curves.json"), Path("report.md"), Path(replication.FILE)}
        known.add(Path(registration.path(study, scale, Path()).name))  # written down before the runs
        known |= {Path("charts", f"{chart.name}.svg") for chart in study.charts if not chart.file}
        known.add(Path("charts", THUMBNAIL))
        known |= {exhibit.path for exhibit in report.exhibits if exhibit.content}
        assert files.keys() <= known
        assert sum(files.values()) < 1_000_000  # up to 20 seeds of two dozen variants with curves
        for line in re.findall(r"\]\(((?:charts|pictures|texts|sounds)/[^)]+)\)", (folder / "report.md").read_text()):
            assert Path(line) in files
        for kind in ("html", "ipynb"):
            assert report.study["name"] in render.render(report, kind, drawn=[])


def test_the_committed_reports_are_small_together():
    files = [path for path in catalogue.committed_folder("").parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 450_000 * len(NAMES)  # up to 20 seeds of a variant


def test_every_option_of_the_command_line_is_closed_to_fields():
    assert {field.name for field in dataclasses.fields(RunOptions)} <= OPTIONS


def test_a_run_never_draws_by_its_variant(study):
    seeds = set()
    for spec in study.plan("smoke", seeds=1):
        run = object.__new__(Run)
        run.spec = spec
        seeds.add(run.seed("order", 3))
    assert len(seeds) == 1
