import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etudes.core.errors import Problem
from etudes.retrieval.chunks import LONGEST, cut_chunks, join_chunks
from etudes.retrieval.documents import Document
from etudes.retrieval.embedders import HashingEmbedder, embedder

TEXTS = st.one_of(
    st.text(max_size=400),
    st.lists(st.sampled_from(["word ", "end. ", "new\n\n", "é", "(1) ", "\t", "...", "x" * 30, "日本語"])).map("".join),
)


def check(text, model, size, overlap):
    chunks = cut_chunks(Document("d", "d", text), model, size, overlap)
    assert join_chunks(chunks) == text
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert all(0 < model.count(c.text) <= size or not model.spans(c.text) for c in chunks)
    assert all(c.start < c.end for c in chunks)
    assert all(a.start < b.start <= a.end < b.end for a, b in itertools.pairwise(chunks))


@given(TEXTS, st.integers(8, 40), st.integers(0, 4))
def test_chunks_give_back_the_document_and_fit(text, size, overlap):
    check(text, HashingEmbedder(), size, overlap)


@pytest.mark.network
@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(8, 40), st.integers(0, 2))
def test_chunks_fit_the_real_tokenizer(text, size, overlap):
    check(text, embedder("minilm"), size, overlap)


def test_a_chunk_ends_with_a_paragraph_or_a_sentence_where_it_can():
    text = "One two three four five six. Seven eight nine ten eleven twelve.\n\n" * 4
    chunks = cut_chunks(Document("d", "d", text), HashingEmbedder(), 20, 0)
    assert all(c.text.rstrip().endswith(".") for c in chunks)
    assert all(c.text.endswith("\n\n") for c in chunks)
    shared = cut_chunks(Document("d", "d", text), HashingEmbedder(), 20, 8)
    assert any(b.start < a.end for a, b in itertools.pairwise(shared))


def test_the_page_of_a_chunk_is_that_of_its_beginning():
    document = Document("d", "d", "one two three four five six seven eight " * 2, (0, 40))
    assert [c.page for c in cut_chunks(document, HashingEmbedder(), 8, 0)] == [1, 2]


@pytest.mark.parametrize(("size", "overlap"), [(257, 0), (3, 0), (20, 11), (20, -1)])
def test_sizes_that_cannot_be_are_told(size, overlap):
    with pytest.raises(Problem, match=f"{size} tokens"):
        cut_chunks(Document("d", "d", "some words"), HashingEmbedder(), size, overlap)


def test_text_without_spaces_is_cut_by_its_letters_too():
    chunks = cut_chunks(Document("d", "d", "เ" * 20_000 + " end"), HashingEmbedder(), 16, 4)
    assert max(len(c.text) for c in chunks) <= 16 * LONGEST
    assert join_chunks(chunks) == "เ" * 20_000 + " end"
