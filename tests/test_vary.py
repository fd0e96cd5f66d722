"""Variants of a user's own: added to a study without editing it, compared with intervals, and never judged."""

import dataclasses
import itertools
import json
import shlex
from pathlib import Path
from typing import Literal

import pytest
from scipy import stats

import coins as coins_file
import etudes
from coins import make_study
from etudes import api, flags
from etudes.cli import main
from etudes.core import Scale, Variant, below, catalogue
from etudes.core.claims import Claim
from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.reports import compare, facts, manuscript, render
from etudes.reports.build import read
from etudes.sweep import local, team

MINE = Path(coins_file.__file__)
OWN = {"mine": {"shift": 0.5}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def report(root):
    return api.run(make_study(), root=root, vary=OWN, variants=["plain", "shifted"])


def test_the_study_keeps_its_code_its_keys_and_its_variants():
    study = make_study()
    varied = study.vary(OWN)
    assert (varied.own, study.own, varied.base) == (("mine",), (), study)
    assert varied.code == study.code
    assert [spec for spec in varied.plan() if spec.variant == "plain"] == study.plan(variants=["plain"])
    assert [spec.variant for spec in varied.plan(seeds=1)] == ["plain", "mine"]
    assert [spec.variant for spec in varied.plan(seeds=1, variants=["shifted", "mine"])] == ["shifted", "mine"]
    assert [v.name for v in study.variants] == ["plain", "shifted"]
    more = varied.vary({"far": {"shift": 9}})
    assert (more.own, more.base) == (("mine", "far"), study)


def test_the_scale_says_beside_what_and_its_own_changes_may_be_changed():
    study = make_study(scales={"smoke": Scale({"steps": 2}, 2, 0.1, judges=False, variants=("shifted",))})
    plan = study.vary({"mine": {"steps": 3}}).plan("smoke", seeds=1)
    assert [(spec.variant, spec.config["steps"]) for spec in plan] == [("shifted", 2), ("mine", 3)]


def test_the_numbers_are_those_of_a_paired_t_test(report):
    assert [(row["variant"], row["reference"]) for row in report.comparisons] == [
        ("mine", "plain"),
        ("mine", "shifted"),
    ]
    metrics = {(t["variant"], t["seed"]): t["metrics"]["test/score"] for t in report.trials}
    for row in report.comparisons:
        ours, theirs = ([metrics[name, seed] for seed in range(4)] for name in (row["variant"], row["reference"]))
        exact = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((exact.low, exact.high), rel=1e-9)
        assert row["mean"] == pytest.approx(sum(ours) / 4 - sum(theirs) / 4)
        assert (row["metric"], row["seeds"]) == ("test/score", 4)


def test_numbers_that_vary_and_seeds_that_are_not_shared():
    study = make_study().vary(OWN)
    ours, theirs = [0.31, 0.52, 0.18, 0.44, 7.0], [0.29, 0.61, 0.11, 0.40]
    trials = [{"variant": "mine", "seed": i, "metrics": {"a": x, "parameters": 3}} for i, x in enumerate(ours)]
    trials += [{"variant": "plain", "seed": i, "metrics": {"a": x, "b": x}} for i, x in enumerate(theirs)]
    (row,) = compare.comparisons(study, trials)
    exact = stats.ttest_rel(ours[:4], theirs).confidence_interval(0.95)
    assert (row["low"], row["high"], row["seeds"]) == pytest.approx((exact.low, exact.high, 4))
    assert compare.comparisons(study, [t | {"metrics": {}} for t in trials]) == []  # as of runs that diverged
    (row,) = compare.comparisons(study, [t for t in trials if t["seed"] == 2])
    shown = compare.table(dataclasses.replace(_bare(study), comparisons=[row]))[1]
    assert shown == [["mine − plain", "a", "0.0700", "–", "1"]]


def _bare(study):
    return api.Report(study, {}, "", "", "", [], {}, {}, [], [], [], [], [], [], {}, [])


def test_nothing_is_judged_and_the_report_says_so(report):
    assert {verdict.verdict for verdict in report.verdicts} == {"not judged"}
    said = "The claims are not judged: these runs explore a variant of your own (mine)."
    assert said in report.warnings
    for kind in ("md", "html"):
        text = render.render(report, kind)
        assert text.index("Compared") < text.index("Claims")
        for words in (said, "mine − shifted", "not corrected for their number"):
            assert words in text
    assert "mine − plain" in report._repr_html_()
    assert f"vary={OWN!r}" in render.render(report, "ipynb")
    compared = manuscript.files(report, "course", drawn=[])["parts/comparisons.tex"].decode()
    assert r"mine \ensuremath{-} shifted & " in compared


def test_a_claim_about_all_variants_does_not_meet_those_of_a_user(tmp_path):
    places = {"plain": 0, "shifted": 1}
    claim = Claim(lambda trial: max(places[name] for name in trial), below(5), "sec. 1")
    study = make_study(claims={"all are known": claim})
    report = api.run(study, "smoke", root=tmp_path, vary=OWN, variants=["plain", "shifted"])
    assert list(report.verdicts[0].values) == [1.0, 1.0]


def test_it_is_read_back_as_it_was_written(report, root, tmp_path):
    folder = report.folder(root)
    assert folder.name.startswith("report-")
    render.write(report, folder)
    again = read(folder, make_study())
    assert again.json() == report.json()
    assert again.comparisons == report.comparisons
    saved = json.loads((folder / "report.json").read_text())
    assert [row["reference"] for row in saved["comparisons"]] == ["plain", "shifted"]
    with pytest.raises(Problem, match="has a variant 'mine' already"):
        read(folder, make_study(variants=(Variant("plain"), Variant("shifted", {"shift": -1.0}), Variant("mine"))))


def test_its_choice_leads_to_it_again(report, root):
    assert report.choice == {"variants": ["plain", "shifted"], "vary": OWN}
    assert api.run(make_study(), root=root, **report.choice).json() == report.json()
    assert etudes.report(make_study(), root=root, **report.choice).json() == report.json()


def test_plain_reports_do_not_see_it(report, root):
    study = make_study()
    plain = etudes.report(study, root=root)
    assert [row["variant"] for row in plain.table] == ["plain", "shifted"]
    assert "comparisons" not in plain.json()
    assert plain.folder(root).name == "report"
    assert "Compared" not in render.render(plain, "md")
    assert {record.spec.variant for record in load(study.plan(), root)} == {"plain", "shifted"}
    assert {v.verdict for v in plain.verdicts} != {"not judged"}


def test_more_seeds_of_the_others_do_not_enter(tmp_path):
    study = make_study()
    api.run(study, root=tmp_path, seeds=6)
    report = api.run(study, root=tmp_path, vary=OWN)
    assert report.choice == {"variants": ["plain"], "vary": OWN}
    assert [row["seeds"] for row in report.table] == [4, 4]


def test_spawned_workers_perform_it(tmp_path):
    study = catalogue.find(str(MINE))
    varied = study.vary(OWN)
    assert team.source(varied) == team.source(study) == str(MINE)
    assert team.source(catalogue.find("mixup").vary({"mine": {"alpha": 0.4}})) == "mixup"
    plan = varied.plan("smoke")
    assert {o.status for o in local.perform(varied, plan, tmp_path, count=2, start="spawn")} == {"done"}
    assert len(load(plan, tmp_path)) == len(plan) == 4


BAD = [
    (["mine alpha=1"], "--vary is 'mine alpha=1'; write it as in --vary \"mine: steps=VALUE\""),
    (["mine:"], "--vary is 'mine:'"),
    ([": shift=1"], "--vary is ': shift=1'"),
    (["mine: shift"], "--vary is 'mine: shift'"),
    (["mine: =1"], "--vary is 'mine: =1'"),
    (["mine: shift='1"], "--vary is 'mine: shift='1'"),
    (["mine: shfit=1"], "no config field of coins, 'shfit'; did you mean 'shift'?"),
    (["mine: shift=much"], "coins: shift is 'much'; it must be of type float"),
    (["mine: shift=nan"], "coins: shift is nan; it must be finite"),
    (["mine: steps=0"], "coins: steps is 0; it must be at least 1"),
    (["mine: steps=1.5"], "coins: steps is '1.5'; it must be of type int"),
    (["mine: fair=perhaps"], "coins: fair is 'perhaps'; it must be of type bool"),
    (["mine: shift=1 shift=2"], "--vary says 'shift' twice"),
    (["mine: shift=1", "mine: shift=2"], "--vary says 'mine' twice"),
    (["shifted: shift=1"], "coins has a variant 'shifted' already; give yours another name"),
    (["Mine: shift=1"], "your variant cannot be named 'Mine'"),
    (["once: shift=1"], "your variant cannot be named 'once'"),
    (["report-1: shift=1"], "your variant cannot be named 'report-1'"),
]


@pytest.mark.parametrize(("said", "expected"), BAD)
def test_bad_input_gets_one_sentence(said, expected, tmp_path, capsys):
    words = [word for text in said for word in ("--vary", text)]
    assert main(["run", str(MINE), "--scale", "smoke", "--root", str(tmp_path / "runs"), *words]) == 2
    errors = capsys.readouterr().err.strip()
    assert expected in errors
    assert errors.count("\n") == 0
    assert not (tmp_path / "runs").exists()


def test_what_cannot_go_together_gets_one_sentence(tmp_path, capsys):
    run = ["run", str(MINE), "--scale", "smoke", "--root", str(tmp_path), "--vary", "mine: shift=1"]
    for words, expected in (
        (["--until", "decided"], "give --seeds instead"),
        (["--shift", "2"], "'shift' is what the variants differ in; set it in --vary alone"),
        (["--variants", "plian"], "no variant of coins 'plian'; did you mean 'plain'?"),
    ):
        assert main([*run, *words]) == 2
        assert expected in capsys.readouterr().err
    for vary, expected in (
        ("mine", "vary is 'mine'; it is {name"),
        ({"mine": {}}, "changes no field"),
        ({"mine": 3}, "changes no field"),
    ):
        with pytest.raises(Problem, match=expected):
            api.run(make_study(), vary=vary, root=tmp_path)


@dataclasses.dataclass(frozen=True)
class Wide:
    """A field of each type."""

    steps: int = 1
    rate: float = 0.1
    fair: bool = True
    text: str = ""
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    names: tuple[str, ...] = ()
    most: int | None = None
    pair: tuple[float, float] | None = None


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 3, "rate": -1e-05, "fair": False, "kind": "b"},
        {"text": "a; b: c='d' \"e\" --help"},
        {"text": "-x"},
        {"text": ""},
        {"sizes": (4,), "names": ("a,b", "", 'c "d"'), "most": 5, "pair": (0.1, -2.0)},
        {"sizes": (), "names": ("",), "most": None, "pair": None},
    ],
)
def test_the_command_says_what_was_parsed(changes):
    study = make_study(config=Wide, variants=(Variant("plain"),))
    words = shlex.split(facts.command(study, "smoke", {"vary": {"mine": changes, "other": {"steps": 2}}}, ""))
    said = [word for before, word in itertools.pairwise(words) if before == "--vary"]
    options, fields = flags.parse(study, words[3:])
    assert (options.vary, fields) == (tuple(said), {})
    varied = study.vary(flags.choice(study, options).vary)
    assert [variant.changes for variant in varied.variants[1:]] == [changes, {"steps": 2}]
    assert study.vary(json.loads(json.dumps({"mine": changes}))).variants[1].changes == changes


