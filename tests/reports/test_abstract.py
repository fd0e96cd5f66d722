"""The first thing that a report says."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from etudes.core.claims import Claim, below, lower
from etudes.core.record import load
from etudes.core.run import execute
from etudes.core.spec import Study
from etudes.core.verdicts import Verdict
from etudes.reports import abstract, remarks
from etudes.reports.build import build
from etudes.reports.report import Report

Make = Callable[..., Study]


def test_the_answer_comes_first_and_each_claim_has_its_number(report: Report) -> None:
    (label, (answer,)), *groups = abstract.paragraphs(report)
    assert label == ""
    held = sum(verdict.verdict == "supported" for verdict in report.verdicts)
    assert answer.startswith(f"{abstract.COUNTS[held].capitalize()} of three claims hold")
    assert "at laptop scale (waves, 5 seeds)" in answer
    assert [label.lower() for label, _ in groups] == [
        word
        for word in ("supported", "refuted", "negligible", "undecided")
        if word in {v.verdict for v in report.verdicts}
    ]
    said = abstract.sentences(report)
    for row in report.verdict_rows():
        assert row["claim"][1:] in said
        assert f"{row['mean']} {row['interval']}" in said


def test_a_difference_that_was_claimed_is_told_by_its_size(waves: Make, root: Path) -> None:
    study = waves(claims={"mixed is lower": lower("mixed-0", "plain-0", "sec. 1")})
    report = build(study, study.plan("laptop"), load(study.plan("laptop"), root))
    (verdict,) = report.verdicts
    assert verdict.verdict == "supported"
    row = report.verdict_rows()[0]
    low, high = row["interval"].strip("[]").split(", ")
    text = f"Mixed is lower, by {row['mean'][1:]} [{high[1:]}, {low[1:]}]."
    answer = ("", ["The claim holds at laptop scale (waves, 5 seeds)."])
    assert abstract.paragraphs(report) == [answer, ("Supported", [text])]
    small = dataclasses.replace(report, verdicts=[dataclasses.replace(verdict, is_small=True)])
    assert ", less than the margin of" in abstract.sentences(small)


def test_where_nothing_is_judged_it_says_why(waves: Make, root: Path) -> None:
    study = waves()
    (label, (text,)), *rest = abstract.paragraphs(build(study, study.plan("smoke"), load(study.plan("smoke"), root)))
    assert (label, rest) == ("", [])
    assert text.startswith("The claims are not judged at scale smoke")
    assert "that is no verdict" in text


def test_a_variant_of_ones_own_is_compared(waves: Make, tmp_path: Path) -> None:
    study = dataclasses.replace(waves(), words={"test/error": "error"}).vary({"mine": {"alpha": 0.5}})
    plan = study.plan("smoke")
    for spec in plan:
        execute(study, spec, tmp_path)
    (_, (answer,)), (label, (numbers,)) = abstract.paragraphs(build(study, plan, load(plan, tmp_path)))
    assert answer == "mine beside plain-0, at smoke scale (waves); this explores, and judges nothing."
    assert label == "mine minus plain-0"
    assert numbers.startswith("Error ")


def test_an_undecided_claim_leans_to_a_side(report: Report) -> None:
    claim = Claim(lambda trial: 0.0, below(0), "")
    verdict = Verdict("s", claim, [-1.0, -2.0, 1.0], -0.67, -3.0, 2.0, 2, "undecided", deviation=1.5, sees=2.0)

    def said(mean: float) -> str:
        told = dataclasses.replace(verdict, mean=mean)
        return remarks.remark(report.definition, report.scale, report.trials, told)

    assert said(-0.67).startswith("It leans for the claim: 2 of 3 seeds agree. Were the mean the true number, about ")
    assert " more would tell. 3 seeds see a difference of 2 with 80 % power" in said(-0.67)
    assert said(0.67).startswith("It leans to neither side: 2 of 3 seeds agree. ")  # though their mean lies outside
    assert "so near to the range's end that 100 seeds would hardly tell." in said(-0.01)
