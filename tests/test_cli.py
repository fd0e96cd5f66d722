"""The command line, as a process where a process is the point."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from etudes import api
from etudes.cli import main
from etudes.core import catalogue
from etudes.core.run import execute

HOUSE = Path(__file__).parents[1]
MINE = Path(__file__).with_name("coins.py")


def etudes(*arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, "-m", "etudes", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": f"{HOUSE / 'src'}{os.pathsep}{HOUSE / 'tests'}"} | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def sentence(capsys, arguments, code=2):
    """The one line on standard error of a command that must fail."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    errors = capsys.readouterr().err.strip()
    assert status == code, errors
    assert "Traceback" not in errors
    return errors


@pytest.fixture
def run(tmp_path):
    return ["run", MINE, "--root", tmp_path / "runs", "--scale", "smoke"]


def test_a_run_ends_with_verdicts_and_the_path_of_the_report(run, tmp_path, capsys):
    assert main([str(a) for a in run]) == 0
    out = capsys.readouterr().out
    assert "not judged" in out
    report = tmp_path / "runs" / "coins" / "smoke" / "report"
    assert str(report / "report.html") in out.replace("\n", "")
    assert {"report.json", "report.md", "report.html", "report.ipynb"} <= {p.name for p in report.iterdir()}


def test_bad_input_gets_one_sentence(capsys, run, tmp_path):
    assert sentence(capsys, ["run", "mixpu"]) == "etudes: no study 'mixpu'; did you mean 'mixup'?"
    assert sentence(capsys, ["show", "mixpu"]) == "etudes: no study 'mixpu'; did you mean 'mixup'?"
    assert "alpha is -1; it must be at least 0" in sentence(capsys, ["run", "mixup", "--alpha", "-1"])
    assert "steps is 0; it must be at least 1" in sentence(capsys, [*run, "--steps", 0])
    assert "no scale of coins 'lptop'; did you mean 'laptop'" in sentence(capsys, [*run[:-1], "lptop"])
    assert "no variant of coins 'shiftd'; did you mean 'shifted'" in sentence(capsys, [*run, "--variants", "shiftd"])
    assert "seeds is -1" in sentence(capsys, [*run, "--seeds", -1])
    assert "'shift' is what the variants differ in" in sentence(capsys, [*run, "--shift", 2])
    assert "shift is nan; it must be finite" in sentence(capsys, [*run, "--shift", "nan"])
    assert "no family 'lables'; did you mean 'labels'" in sentence(capsys, ["list", "--family", "lables"])
    told = sentence(capsys, ["report", "mixup", "--root", tmp_path, "--scale", "smoke"])
    assert f"no finished runs of mixup at scale smoke in {tmp_path}" in told
    assert f"`etudes run mixup --scale smoke --root {tmp_path}` makes them" in told
    assert "no benchmark 'engin'; did you mean 'engine'" in sentence(capsys, ["bench", "engin"])
    assert "stps" in sentence(capsys, [*run, "--stps", 3])
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_root_gets_one_sentence(capsys, run, tmp_path):
    (tmp_path / "runs").write_text("a file")
    errors = sentence(capsys, run, code=1)
    assert errors.count("\n") == 0
    assert str(tmp_path / "runs") in errors


def test_a_full_disk_gets_one_sentence_and_loses_nothing(capsys, run, tmp_path, monkeypatch):
    import builtins

    assert main([str(a) for a in [*run, "--variants", "plain"]]) == 0
    results = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("result.json")}
    capsys.readouterr()
    real = os.fsync

    def full(descriptor):
        real(descriptor)
        raise OSError(28, "No space left on device", "result.json")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in sentence(capsys, run, code=1)
    monkeypatch.setattr(os, "fsync", real)
    assert builtins
    assert {p: p.read_bytes() for p in (tmp_path / "runs").rglob("result.json")} == results
    assert main([str(a) for a in run]) == 0


