import json

import pytest

from etudes.core.errors import Problem
from etudes.data.questions import ASKED, capitals, of_faq, of_squad, questions, sections

FAQ = """Table of Contents

1. Basics
    1.1. What is it?

Chapter 1. Basics

\xa0\xa0 Some words first.

1.1. What is it?

    It lies in /usr/
    share/doc and
    is blue.

    * a point

---------

1.2. Why does
a title have two lines?

    Because.

Chapter 2. More

2.1. Else?

    Nothing.
"""


def test_sections_are_joined_to_paragraphs_and_know_their_chapter():
    found = sections(FAQ)
    assert [(p.name, p.group) for p in found] == [
        ("1", "chapter 1"),
        ("1.1", "chapter 1"),
        ("1.2", "chapter 1"),
        ("2.1", "chapter 2"),
    ]
    assert found[1].text == "1.1. What is it?\n\nIt lies in /usr/share/doc and is blue.\n\n* a point"
    assert found[2].title == "1.2. Why does a title have two lines?"


def test_an_answer_must_stand_below_the_title_of_its_section():
    row = {"question": "Which colour?", "answer": "blue", "section": "1.1"}
    (found,) = of_faq(sections(FAQ), [row], "carrier").questions
    assert sections(FAQ)[1].text[found.start : found.end] == "blue"
    for wrong in ({"answer": "red"}, {"section": "9.9"}, {"answer": "What is"}):
        with pytest.raises(Problem, match="does not hold"):
            of_faq(sections(FAQ), [row | wrong], "carrier")


def test_the_written_questions_are_many_and_different():
    rows = json.loads(ASKED.read_text())
    assert len({row["question"] for row in rows}) == len(rows) >= 120
    assert sum(not row["answer"] for row in rows) >= 25
    assert all(bool(row["answer"]) == bool(row["section"]) for row in rows)


@pytest.mark.network
def test_the_written_questions_have_their_answers_in_other_words():
    found = questions("debian-faq")
    by_name = {p.name: p for p in found.passages}
    for q in found.questions:
        if q.answer:
            assert by_name[q.passage].text[q.start : q.end] == q.answer
            # No run of five words of a question stands in its passage.
            words = q.text.lower().rstrip("?.").split()
            text = " ".join(by_name[q.passage].text.lower().split())
            assert not any(" ".join(words[i : i + 5]) in text for i in range(len(words) - 4)), q.text


def squad(n=60):
    return [
        {
            "context": f"Text {i} says {i}.",
            "question": f"{k}, text {i}?",
            "answers": {"text": [str(i)], "answer_start": [5]},
        }
        for i in range(n)
        for k in range(2)
    ]


def test_no_article_is_in_two_splits():
    found = of_squad(squad(), "mirror")
    groups = {p.name: p.group for p in found.passages}
    splits = {}
    for q in found.questions:
        splits.setdefault(groups[q.passage], set()).add(q.split)
    assert len(splits) == 12
    assert all(len(split) == 1 for split in splits.values())
    assert {min(s) for s in splits.values()} == {"validation", "test"}
    bad = squad()
    bad[3]["answers"]["answer_start"] = [0]
    with pytest.raises(Problem, match="does not stand where it should"):
        of_squad(bad, "mirror")


def test_xquad_is_read_from_a_mirror(tmp_path, monkeypatch):
    import datasets

    folder = tmp_path / "google" / "xquad" / "xquad.en"
    folder.mkdir(parents=True)
    datasets.Dataset.from_list(squad()).to_parquet(folder / "validation-00000-of-00001.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    found = questions("xquad")
    assert found.source["kind"] == "mirror"
    assert found.questions == of_squad(squad(), "mirror").questions
    with pytest.raises(Problem, match="set of questions"):
        questions("trivia")


def test_the_generated_questions_have_their_answers():
    found = capitals()
    texts = {p.name: p.text for p in found.passages}
    assert all(texts[q.passage][q.start : q.end] == q.answer for q in found.questions if q.answer)
    assert {q.split for q in found.questions if not q.answer} == {"validation", "test"}
