"""Labelled sentences: the authors' files and a mirror give the same, split so that near copies stay together."""

import itertools

import pytest

from etudes.core.errors import Problem
from etudes.data.sentences import AGREEMENTS, SHARES, sentences

CLASSES = ("negative", "neutral", "positive")


def rows(agreement):
    """Nested as the authors' files are: what more judges agree on stands in the looser files too."""
    levels = [level for level in (100, 75, 66, 50) if level >= agreement]
    return [(f"Sales of firm {chr(97 + i // 26)}{chr(97 + i % 26)} rose by {level} % in Björkö .", CLASSES[i % 3])
            for level in levels for i in range(60)]  # fmt: skip


@pytest.fixture
def originals(tmp_path, monkeypatch):
    folder = tmp_path / "FinancialPhraseBank-v1.0"
    folder.mkdir()
    for name, agreement in AGREEMENTS.items():
        lines = "".join(f"{text}@{label}\n" for text, label in rows(agreement))
        (folder / f"Sentences_{name.capitalize()}Agree.txt").write_text(lines, encoding="latin-1")
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    return folder


def test_a_sentence_keeps_its_split_and_its_class_at_every_agreement(originals):
    loose = sentences("financial-phrasebank")
    assert sum(len(getattr(loose, split)) for split in SHARES) == len(rows(50))
    where = {s.text: (split, s.label) for split in SHARES for s in getattr(loose, split)}
    for agreement in (66, 75, 100):
        strict = sentences("financial-phrasebank", agreement)
        assert {s.agreement for s in strict.train} == {a for a in AGREEMENTS.values() if a >= agreement}
        for split in SHARES:
            assert all(where[s.text] == (split, s.label) for s in getattr(strict, split))
    assert all("Björkö" in s.text for s in loose.test)


def test_sentences_that_differ_in_their_numbers_are_in_one_split(originals):
    found = sentences("financial-phrasebank")
    firms = {split: {s.text.split()[3] for s in getattr(found, split)} for split in SHARES}
    for a, b in itertools.combinations(SHARES, 2):
        assert not firms[a] & firms[b]
    assert all(firms.values())


def test_a_mirror_gives_what_the_files_give(originals, tmp_path, monkeypatch):
    import datasets

    expected = sentences("financial-phrasebank")
    for name, agreement in AGREEMENTS.items():
        folder = tmp_path / "mirror" / "takala" / "financial_phrasebank" / f"sentences_{name}agree"
        folder.mkdir(parents=True)
        table = {"sentence": [text for text, _ in rows(agreement)],
                 "label": [CLASSES.index(label) for _, label in rows(agreement)]}  # fmt: skip
        datasets.Dataset.from_dict(table).to_parquet(folder / "train-00000-of-00001.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "empty"))
    found = sentences("financial-phrasebank")
    assert found.source["kind"] == "mirror"
    assert (found.train, found.test) == (expected.train, expected.test)
    assert found.source["fingerprint"] == expected.source["fingerprint"]


def test_what_stands_under_two_classes_is_left_out(originals):
    path = originals / "Sentences_50Agree.txt"
    text, label = rows(50)[-1]
    other = CLASSES[(CLASSES.index(label) + 1) % 3]
    path.write_text(path.read_text(encoding="latin-1") + f"{text}@{other}\n", encoding="latin-1")
    found = sentences("financial-phrasebank")
    assert text not in {s.text for split in SHARES for s in getattr(found, split)}


@pytest.mark.parametrize("line", ["no mark at all", "a sentence@happy", "@neutral"])
def test_a_damaged_line_is_named(originals, line):
    with (originals / "Sentences_AllAgree.txt").open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    with pytest.raises(Problem, match=r"line 61 of .*AllAgree"):
        sentences("financial-phrasebank")


def test_what_there_is_not_is_said_in_a_sentence(originals):
    with pytest.raises(Problem, match="no agreement of 60"):
        sentences("financial-phrasebank", 60)
    with pytest.raises(Problem, match="no set of sentences"):
        sentences("moods")
    (originals / "Sentences_66Agree.txt").unlink()
    with pytest.raises(Problem, match="lacks Sentences_66Agree"):
        sentences("financial-phrasebank")


def test_drawn_sentences_are_decided_by_two_words_and_by_none_alone():
    found = sentences("drawn-sentences")
    every = [*found.train, *found.validation, *found.test]
    assert len(every) > 1400
    assert found.source["kind"] == "embedded"
    for what, how, expected in (
        ("sales", "rose", "positive"), ("sales", "fell", "negative"), ("costs", "rose", "negative"),
        ("costs", "fell", "positive"),
    ):  # fmt: skip
        labels = {found.classes[s.label] for s in every if f"The {what} " in s.text and f" {how} " in s.text}
        assert labels == {expected}
    assert 0.45 < sum(found.classes[s.label] == "neutral" for s in every) / len(every) < 0.55
    assert sentences("drawn-sentences", 100).test == found.test
