"""The first thing that a report says."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from etudes.core import catalogue
from etudes.core.claims import Claim, Interval, above, below, lower, within
from etudes.core.record import load
from etudes.core.run import execute
from etudes.core.spec import Study
from etudes.core.verdicts import Verdict
from etudes.reports import abstract, build, cards, remarks
from etudes.reports.report import Report

Make = Callable[..., Study]
NAMES = ("mixed-0", "plain-0")


def test_the_answer_comes_first_and_each_claim_has_its_number(report: Report) -> None:
    (label, (answer, notation)), *groups = abstract.paragraphs(report)
    assert label == ""
    assert notation == abstract.NOTATION
    held = sum(verdict.verdict == "supported" for verdict in report.verdicts)
    assert answer.startswith(f"{abstract.COUNTS[held].capitalize()} of three claims hold")
    assert "at laptop scale (waves, 5 seeds)" in answer
    assert [label for label, _ in groups] == [
        f"{word.capitalize()}: {abstract.MEANINGS[word]}"
        for word in ("supported", "refuted", "negligible", "undecided")
        if word in {v.verdict for v in report.verdicts}
    ]
    said = abstract.sentences(report)
    for row in report.verdict_rows():
        assert row["claim"][1:] in said
        assert (f"{row['claim'][1:]}”: " in said) == (row["verdict"] != "supported")  # quoted where it is not shown
        assert f"{row['mean']} {row['interval']}" in said


def test_a_difference_that_was_claimed_is_told_by_its_size(waves: Make, root: Path) -> None:
    study = waves(claims={"mixed is lower": lower(*NAMES, "sec. 1")})
    report = build.build(study, study.plan("laptop"), load(study.plan("laptop"), root))
    (verdict,) = report.verdicts
    assert verdict.verdict == "supported"
    row = report.verdict_rows()[0]
    low, high = row["interval"].strip("[]").split(", ")
    errors = {name: [t["metrics"]["test/error"] for t in report.trials if t["variant"] == name] for name in NAMES}
    mixed, plain = (f"{sum(own) / len(own):.4f} for “{name}”" for name, own in errors.items())
    text = f"Mixed is lower, by {row['mean'][1:]} [{high[1:]}, {low[1:]}]: test error {mixed} and {plain}."
    answer = ("", ["The claim holds at laptop scale (waves, 5 seeds).", abstract.NOTATION])
    assert abstract.paragraphs(report) == [answer, ("Supported: the seeds show it", [text])]
    small = dataclasses.replace(report, verdicts=[dataclasses.replace(verdict, is_small=True)])
    assert ", less than the margin of" in abstract.sentences(small)


def test_where_nothing_is_judged_it_says_why(waves: Make, root: Path) -> None:
    study = waves()
    (label, (text,)), *rest = abstract.paragraphs(
        build.build(study, study.plan("smoke"), load(study.plan("smoke"), root))
    )
    assert (label, rest) == ("", [])
    assert text.startswith("The claims are not judged at scale smoke")
    assert "that is no verdict" in text


def test_a_variant_of_ones_own_is_compared(waves: Make, tmp_path: Path) -> None:
    study = dataclasses.replace(waves(), words={"test/error": "error"}).vary({"mine": {"alpha": 0.5}})
    plan = study.plan("smoke")
    for spec in plan:
        execute(study, spec, tmp_path)
    (_, (answer,)), (label, (numbers,)) = abstract.paragraphs(build.build(study, plan, load(plan, tmp_path)))
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
    assert " more seeds would tell. 3 seeds can detect a difference of 2 with 80 % power" in said(-0.67)
    assert said(0.67).startswith("It leans to neither side: 2 of 3 seeds agree. ")  # though their mean lies outside
    assert "so near to the range's end that 100 seeds would hardly tell." in said(-0.01)


def test_what_was_run_is_told_in_the_committed_report_alone() -> None:
    committed = build.read(catalogue.committed_folder("mixup"), catalogue.find("mixup"))
    (_, (answer, short, setting, *terms, notation)), *_ = abstract.paragraphs(committed)
    assert [short, setting, *terms] == cards.opening(committed)
    assert short.startswith("Yes to both: ")
    assert setting.startswith("A small residual network learns ten classes from 500 pictures")
    assert answer.startswith("All seven claims hold")
    assert notation == abstract.NOTATION + abstract.UNEVEN  # at 5 or 12 seeds
    other = dataclasses.replace(committed, committed=None, trials=committed.trials[1:])
    (_, sentences), *_ = abstract.paragraphs(other)
    assert not {short, setting} & set(sentences)


@pytest.mark.parametrize("name", [name for name in catalogue.names() if catalogue.committed_folder(name).is_dir()])
def test_each_committed_report_answers_its_question_in_short(name: str) -> None:
    short, *_ = cards.opening(build.read(catalogue.committed_folder(name), catalogue.find(name)))
    assert len(short.split()) <= 45
    assert short.endswith(".")
    assert not set("*`[|<") & set(short)


def test_what_can_be_detected_is_told_from_the_end_of_the_range() -> None:
    def told(kind: str, expect: Interval, distance: float) -> str:
        return remarks.difference(Claim(lambda trial: 0.0, expect, "", kind=kind), distance)

    assert told("difference", below(0), 0.02) == "a difference of 0.020"
    assert told("difference", within(-0.01, 0.01), 0.02) == "a mean 0.020 away from the end of the range"
    assert told("ratio", below(1), math.log(1.5)) == "a factor of 1.50"
    assert told("ratio", below(2), math.log(1.5)) == "a mean a factor of 1.50 away from the end of the range"
    assert told("correlation", above(0.5), 0.9) == "one 0.90 in Fisher's z from 0.50"
