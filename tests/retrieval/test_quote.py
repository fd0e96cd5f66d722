import numpy as np
import pytest

import asked
from etudes.retrieval import quote
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import HashingEmbedder, embedder
from etudes.retrieval.quote import BACKGROUND, Quoter, answer_kind, quotable, quoter
from etudes.retrieval.sentences import sentences

STORY = (
    "The lighthouse of Skerry Point\n\nThe light was first lit in 1874 by Marta Holm. It burnt oil until 1921. "
    "The last keeper, Jon Weir, left in 1987.\n\nFood\n\nSoup costs 4 pounds. Tea is free."
)


def over(text, model=None):
    model, some = model or HashingEmbedder(), quotable("a.txt", "a", text)
    return Quoter(model, some, model.encode([f"{s.about}: {s.text}" for s in some]))


def test_headings_are_not_quoted_but_say_what_is_meant():
    some = quotable("a.txt", "a", STORY)
    assert [s.text for s in some][-2:] == ["Soup costs 4 pounds.", "Tea is free."]
    assert some[-1].about == "a. Food"
    assert all(STORY[s.start : s.end] == s.text for s in some)


def test_the_sentence_that_answers_is_quoted():
    found = over(STORY).quote("When had the last keeper, Jon Weir, left?")
    assert found.sentence.text == "The last keeper, Jon Weir, left in 1987."
    assert found.verdict == "quoted"


def test_what_the_documents_do_not_hold_is_told():
    assert over(STORY).quote("Quarterly revenue forecasts?").verdict == "absent"
    assert Quoter(HashingEmbedder(), [], np.zeros((0, 256))).quote("Who?") is None


def test_an_answer_says_what_is_asked_for_and_not_what_the_question_says():
    assert answer_kind("Who led it after Ada Penrose?")("Tobias Lund led it.")
    assert not answer_kind("Who led it after Ada Penrose?")("It was led by Ada Penrose.")
    assert answer_kind("Combien de places a le refuge ?")("Il a trente places.")
    assert not answer_kind("How loud is it?")("It is the loudest.")
    assert answer_kind("When does it close?")("It closes in July.")
    assert not answer_kind("In which year was it?")("It was on the 12th.")
    assert answer_kind("Why?")("Because.")


def test_each_language_is_measured_from_its_own_zero():
    class Partial(HashingEmbedder):
        """Finds whatever is French farther from every question."""

        def encode(self, texts):
            away = [0.5 if quote.language(text) == "french" else 1.0 for text in texts]
            return super().encode(texts) * np.array(away, np.float32)[:, None]

    text = "Le phare de Skerry Point est rouge.\n\nThe lighthouse of the town is white and stands on the hill."
    assert over(text, Partial()).quote("Skerry Point phare?").sentence.text.startswith("Le phare")


def test_the_background_is_the_same_in_every_language():
    assert {len(sentences(text)) for text in BACKGROUND.values()} == {10}


def test_vectors_are_kept_and_those_of_what_left_are_deleted(tmp_path):
    pytest.importorskip("qdrant_client")
    from etudes.retrieval.index import Index

    index, done = Index(tmp_path / "index", HashingEmbedder()), []
    index.add(Document("a.txt", "a", STORY))
    first = quoter(index, tmp_path / "kept", lambda n, most: done.append((n, most)))
    assert done == [(5, 5)]
    again = quoter(index, tmp_path / "kept", lambda n, most: done.append((n, most)))
    assert len(done) == 1
    np.testing.assert_array_equal(first.vectors, again.vectors)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(b"damaged")
    np.testing.assert_array_equal(first.vectors, quoter(index, tmp_path / "kept").vectors)
    index.remove("a.txt")
    assert quoter(index, tmp_path / "kept").quote("Who?") is None
    assert list((tmp_path / "kept").iterdir()) == []
    index.close()


@pytest.mark.network
@pytest.mark.slow
def test_the_open_questions_are_answered_as_the_documentation_says():
    model = embedder("e5-small")
    some = [s for d in asked.documents() for s in quotable(d.name, d.title, d.text)]
    vectors = [model.encode([f"{s.about}: {s.text}" for s in some[i : i + 32]]) for i in range(0, len(some), 32)]
    quotes = Quoter(model, some, np.concatenate(vectors))
    turns = [(row, quotes.quote(row.question)) for row in asked.questions("open")]
    known = [(row, found) for row, found in turns if row.answer]
    holds = [row.answer.lower() in " ".join(found.sentence.text.split()).lower() for row, found in known]
    assert sum(holds) >= 20
    assert sum(found.verdict == "absent" for _, found in known) <= 1
    assert sum(found.verdict != "quoted" for row, found in turns if not row.answer) >= 7
