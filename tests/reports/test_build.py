import dataclasses
import itertools
import json
import math
import shlex
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.core.record import Record, load
from etudes.core.run import execute
from etudes.core.spec import Study
from etudes.core.verdicts import judge
from etudes.reports import render
from etudes.reports.build import build, read
from etudes.reports.numbers import thin
from etudes.reports.report import Report

Make = Callable[..., Study]


def changed_env(records: list[Record], i: int, **facts: object) -> list[Record]:
    """The records, of which the i-th noted other facts."""
    return [dataclasses.replace(r, env={**r.env, **(facts if i == j else {})}) for j, r in enumerate(records)]


@pytest.fixture(scope="module")
def records(waves: Make, root: Path) -> list[Record]:
    return load(waves().plan("laptop"), root)


def test_means_and_deviations_are_those_of_the_results_on_disk(report: Report, root: Path) -> None:
    for row in report.table:
        files = (root / "waves" / "laptop" / row["variant"]).glob("*/result.json")
        results = [json.loads(path.read_text()) for path in files]
        assert row["seeds"] == len(results) == 5
        for name, found in row["metrics"].items():
            values = [result[name] for result in results]
            assert found["mean"] == pytest.approx(statistics.mean(values), rel=1e-5)
            assert found["deviation"] == pytest.approx(statistics.stdev(values), rel=1e-4)
    assert [row["variant"] for row in report.table] == [variant["name"] for variant in report.study["variants"]]
    assert report.table[0]["parameters"] == 11_173_962
    assert "parameters" not in report.table[0]["metrics"]


def test_verdicts_are_those_of_the_unrounded_runs(report: Report, waves: Make, records: list[Record]) -> None:
    for found, exact in zip(report.verdicts, judge(waves(), records), strict=True):
        assert found.verdict == exact.verdict
        assert (found.mean, found.low, found.high) == pytest.approx((exact.mean, exact.low, exact.high), rel=1e-3)
    assert [claim["verdict"] for claim in report.study["claims"]] == [v.verdict for v in report.verdicts]
    assert {"supported", "refuted"} <= {v.verdict for v in report.verdicts}


def test_the_card_is_the_catalogues_but_for_the_verdicts(report: Report, waves: Make) -> None:
    card = json.loads(json.dumps(report.json()["study"]))
    for claim in card["claims"]:
        assert claim.pop("verdict") in ("supported", "refuted", "undecided")
    plain = json.loads(json.dumps(catalogue.card(waves())))
    for claim in plain["claims"]:
        del claim["verdict"]
    assert card == plain


def test_title_and_data_name_what_was_used(report: Report) -> None:
    assert report.title == "waves on waves, laptop scale"
    assert report.data == [{"dataset": "waves", "kind": "embedded", "says": "made up", "fingerprint": "ab" * 32}]
    assert report.changed == {}
    assert report.warnings == []
    assert report.departures == "There is no paper, so it departs from nothing."


def test_json_has_no_nan_six_digits_and_stable_bytes(report: Report) -> None:
    text = json.dumps(report.json(), allow_nan=False, sort_keys=True)
    assert text == json.dumps(report.json(), allow_nan=False, sort_keys=True)
    assert report.json()["verdicts"][1]["paper"] is None
    assert report.json()["verdicts"][0]["expect"] == [None, 0]
    for trial in report.json()["trials"]:
        assert all(value == float(f"{value:.6g}") for value in trial["metrics"].values() if value != 11_173_962)


def test_reading_it_back_gives_the_same_report(report: Report, waves: Make, written: Path) -> None:
    again = read(written, waves())
    assert again.json() == report.json()
    assert list(again.curves) == list(report.curves)
    assert again.chart("test-error-curves").to_dict() == report.chart("test-error-curves").to_dict()
    assert again.table_rows() == report.table_rows()
    assert again.verdict_rows() == report.verdict_rows()


