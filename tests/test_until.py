"""--until decided, --budget, plan and replicate, from the first run to the report."""

import dataclasses
import json
import math
import re
import time
from pathlib import Path

import pytest

from coins import PAPER, Config
from etudes import api, forecast
from etudes.cli import main
from etudes.core import Claim, Problem, Run, Scale, Study, Variant, below, higher, lower
from etudes.core.record import is_finished, load
from etudes.core.verdicts import judge
from etudes.flags import seconds
from etudes.reports import remarks, render, replication
from etudes.sweep.cluster import Cluster

SHIFTS = {"plain": 0.0, "far": -9.0, "near": -1.6, "same": 0.1}


def roll(cfg: Config, run: Run) -> None:
    """A score of its own for each variant: nothing is shared, so that differences are noisy."""
    run.result(**{"test/score": float(run.rng("score", round(cfg.shift * 10), cfg.steps).normal()) + cfg.shift})


def make(**changed: object) -> Study:
    values = {
        "name": "rolls",
        "question": "Which are lower?",
        "paper": PAPER,
        "config": Config,
        "program": roll,
        "precision": "fp32",
        "variants": [Variant(name, {"shift": shift, "steps": i + 1}) for i, (name, shift) in enumerate(SHIFTS.items())],
        "scales": {
            "smoke": Scale({}, seeds=2, minutes=0.1, judges=False),
            "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=0.1),
        },
        "claims": {
            "far is lower": lower("far", "plain", "", of="test/score"),
            "near is lower": lower("near", "plain", "", of="test/score"),
            "far is lower than near": lower("far", "near", "", of="test/score"),
        },
    }
    return Study(**(values | changed))


def seeds(study: Study, root: Path) -> dict[str, int]:
    plan = study.plan(seeds=20)
    return {name: sum(is_finished(root / s.key) for s in plan if s.variant == name) for name in SHIFTS}


def test_only_what_open_claims_read_goes_on_and_only_until_they_are_decided(tmp_path, capsys):
    study = make()
    report = api.run(study, until="decided", root=tmp_path)
    made = {verdict.sentence: verdict for verdict in report.verdicts}
    assert made["far is lower"].verdict == made["far is lower than near"].verdict == "supported"
    near = made["near is lower"]
    assert near.verdict == "supported"
    count = len(near.values)
    assert count > 5
    assert seeds(study, tmp_path) == {"plain": count, "near": count, "far": 5, "same": 5}
    said = capsys.readouterr().err
    assert "1 of 3 claims is open, next at 8 seeds:" in said
    assert report.choice == {"until": "decided"}
    assert "--until decided" in report.commands[0]
    assert not any("misses" in warning for warning in report.warnings)
    assert report.folder(tmp_path) == tmp_path / "rolls" / "laptop" / "report"
    again = api.run(study, until="decided", root=tmp_path)
    assert again.json() == report.json()  # the same command finds nothing left


def test_a_claim_that_goes_through_all_variants_goes_on_with_all_of_them(tmp_path):
    """Also with those whose numbers it leaves alone: which they are is known once they are there."""

    def least(trial):
        return min(m["test/score"] for name, m in trial.items() if name != "same") - trial["near"]["test/score"] + 8.1

    claim = Claim(least, below(0), "", number="least score of those compared, above that of near")
    study = make(claims={"far is far below near": claim})
    report = api.run(study, until="decided", root=tmp_path)
    n = len(report.verdicts[0].values)
    assert n > 5
    assert set(seeds(study, tmp_path).values()) == {n}


def test_a_command_that_was_killed_goes_on_to_the_same_end(tmp_path):
    study, straight = make(), tmp_path / "straight"
    whole = api.run(study, until="decided", root=straight)
    broken = tmp_path / "broken"
    api.run(study, root=broken)  # as if killed after its first look
    some = study.plan(variants=["near"], seeds=7)[-1]
    api.run(study, variants=["near"], seeds=some.seed + 1, root=broken)  # and in the middle of the second
    assert api.run(study, until="decided", root=broken).verdicts == whole.verdicts


def test_a_ray_cluster_goes_from_look_to_look_as_one_process_does(tmp_path):
    pytest.importorskip("ray")
    study = make()
    ours = api.run(study, until="decided", root=tmp_path / "here")
    theirs = api.run(study, until="decided", root=tmp_path / "ray", cluster=Cluster())
    assert theirs.verdicts == ours.verdicts
    assert seeds(study, tmp_path / "ray") == seeds(study, tmp_path / "here")


