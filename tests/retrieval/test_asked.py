import pytest

import asked


def test_the_set_is_the_one_that_was_committed_before_anything_was_chosen():
    assert asked.digest() == asked.DIGEST


def test_the_halves_share_nothing_and_are_balanced():
    halves = [asked.questions(half) for half in ("open", "sealed")]
    assert len({row.question for half in halves for row in half}) == 60
    assert [len(half) for half in halves] == [31, 29]
    assert [sum(not row.answer for row in half) for half in halves] == [8, 7]


def test_answers_stand_in_their_documents():
    texts = {d.name: " ".join(d.text.split()) for d in asked.documents()}
    assert len(texts) == 10
    for row in asked.questions("open") + asked.questions("sealed"):
        if row.answer:
            assert row.answer.lower() in texts[row.document].lower(), row.question
        else:
            assert not row.document


def test_the_long_document_is_a_pdf_of_thirteen_pages():
    pytest.importorskip("pypdf")
    (book,) = (d for d in asked.documents() if d.name == "harbour.pdf")
    assert len(book.pages) == 13
    assert [book.page(book.text.index(f"Chapter {n}.")) for n in (1, 7, 12)] == [2, 8, 13]
    assert "a replacement has been ordered" in book.text  # a hyphen stands there at a line's end
