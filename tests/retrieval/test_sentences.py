import itertools

from hypothesis import given
from hypothesis import strategies as st

from etudes.retrieval.sentences import MOST, is_heading, sentences


def parts(text):
    return [text[a:b] for a, b in sentences(text)]


def test_sentences_end_where_readers_say_so():
    assert parts("Dr. Low came at 5.30 p.m. on foot. He left! “Why?” Nobody knows") == [
        *("Dr. Low came at 5.30 p.m. on foot.", "He left!", "“Why?”", "Nobody knows"),
    ]
    assert parts("Il part à 9 h 30. M. Dupont reste.") == ["Il part à 9 h 30.", "M. Dupont reste."]
    assert parts("一つ目です。二つ目です。") == ["一つ目です。", "二つ目です。"]


def test_a_line_goes_on_where_it_was_full():
    long = "The warranty lasts for three years from the day on which the pump was bought in a\nshop of the maker."
    assert parts(long) == [long]
    assert parts(f"Noise: 32 dB\nWeight: 2.8 kg\n{long}") == ["Noise: 32 dB", "Weight: 2.8 kg", long]


def test_items_stand_alone_and_without_their_marks():
    assert parts("To bring:\n- a rope\n- two lamps\n3. bread") == ["To bring:", "a rope", "two lamps", "bread"]


def test_a_heading_is_no_statement():
    assert is_heading("The country loaf")
    assert is_heading("Bread | Weight | Price")
    for text in ("It rains.", "Noise: 32 dB", "Founded in 1911", " ".join(["word"] * 13)):
        assert not is_heading(text), text


@given(st.text(alphabet="ab. \n-é", max_size=900))
def test_pieces_are_short_in_order_and_lose_no_letter(text):
    spans = sentences(text)
    assert all(0 < b - a <= MOST for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(spans))
    letters = [c for c in text if c in "abé"]
    assert [c for part in parts(text) for c in part if c in "abé"] == letters