def test_a_registered_claim_that_was_changed_is_not_gone_on_with(tmp_path):
    assert main(["register", "mixup", "--root", str(tmp_path)]) == 0
    from etudes.core import registration

    study = make()
    registration.register(study, "laptop", tmp_path)
    near = dataclasses.replace(study.claims["near is lower"], matters=0.1)
    changed = dataclasses.replace(study, claims={**study.claims, "near is lower": near})
    report = api.run(changed, until="decided", root=tmp_path)
    assert seeds(study, tmp_path)["near"] == 5
    told = next(v for v in report.verdicts if v.sentence == "near is lower")
    assert (told.verdict, told.reason) == ("not judged", "changed after the data: its margin was none, and is 0.1")
    assert any("changed after the data" in warning for warning in report.warnings)
    assert report.registration is not None


def slow(cfg: Config, run: Run) -> None:
    for i in range(40):
        time.sleep(0.05)
        run.progress(i + 1, 40)
    roll(cfg, run)


def test_the_budget_ends_it_and_the_same_command_goes_on(tmp_path, capsys):
    study = make(program=slow)
    begun = time.monotonic()
    report = api.run(study, until="decided", root=tmp_path, budget=5)
    assert time.monotonic() - begun < 9
    assert "The budget is used up; the same command goes on." in capsys.readouterr().err
    first = sum(seeds(study, tmp_path).values())
    assert 0 < first < 20
    assert {verdict.verdict for verdict in report.verdicts} == {"not judged"}
    api.run(study, until="decided", root=tmp_path, budget=4)
    assert sum(seeds(study, tmp_path).values()) > first


