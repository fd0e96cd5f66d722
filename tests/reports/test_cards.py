"""What the method cards say, and of which runs."""

import dataclasses
from pathlib import Path

import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.reports import cards, ideas
from etudes.reports.build import read


def test_a_card_tells_how_to_read_the_committed_runs_and_no_others() -> None:
    report = read(catalogue.committed_folder("mixup"), catalogue.find("mixup"))
    text = cards.reading(report)
    assert text.startswith("All seven claims")
    changed = [{**report.trials[0], "metrics": {"test/error": 0.5}}, *report.trials[1:]]
    assert cards.reading(dataclasses.replace(report, trials=changed)).startswith(cards.ELSEWHERE)
    assert cards.reading(dataclasses.replace(report, trials=[], scale="paper")).endswith("these are at another scale.")


@pytest.mark.parametrize("name", [*catalogue.names()])
def test_each_card_has_each_section_of_reports_once(name: str) -> None:
    text = (cards.folder() / f"{name}.md").read_text()
    page = cards.method(name, lambda target: f"to{target}")
    for heading in (cards.ANSWER, cards.SETTING, cards.READING):
        assert text.count(f"\n## {heading}\n") == 1
        assert heading not in page
    assert "<h1" not in page
    assert page.count("<h3") == text.count("\n## ") - 3


def test_links_of_a_card_lead_to_pages_or_become_words() -> None:
    links = "[r](../../results/mixup/laptop/report.md) [c](rag.md) [s](../../src/x.py) [w](https://a.org) <i>"
    text = f"# T\n\n## A\n\n{links}"
    page = cards.page(text, lambda target: f"to{target}")
    assert page.startswith("<h3>A</h3>")
    assert 'href="to/study/mixup/laptop"' in page
    assert 'href="to/study/rag"' in page
    assert 'href="https://a.org"' in page
    assert "src/x.py" not in page
    assert "&lt;i&gt;" in page
    assert cards.without_links(text).endswith("r c s [w](https://a.org) <i>")
    pointed = "Five hold ([report](../../results/mixup/laptop/report.md)). See ([w](https://a.org))."
    assert cards.without_links(pointed) == "Five hold. See ([w](https://a.org))."


def test_the_idea_stands_beside_its_words_with_its_files() -> None:
    found = ideas.idea(catalogue.find("mixup"))
    assert found is not None
    assert found.words[0] == ("Train on convex combinations of pairs of examples and of their labels.", False)
    assert found.words[1][0].startswith("x~ = ")
    assert "etudes run" not in str(found.words)
    assert found.source.startswith("def mix(")
    assert (found.file, found.test) == ("src/etudes/studies/labels/mixup.py", "tests/studies/test_mixup.py")
    assert any(verbatim for _, verbatim in ideas.idea(catalogue.find("just-one")).words)
    root = Path(__file__).parents[2]
    for name in ("rag", "word-lstm", "cifar-coreset", "label-trees"):
        found = ideas.idea(catalogue.find(name))
        assert (root / found.file).is_file()
        assert (root / found.test).is_file()


@pytest.mark.parametrize("name", [*catalogue.names()])
def test_each_study_says_in_a_sentence_what_it_does(name: str) -> None:
    assert 30 < len(ideas.gist(catalogue.find(name))) < 160


def test_a_study_without_an_idea_has_none() -> None:
    assert ideas.idea(dataclasses.replace(catalogue.find("mixup"), idea=None)) is None
    assert ideas.idea(dataclasses.replace(catalogue.find("mixup"), idea=max)) is None


def test_a_damaged_committed_report_is_of_no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    report = read(catalogue.committed_folder("mixup"), catalogue.find("mixup"))

    def damaged(*_: object, **__: object) -> None:
        raise Problem("damaged")

    monkeypatch.setattr(cards, "read_json", damaged)
    assert cards.reading(report).startswith(cards.ELSEWHERE)