def test_a_half_written_record_gets_one_sentence_and_is_kept(capsys, run, tmp_path):
    assert main([str(a) for a in run]) == 0
    capsys.readouterr()
    path = next((tmp_path / "runs").rglob("result.json"))
    path.write_text('{"test/')
    assert f"{path} is not whole; delete {path.parent}" in sentence(capsys, run)
    assert path.read_text() == '{"test/'


def test_a_run_that_diverges_is_told_and_the_others_are_reported(capsys, tmp_path):
    study = tmp_path / "study.py"
    text = MINE.read_text() + (
        "\nimport dataclasses, math\n"
        "def explode(cfg, run):\n"
        "    run.log(1, score=math.nan if cfg.shift else 1.0)\n"
        "    run.result(**{'test/score': 1.0})\n"
        "STUDY = dataclasses.replace(STUDY, program=explode)\n"
    )
    study.write_text(text)
    assert main(["run", str(study), "--root", str(tmp_path / "runs"), "--scale", "smoke"]) == 1
    told = capsys.readouterr()
    assert "score is nan at step 1" in told.err.replace("\n", " ")
    assert "not judged" in told.out


def test_a_corrupt_mirror_gets_one_sentence(tmp_path):
    folder = tmp_path / "mirror" / "uoft-cs" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(b"PAR1 and then nothing")
    done = etudes("run", "mixup", cwd=tmp_path, ETUDES_MIRROR=str(tmp_path / "mirror"))
    assert done.returncode == 2
    assert "train.parquet is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_any_source_it_says_so_and_runs_on_digits(tmp_path):
    nowhere = {"HF_HUB_OFFLINE": "1", "ETUDES_CACHE": str(tmp_path / "cache"), "ETUDES_MIRROR": ""}
    quick = ("--root", "runs", "--seeds", 1, "--variants", "erm", "--steps", 2)
    done = etudes("run", "mixup", *quick, cwd=tmp_path, **nowhere)
    assert done.returncode == 0, done.stderr
    assert "running with dataset = digits instead" in done.stderr.replace("\n", " ")
    assert "digits" in done.stdout
    insisted = etudes("run", "mixup", *quick, "--dataset", "cifar10", cwd=tmp_path, **nowhere)
    assert insisted.returncode == 2
    assert "no source of 'cifar10' can be reached" in insisted.stderr
    assert "Traceback" not in insisted.stderr


@pytest.mark.parametrize("name", catalogue.names())
def test_without_any_source_every_study_is_planned_on_data_that_are_there(name, tmp_path, monkeypatch):
    from etudes import api
    from etudes.data.sources import reach

    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    monkeypatch.setattr(reach, "is_offered", lambda carrier: False)  # no registry answers either
    study = catalogue.find(name)
    offline = study.scales["laptop"].offline
    plan, notice = api._planned(study, api.Options(), {})
    assert {field: plan[0].config[field] for field in offline} == dict(offline)
    for field, value in offline.items():
        assert f"{field} = {value}" in notice


def test_what_the_user_insists_on_is_kept_when_other_data_is_replaced(tmp_path, monkeypatch):
    from etudes import api

    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    study, fields = catalogue.find("llama-fr"), {"dataset": "eltec-fra"}
    plan, notice = api._planned(study, api.Options(), fields)
    assert (plan[0].config["dataset"], plan[0].config["unseen"]) == ("eltec-fra", "python")
    assert "running with unseen = python instead, without verdicts" in notice


def test_control_c_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "etudes", "run", "edge-of-stability", "--steps", "100000", "--seeds", "1"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not list(tmp_path.rglob("log.jsonl")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130, errors
    assert "the same command goes on: etudes run edge-of-stability --steps 100000 --seeds 1" in errors
    assert "Traceback" not in errors


def test_killed_at_ten_random_moments_mixup_ends_with_the_same_results(tmp_path):
    arguments = ["run", "mixup", "--scale", "smoke", "--seeds", "1"]
    assert etudes(*arguments, cwd=tmp_path, ETUDES_SAVE_SECONDS="0").returncode == 0
    results = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("result.json")}
    logs = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("log.jsonl")}
    shutil.rmtree(tmp_path / "runs")
    chance, kills = random.Random(1), 0
    while kills < 10:
        process = subprocess.Popen(
            [sys.executable, "-m", "etudes", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"ETUDES_SAVE_SECONDS": "0"},
        )  # fmt: skip
        time.sleep(chance.uniform(0.5, 7))
        kills += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert etudes(*arguments, cwd=tmp_path).returncode == 0
    assert {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("result.json")} == results
    assert {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("log.jsonl")} == logs