@pytest.mark.parametrize(
    ("budget", "wanted"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5h", 5400), ("", math.inf)]
)
def test_a_budget_is_a_time(budget, wanted):
    assert seconds(budget) == wanted


@pytest.mark.parametrize("budget", ["20", "m", "-5m", "0m", "5 m", "5d"])
def test_what_is_no_time_is_told(budget):
    with pytest.raises(Problem, match="give a time such as 90s, 20m or 2h"):
        seconds(budget)


def test_a_run_that_diverges_is_not_tried_again_by_the_same_command(tmp_path):
    lives = tmp_path / "lives"

    def fall(cfg: Config, run: Run) -> None:
        if cfg.shift == SHIFTS["near"]:
            with lives.open("a") as file:
                file.write("x")
            run.log(1, loss=math.inf)
        roll(cfg, run)

    report = api.run(make(program=fall), until="decided", root=tmp_path / "runs")
    assert lives.read_text() == "x" * 5
    reasons = {v.sentence: v.reason for v in report.verdicts}
    assert reasons["near is lower"] == "near diverged under seed 0"
    assert report.table[2]["seeds"] == 0
    assert report.trials[2]["diverged"]


def test_an_undecided_verdict_says_what_could_have_been_seen_and_the_command(tmp_path, capsys):
    file = tmp_path / "rolls.py"
    file.write_text("from test_until import make\n\nSTUDY = make()\n")
    assert main(["run", str(file), "--root", str(tmp_path / "runs")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "5 seeds can detect a difference of" in said
    assert "; 20 could detect a difference of" in said
    assert re.search(r"1 claim is not decided yet; this goes on: etudes run \S+ --scale laptop --until decided", said)


def test_a_plan_tells_what_each_look_would_see_and_what_it_costs(tmp_path, capsys):
    study = make()
    with pytest.raises(Problem, match=r"no run of rolls tells how much its numbers vary; .*--tune --seeds 3"):
        forecast.pilot(study, "laptop", str(tmp_path))
    api.run(study, tune=True, seeds=4, root=tmp_path)
    pilot = forecast.pilot(study, "laptop", str(tmp_path))
    prospects = remarks.prospects((5, 8, 12, 20), pilot.verdicts)
    values = [r.metrics["test/score"] for r in load(study.plan(tune=True, seeds=4), tmp_path)]
    differences = [values[i + 2] - values[i] for i in range(0, 16, 4)]
    mean = sum(differences) / 4
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 3)
    near = prospects[1]
    assert pilot.verdicts[1].deviation == pytest.approx(deviation, rel=1e-4)
    assert near.sees[5] > near.sees[8] > near.sees[12] > near.sees[20] > 0
    from scipy.stats import nct, t

    reach = near.sees[20] / deviation * math.sqrt(20)
    assert nct.sf(t.isf(0.05 / 3 * 0.4, 19), 19, reach) == pytest.approx(0.8, abs=1e-3)
    lines = "\n".join(forecast.lines(pilot, prospects))
    assert "20 seeds: about" in lines
    assert "of the variance of two runs apart" in lines
    capsys.readouterr()


def test_a_margin_that_the_last_look_cannot_see_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"same is lower": lower("same", "plain", "", of="test/score", matters=0.01)}
    monkeypatch.setattr("etudes.core.catalogue.find", lambda name: make(claims=small))
    assert main(["run", "rolls"]) == 0
    assert main(["plan", "rolls"]) == 2
    told = capsys.readouterr().err
    assert "margins that the last look cannot see: 'same is lower' has 0.01 and would need" in told
    large = {"far is lower": lower("far", "plain", "", of="test/score", matters=30.0)}
    monkeypatch.setattr("etudes.core.catalogue.find", lambda name: make(claims=large))
    assert main(["plan", "rolls"]) == 0
    assert "its margin, 30, can be seen" in capsys.readouterr().out
    assert main(["plan", "rolls", "--scale", "laptob"]) == 2


def test_a_stranger_gets_the_verdicts_that_the_power_lets_one_expect(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = make()
    monkeypatch.setattr("etudes.core.catalogue.find", lambda name: study)
    assert main(["run", "rolls", "--until", "decided"]) == 0
    before = seeds(study, tmp_path / "runs")
    assert main(["replicate", "rolls"]) == 0
    said = capsys.readouterr().out
    assert seeds(study, tmp_path / "runs") == before  # the first judgement stays as it was
    assert "alike: supported" in said
    assert "Of 3 verdicts" in said
    file = tmp_path / "runs" / "rolls" / "laptop" / "report" / replication.FILE
    found = replication.read(file, study)
    assert found is not None
    assert "\n".join(replication.lines(found)) in said
    assert json.loads(file.read_text())["revision"] == 1
    assert [pair.claim for pair in found.pairs] == list(study.claims)
    assert found.pairs[0].power > 0.99
    assert 0.3 < found.pairs[1].power < 1
    page = api.report(study)
    assert page.replication == found
    assert "Of 3 verdicts" in render.render(page, "md")
    assert 'id="replicated"' in render.render(page, "html")
    assert replication.read(file, dataclasses.replace(study, revisions=("new",))) is None
    assert replication.read(tmp_path / "nothing.json", study) is None
    assert main(["replicate", "rolls", "--root", "elsewhere"]) == 0  # no first runs there: those in runs, or committed
    again = replication.read(tmp_path / "elsewhere" / "rolls" / "laptop" / "report" / replication.FILE, study)
    assert again == found


def test_a_replication_has_seeds_that_nobody_has_judged(tmp_path):
    study = make()
    first, second = api.run(study, root=tmp_path), api.run(study, replicate=True, root=tmp_path)
    assert {t["seed"] for t in second.trials} == set(range(500, 505))
    assert {t["seed"] for t in first.trials} == set(range(5))
    assert second.commands[0].startswith("etudes replicate ")
    assert second.folder(tmp_path) != first.folder(tmp_path)
    assert second.verdicts != first.verdicts
    assert replication.compare(study, "laptop", first.verdicts, second.verdicts).study == "rolls"


def test_the_power_of_a_replication_is_what_a_simulation_says(tmp_path):
    """The probability that claims are decided at the last look, by the first judgement's mean and deviation."""
    import numpy as np

    from etudes.core.record import Record

    single = make(claims={"near is lower": higher("plain", "near", "", of="test/score")})
    report = api.run(single, until="decided", root=tmp_path)
    (verdict,) = report.verdicts
    expected = replication.power((5, 8, 12, 20), [verdict], verdict)
    rng, plan, hits = np.random.default_rng(0), single.plan(variants=["plain", "near"], seeds=20), 0
    last = dataclasses.replace(single, scales={**single.scales, "laptop": Scale({}, seeds=20, minutes=1)})
    for _ in range(300):
        numbers = {(s.variant, s.seed): 0.0 for s in plan}
        for seed in range(20):
            numbers["plain", seed] = rng.normal(verdict.mean, verdict.deviation)
        made = [Record(s, {"test/score": numbers[s.variant, s.seed]}, {}, Path()) for s in plan]
        hits += judge(last, made)[0].p <= 0.05 * 0.4
    assert hits / 300 == pytest.approx(expected, abs=0.08)