def test_dry_and_tune(tmp_path, capsys):
    run = ["run", str(MINE), "--scale", "smoke", "--root", str(tmp_path), "--vary", "mine: shift=1 fair=false"]
    assert main([*run, "--dry", "--tune"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 runs would be performed" in out
    assert "mine: 1 not run yet" in out
    assert not (tmp_path / "coins").exists()
    assert main([*run, "--tune"]) == 0
    out = capsys.readouterr().out
    assert "mine − plain" in out
    assert "1 seed" in out
    found = json.loads(next(tmp_path.glob("coins/smoke/report-*/report.json")).read_text())
    assert found["choice"]["tune"]
    assert found["choice"]["vary"] == {"mine": {"shift": 1.0, "fair": False}}


def test_a_study_of_the_catalogue_from_the_command_to_its_page(tmp_path, capsys):
    words = ["--scale", "smoke", "--steps", "2", "--root", str(tmp_path)]
    assert main(["run", "mixup", *words, "--vary", "mine: alpha=0.4 draw=example"]) == 0
    out = capsys.readouterr().out
    assert "mine − erm, with its 95 % interval" in out
    assert "not judged: these runs explore a variant of your own (mine)" in " ".join(out.split())
    folder = next(tmp_path.glob("mixup/smoke/report-*"))
    saved = json.loads((folder / "report.json").read_text())
    assert saved["commands"][0].startswith(
        "etudes run mixup --scale smoke --variants erm --vary 'mine: alpha=0.4 draw=example' --steps 2"
    )
    assert {row["metric"] for row in saved["comparisons"]} >= {"test/error", "train/error", "train/misses"}
    assert all(row["seeds"] == 2 and row["low"] <= row["mean"] <= row["high"] for row in saved["comparisons"])
    assert main(["report", "mixup", *words[:2], "--root", str(tmp_path / "none")]) == 2  # and none of a plain run

    pytest.importorskip("markdown_it")
    from etudes.web.pages import Pages
    from etudes.web.shelf import Shelf

    page = Pages(Shelf({"": tmp_path})).study("mixup", f"local-smoke-{folder.name.removeprefix('report-')}")
    for said in ("Compared", "mine − erm", "explore a variant of your own (mine)"):
        assert said in page