def test_read_judges_again(waves: Make, written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    saved = read_json(tmp_path / "report.json", "")
    for trial in saved["trials"]:
        if trial["variant"] == "mixed-0":
            trial["metrics"]["test/error"] += 1
    (tmp_path / "report.json").write_text(json.dumps(saved))
    assert read(tmp_path, waves()).verdicts[0].verdict == "refuted"


def test_where_nothing_is_judged_another_revision_is_told_and_read(waves: Make, root: Path, tmp_path: Path) -> None:
    plan = waves().plan("smoke")
    for spec in plan:
        execute(waves(), spec, root)
    render.write(build(waves(), plan, load(plan, root)), tmp_path)
    told = "The runs were made under revision 1 of waves."
    assert told in read(tmp_path, waves(revisions=("one",))).warnings
    assert told not in read(tmp_path, waves()).warnings


def test_read_refuses_another_revision_and_other_variants(waves: Make, written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    with pytest.raises(Problem, match="reports waves, revision 1, but this is waves, revision 2"):
        read(tmp_path, waves(revisions=("one",)))
    fewer = [variant for variant in waves().variants if variant.name != "mixed-100"]
    with pytest.raises(Problem, match="variants which waves no longer has"):
        read(tmp_path, waves(variants=fewer, charts=()))
    (tmp_path / "curves.json").write_text("{")
    with pytest.raises(Problem, match=r"curves\.json is not whole"):
        read(tmp_path, waves())


def test_without_runs_it_says_how_to_get_them(waves: Make) -> None:
    with pytest.raises(Problem, match=r"no finished runs of waves at scale laptop; `etudes run .* --scale laptop"):
        build(waves(), waves().plan("laptop"), [])


def test_fewer_seeds_than_the_first_look_has_are_not_judged(waves: Make, root: Path) -> None:
    plan = waves().plan("laptop", seeds=2)
    two = [record for record in load(plan, root) if record.spec.seed < 2]
    report = build(waves(), plan, two)
    assert {row["verdict"] for row in report.verdict_rows()} == {"not judged"}
    assert report.warnings[0] == "Not judged: 3 claims; it is judged from 5 seeds on, and 2 are complete."
    assert "--seeds 2" in report.commands[0]


def test_a_single_seed_has_no_deviation_and_no_interval(waves: Make, root: Path) -> None:
    plan = waves().plan("laptop", seeds=1)
    report = build(waves(), plan, [record for record in load(plan, root) if record.spec.seed == 0])
    assert report.table[0]["metrics"]["test/error"]["deviation"] is None
    assert report.verdict_rows()[0]["interval"] == "–"
    assert "∞" not in render.html(report)
    assert json.dumps(report.json(), allow_nan=False)


def test_a_scale_that_does_not_judge(waves: Make, root: Path) -> None:
    plan = waves().plan("smoke")
    report = build(waves(), plan, load(plan, root))
    assert {verdict.verdict for verdict in report.verdicts} == {"not judged"}
    assert report.warnings == [
        "The claims are not judged at scale smoke: it is too small for verdicts, or has too few seeds."
    ]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"library": "deadbeef"}, "The runs differ in the project's modules that the study uses: "),
        ({"precision": "bf16"}, "The runs differ in the precision: fp32 (49 runs), bf16 (1 run)."),
        ({"host": "elsewhere"}, "The runs differ in the machine: "),
        ({"processes": 2}, "The runs differ in the number of processes: 1 (49 runs), 2 (1 run)."),
        ({"libraries": {"numpy": "0.1"}}, "The runs differ in the version of numpy: "),
        (
            {"data": {"dataset": "waves", "fingerprint": "cd" * 32}},
            "The runs differ in the data called waves: abababab (49 runs), cdcdcdcd (1 run).",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_told_of(
    waves: Make, records: list[Record], facts: dict[str, object], sentence: str
) -> None:
    report = build(waves(), waves().plan("laptop"), changed_env(records, 7, **facts))
    assert any(warning.startswith(sentence) for warning in report.warnings)
    assert set(facts).isdisjoint(report.environment) or "libraries" in facts


def test_only_common_facts_are_the_environment(waves: Make, records: list[Record]) -> None:
    plan = waves().plan("laptop")
    assert build(waves(), plan, records).environment["processes"] == 1
    assert "processes" not in build(waves(), plan, changed_env(records, 3, processes=2)).environment
    assert not {"data", "seconds"} & build(waves(), plan, records).environment.keys()


def test_a_fact_that_some_runs_do_not_note_is_no_difference(waves: Make, records: list[Record]) -> None:
    report = build(waves(), waves().plan("laptop"), changed_env(records, 3, device="cpu", chosen=7))
    assert report.warnings == []
    assert report.environment["device"] == "cpu"
    assert "chosen" not in report.environment


def test_gaps_are_named(waves: Make, records: list[Record]) -> None:
    left = [
        r for r in records
        if (r.spec.variant, r.spec.seed) not in {("plain-0", 3), ("plain-0", 4)} and r.spec.variant != "mixed-100"
    ]  # fmt: skip
    report = build(waves(), waves().plan("laptop"), left)
    assert "Variant plain-0 misses seeds 3, 4." in report.warnings
    assert "Variant mixed-100 has no finished run." in report.warnings
    assert "Not judged: " in " ".join(report.warnings)
    fewer = [r for r in left if r.spec.variant != "plain-0" or r.spec.seed == 1]
    told = build(waves(), waves().plan("laptop"), fewer).warnings
    assert "Not judged: 3 claims; it is judged from 5 seeds on, and none are complete." in told


def test_changes_are_in_the_title_the_command_and_the_folder(waves: Make, tmp_path: Path) -> None:
    study = waves()
    changes = {"dataset": "big ripples", "rate": 0.5, "quick": True}
    plan = study.plan("smoke", variants=["plain-0"], seeds=1, **changes)
    execute(study, plan[0], tmp_path)
    report = build(study, plan, load(plan, tmp_path))
    assert report.title == "waves on big ripples, smoke scale"
    assert report.changed == changes
    assert report.choice == {"variants": ["plain-0"], "seeds": 1, **changes}
    words = shlex.split(report.commands[0])
    assert words[words.index("--dataset") + 1] == "big ripples"
    assert words[words.index("--variants") + 1] == "plain-0"
    assert "--quick" in words
    assert study.plan("smoke", **report.choice) == plan
    assert report.folder(tmp_path).parent == tmp_path / "waves" / "smoke"
    assert report.folder(tmp_path).name.startswith("report-")


def test_offline_changes_count_as_changes(waves: Make, tmp_path: Path) -> None:
    study = waves()
    plan = study.plan("laptop", offline=True, seeds=1)
    for spec in plan:
        execute(study, spec, tmp_path)
    report = build(study, plan, load(plan, tmp_path))
    assert report.title == "waves on ripples, laptop scale"
    assert report.changed == {"dataset": "ripples"}
    assert "--dataset ripples" in report.commands[0]
    assert "dataset = ripples" in render.html(report)


def test_claims_are_not_judged_on_data_that_stand_in_for_the_scales_own(waves: Make, tmp_path: Path) -> None:
    study, how = waves(), {"variants": ["plain-0", "mixed-0"]}
    verdicts, warnings = {}, {}
    for dataset in ("waves", "ripples", "breakers"):
        changed = {"dataset": "breakers"} if dataset == "breakers" else {}
        plan = study.plan("laptop", offline=dataset == "ripples", **changed, **how)
        for spec in plan:
            execute(study, spec, tmp_path)
        report = build(study, plan, load(plan, tmp_path))
        verdicts[dataset], warnings[dataset] = report.verdicts[0].verdict, report.warnings
        render.write(report, tmp_path / "report")
        assert read(tmp_path / "report", study).json() == report.json()
    told = "The claims are not judged: substitutes stand in for the scale's own data (dataset = ripples for waves)."
    assert told in warnings["ripples"]
    assert told not in warnings["waves"] + warnings["breakers"]
    explored = "The claims are not judged: these runs explore another setting (dataset = breakers)."
    assert explored in warnings["breakers"]
    assert {name for name, verdict in verdicts.items() if verdict == "not judged"} == {"ripples", "breakers"}


def test_claims_about_variants_that_were_not_run_are_not_judged(waves: Make, root: Path) -> None:
    plan = waves().plan("laptop", variants=["plain-0", "mixed-0"])
    report = build(waves(), plan, load(plan, root))
    assert [verdict.verdict == "not judged" for verdict in report.verdicts] == [False, True, False]
    assert report.warnings[-1].startswith("Claims about variants that were not run are not judged: plain-25")


def test_curves_keep_their_ends_and_at_most_200_points(report: Report, root: Path) -> None:
    series = next(c for c in report.curves if (c["variant"], c["seed"], c["metric"]) == ("mixed-0", 2, "train/loss"))
    path = next((root / "waves" / "laptop" / "mixed-0").glob("2-*/log.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(series["steps"]) == len(series["values"]) == 200
    assert (series["steps"][0], series["steps"][-1]) == (1, 300)
    logged = {line["step"]: line["train/loss"] for line in lines}
    found = dict(zip(series["steps"], series["values"], strict=True))
    assert found == pytest.approx({step: logged[step] for step in found}, rel=1e-4)


def test_the_seconds_of_a_run_rise_along_its_log(report: Report) -> None:
    times = [series for series in report.curves if series["metric"] == "seconds"]
    assert len(times) == len(report.trials)
    for series in times:
        assert len(series["steps"]) == len(series["values"]) == 20
        assert (series["steps"][0], series["steps"][-1]) == (1, 300)
        assert series["values"] == sorted(series["values"])


@pytest.mark.parametrize("n", [1, 2, 199, 200, 201, 399, 1000, 12345])
def test_thin(n: int) -> None:
    kept = thin(list(range(n)), 200)
    assert len(kept) == min(n, 200)
    assert (kept[0], kept[-1]) == (0, n - 1)
    assert kept == sorted(set(kept))
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_a_run_without_seconds_is_no_nan_in_the_file(waves: Make, records: list[Record]) -> None:
    bare = [dataclasses.replace(r, env={k: v for k, v in r.env.items() if k != "seconds"}) for r in records]
    report = build(waves(), waves().plan("laptop"), bare)
    assert json.dumps(report.json(), allow_nan=False)
    assert math.isnan(report.table[0]["seconds"])
    assert report.table_rows()[1][0][-1] == "–"