def test_several_processes_agree_with_one_from_the_command_line(tmp_path):
    arguments = ["run", "mixup", "--scale", "smoke", "--seeds", "1", "--variants", "mixup", "--precision", "fp32"]
    assert etudes(*arguments, "--root", "one", cwd=tmp_path).returncode == 0
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "29533", "-m", "etudes"]
    done = subprocess.run(
        [sys.executable, *launch, *arguments, "--root", "two"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (
        [json.loads(line) for line in next((tmp_path / name).rglob("log.jsonl")).read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in two] == [line["step"] for line in one]
    assert [line["train/loss"] for line in two] == pytest.approx([line["train/loss"] for line in one], rel=1e-4)
    assert "not judged" in done.stdout
    assert json.loads(next((tmp_path / "two").rglob("env.json")).read_text())["processes"] == 2


def test_datasets_are_listed_and_unknown_ones_named(capsys):
    assert main(["data"]) == 0
    assert "cifar10" in capsys.readouterr().out
    assert "no dataset 'cifar01'; did you mean 'cifar10'" in sentence(capsys, ["data", "get", "cifar01"])
    assert main(["data", "get", "digits"]) == 0
    assert "scikit-learn" in capsys.readouterr().out


def test_listing_is_json_with_what_a_page_needs(capsys):
    assert main(["list", "--json"]) == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    mixup = cards["mixup"]
    assert (mixup["family"], mixup["origin"], mixup["paper"]["year"]) == ("labels", "C", 2018)
    assert mixup["scales"]["laptop"]["seeds"] >= 3
    assert {claim["verdict"] for claim in mixup["claims"]} <= {"supported", "refuted", "undecided"}
    assert main(["list", "--markdown", "--family", "dynamics"]) == 0
    table = capsys.readouterr().out
    assert "[edge-of-stability](edge-of-stability.md)" in table
    assert "mixup" not in table


def test_listing_starts_in_a_blink(tmp_path):
    def seconds(*command):
        found = []
        for _ in range(7):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=tmp_path)
            found.append(time.perf_counter() - begun)
        return min(found)

    assert seconds("-m", "etudes", "list") - seconds("-c", "pass") < 0.3


def test_reports_are_printed_or_written(capsys, run, tmp_path):
    assert main([str(a) for a in run]) == 0
    capsys.readouterr()
    where = ["--scale", "smoke", "--root", str(tmp_path / "runs")]
    assert main(["report", str(MINE), *where, "--format", "md"]) == 0
    assert capsys.readouterr().out.startswith("# coins")
    assert main(["report", str(MINE), *where, "--format", "html", "--out", str(tmp_path / "page.html")]) == 0
    assert "<html" in (tmp_path / "page.html").read_text()
    assert main(["report", str(MINE), *where, "--out", str(tmp_path / "all")]) == 0
    assert (tmp_path / "all" / "report.json").exists()


def test_the_committed_report_is_shown_without_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "mixup"]) == 0
    told = capsys.readouterr()
    assert "mixup on cifar10" in told.out
    assert f"Committed report: {catalogue.committed_folder('mixup') / 'report.md'}" in told.out
    assert (catalogue.committed_folder("mixup") / "report.md").is_file()
    assert "no finished runs in runs; this is the project's committed report" in told.err
    assert list(tmp_path.iterdir()) == []
    assert main(["report", "mixup", "--out", "copy"]) == 0
    assert "Report: copy/report.html" in capsys.readouterr().out
    assert (tmp_path / "copy" / "report.json").exists()


def test_what_is_written_among_the_committed_reports_is_what_is_committed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "committed_folder", lambda name, scale="laptop": tmp_path / "results" / name / scale)
    shutil.copytree(HOUSE / "results" / "mixup", tmp_path / "results" / "mixup")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "mixup" / "laptop"
    before = {path.name for path in folder.rglob("*")}
    assert main(["report", "mixup", "--out", "copy"]) == 0
    assert main(["report", "mixup", "--out", "results/mixup/laptop"]) == 0
    assert {path.name for path in folder.rglob("*")} == before
    assert {"report.html", "report.ipynb"} <= {path.name for path in Path("copy").iterdir()} - before


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_a_terminal_without_utf_8_gets_its_verdicts(environment, tmp_path):
    variables = os.environ | environment | {"LANG": "C", "COLUMNS": "80"}
    command = [sys.executable, "-m", "etudes", "report", "mixup"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    encoding = environment["PYTHONIOENCODING"].partition(":")[0]
    text = done.stdout.decode(encoding)
    rows = [row for row in api.report("mixup").verdict_rows() if row["mean"].startswith("−")]
    assert rows
    for row in rows:
        assert f"{row['verdict']}; mean -{row['mean'][1:]}; " in text
    assert "?" not in text


def test_a_root_without_runs_is_told_and_nothing_is_written_there(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "fresh", tmp_path / "file"):
        errors = sentence(capsys, ["report", "mixup", "--root", root])
        assert errors.startswith(f"etudes: no finished runs of mixup at scale laptop in {root};")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_of_a_file_names_what_was_asked_for(capsys, run, tmp_path):
    assert main([str(a) for a in run]) == 0
    capsys.readouterr()
    where = ["--scale", "smoke", "--root", tmp_path / "runs", "--out", tmp_path]
    told = sentence(capsys, ["report", MINE, *where, "--format", "html"], code=1)
    assert told == f"etudes: cannot use {tmp_path}: Is a directory"
    (tmp_path / "file").write_text("")
    told = sentence(capsys, ["data", "mirror", tmp_path / "file", "digits"], code=1)
    assert told == f"etudes: cannot use {tmp_path / 'file' / 'digits'}: Not a directory"


def test_serving_a_file_is_told(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    told = sentence(capsys, ["serve", "--root", tmp_path / "file"])
    assert told == f"etudes: {tmp_path / 'file'} is no folder; --root is the folder of the runs"


def test_flags_before_the_study_are_told(capsys):
    told = sentence(capsys, ["run", "--scale", "smoke", "mixup"])
    assert told == "etudes: name the study first, as in `etudes run mixup --scale smoke`; `etudes list` shows them"
    assert "`etudes run mixup --variants mixup`" in sentence(capsys, ["run", "--variants", "mixup", "mixup"])
    assert "`etudes run NAME`" in sentence(capsys, ["run"])
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    assert "--name" not in capsys.readouterr().out


def test_a_study_with_a_slip_is_told_with_its_line(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import json\nfrom nosuchlibrary import f\n")
    for command in ("show", "run", "report"):
        told = sentence(capsys, [command, path])
        assert told == f"etudes: {path}, line 2: ModuleNotFoundError: No module named 'nosuchlibrary'; mend the file"


def test_committed_reports_of_any_scale_are_named_and_shown(capsys, run, tmp_path, monkeypatch):
    assert main(["show", "mixup"]) == 0
    assert "etudes report mixup --scale laptop" in capsys.readouterr().out
    results = tmp_path / "results"
    monkeypatch.setattr(catalogue, "committed_folder", lambda name, scale="laptop": results / name / scale)
    assert main([str(a) for a in run]) == 0
    assert main(["report", str(MINE), *map(str, run[2:]), "--out", str(results / "coins" / "smoke")]) == 0
    capsys.readouterr()
    assert main(["show", str(MINE), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reported"] == ["smoke"]
    monkeypatch.chdir(tmp_path / "results")
    assert main(["report", str(MINE), "--scale", "smoke", "--format", "md"]) == 0
    assert capsys.readouterr().out.startswith("# coins")


def test_fields_are_flags_with_their_comments_as_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "mixup", "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--alpha" in told
    assert "of Beta(alpha, alpha)" in told
    assert "--weight-decay" in told


def test_python_has_the_same_three_verbs(tmp_path):
    import etudes

    study = etudes.study(str(MINE))
    report = etudes.run(study, scale="smoke", root=tmp_path)
    again = etudes.report(study, "smoke", root=tmp_path)
    assert report.title == again.title
    assert "<table" in report._repr_html_()


def test_a_variant_that_is_named_like_a_field_is_run_as_it_is(tmp_path, capsys):
    study = tmp_path / "mine.py"
    study.write_text(
        "from coins import make_study\n"
        "from etudes.core import Variant\n"
        "STUDY = make_study(variants=(Variant('fair'), Variant('shifted', {'shift': -1.0})))\n"
    )
    assert main(["run", str(study), "--scale", "smoke", "--variants", "fair", "--steps", "3", "--dry"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["coins, smoke scale: 2 of 2 runs would be performed.", "fair: 2 not run yet"]


def test_the_version_is_printed(capsys):
    import etudes

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"etudes {etudes.__version__}\n"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A study's file, and the command that runs it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_too.py").write_text("HALF = 0.5\n")
    path = tmp_path / "mine.py"
    path.write_text("from mine_too import HALF\n" + MINE.read_text().replace("+ cfg.shift)", "+ HALF * cfg.shift)"))
    yield path, ["run", str(path), "--scale", "smoke"]
    sys.modules.pop("mine_too", None)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    sys.modules.pop("mine_too", None)


def dry(capsys, command):
    capsys.readouterr()
    assert main([*command, "--dry"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A tiny study, as', '"""A small study, as'),
        ("# added to the score", "# that is added"),
        ("shifted scores lower than plain", "the shifted coin scores lower"),
        ('charts=(bars("test/score"), curves("score"))', 'charts=(curves("score"),)'),
        ("minutes=0.1)", "minutes=7)"),
        ("Does shifting shift?", "Does it shift?"),
    ],
)
def test_words_claims_charts_and_minutes_can_be_edited_and_the_runs_are_kept(edited, capsys, old, new):
    path, command = edited
    assert main(command) == 0
    change(path, old, new)
    lines = dry(capsys, command)
    assert lines == [
        "coins, smoke scale: 0 of 4 runs would be performed.", "plain: 2 finished", "shifted: 2 finished",
    ]  # fmt: skip
    assert main(command) == 0
    assert "4 of 4 runs are finished already." in capsys.readouterr().err


@pytest.mark.parametrize("beside", [False, True])
def test_an_edited_program_is_run_again_and_said_and_its_earlier_runs_can_be_seen(edited, capsys, beside):
    path, command = edited
    assert main(command) == 0
    code = catalogue.find(str(path)).code
    if beside:
        change(path.with_name("mine_too.py"), "0.5", "0.25")
    else:
        change(path, "run.log(i + 1", "run.log(i + 2")
    lines = dry(capsys, command)
    assert lines == [
        "coins, smoke scale: 4 of 4 runs would be performed.",
        f"plain: 2 made by other code ({code}): will be run again",
        f"shifted: 2 made by other code ({code}): will be run again",
        f"4 finished runs were made by other code of the study; `etudes report mine.py --scale smoke --code {code}` "
        "shows them.",
    ]
    assert main(command) == 0
    heard = capsys.readouterr()
    assert (
        f"4 finished runs were made by other code of the study; `etudes report mine.py --scale smoke --code {code}`"
        in (heard.err)
    )
    assert "finished already" not in heard.err
    assert dry(capsys, command)[:1] == ["coins, smoke scale: 0 of 4 runs would be performed."]
    fresh = (path.parent / "runs/coins/smoke/report/report.json").read_bytes()
    assert main(["report", "mine.py", "--scale", "smoke", "--code", code]) == 0
    shown = path.parent / f"runs/coins/smoke/report-{code}/report.json"
    assert json.loads(shown.read_text())["code"] == code
    assert (path.parent / "runs/coins/smoke/report/report.json").read_bytes() == fresh
    told = sentence(capsys, ["report", "mine.py", "--scale", "smoke", "--code", "0123abcd"])
    assert told == "etudes: no finished runs of coins at scale smoke in runs were made by code 0123abcd"


def test_what_a_command_would_do_is_said_run_by_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    (tmp_path / "counts.py").write_text(
        "from coins import make_study\n"
        "def count(cfg, run):\n"
        "    for i in range(6):\n"
        "        run.log(i + 1, i=i)\n"
        "        run.save(i + 1, lambda path: path.write_text('x'))\n"
        "        if i == 3 and run.spec.seed == 1:\n"
        "            raise KeyboardInterrupt\n"
        "    run.result(x=1.0)\n"
        "STUDY = make_study(program=count)\n"
    )
    study = catalogue.find("counts.py")
    plan = study.plan("laptop", variants=["plain"])
    execute(study, plan[0], tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        execute(study, plan[1], tmp_path / "runs")
    (tmp_path / "runs" / plan[2].key).mkdir(parents=True)
    with FileLock(tmp_path / "runs" / plan[2].key / "lock"):
        lines = dry(capsys, ["run", "counts.py", "--precision", "fp32"])
    assert lines == [
        "coins, laptop scale: 7 of 8 runs would be performed.",
        "plain: 1 finished, 1 interrupted at step 4, 1 being run by another process, 1 not run yet",
        "shifted: 4 not run yet",
    ]
    assert not list((tmp_path / "runs").rglob("report*"))


def test_seeds_for_tuning_are_apart_and_never_judge(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(MINE), "--tune", "--seeds", "3"]) == 0
    assert "not judged" in capsys.readouterr().out
    seeds = sorted(path.parent.name.partition("-")[0] for path in tmp_path.rglob("result.json"))
    assert seeds == sorted(["1000", "1001", "1002"] * 2)
    assert dry(capsys, ["run", str(MINE)])[0] == "coins, laptop scale: 8 of 8 runs would be performed."
    assert dry(capsys, ["run", str(MINE), "--tune"])[0] == "coins, laptop scale: 0 of 2 runs would be performed."


def test_the_number_of_threads_is_an_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(MINE), "--scale", "smoke", "--threads", "2", "--seeds", "1"]) == 0
    envs = [json.loads(path.read_text()) for path in tmp_path.rglob("env.json")]
    assert [env["threads"] for env in envs] == [2, 2]
    assert dry(capsys, ["run", str(MINE), "--scale", "smoke", "--seeds", "1"])[1] == "plain: 1 not run yet"
    assert "threads is -1; it must be from 1 to" in sentence(capsys, ["run", MINE, "--threads", -1])
    assert "--address and --gpus-per-run are Ray's; add --engine ray" in sentence(
        capsys, ["run", MINE, "--gpus-per-run", 1]
    )


def test_an_error_of_the_program_ends_with_its_traceback_and_one_sentence(tmp_path):
    study = tmp_path / "mine.py"
    study.write_text(
        "from coins import make_study\n"
        "def toss(cfg, run):\n"
        "    return {}['no such key']\n"
        "STUDY = make_study(program=toss)\n"
    )
    for seeds in (1, 3):  # side by side, and one run alone
        done = etudes("run", "mine.py", "--variants", "plain", "--seeds", seeds, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("Traceback") == 1
        assert done.stderr.count("return {}['no such key']") == 1
        assert "etudes/core" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("etudes: coins/laptop/plain/")
        assert last.endswith("the program raised KeyError: 'no such key'; finished runs are kept")
