import pytest

from etudes.core.errors import Problem
from etudes.measure.writing import circles, distinct, marks, repetition, spelling, words


def test_words_are_runs_of_two_letters_or_more_with_apostrophes():
    assert words("I'll WELL-known o’clock, a b2b snake_case œuvre x") == [
        "i'll",
        "well",
        "known",
        "o'clock",
        "snake",
        "case",
        "œuvre",
    ]


def test_spelling_is_the_share_of_known_words():
    known = frozenset(words("To be, or not to be!"))
    assert known == {"to", "be", "or", "not"}
    assert spelling(["To be a b c", "tobe or"], known) == 3 / 4
    assert spelling(["a b c"], known) == 0
    assert spelling(["not", "NOT"], known) == 1


def test_marks_leave_nothing_out_but_white_space():
    assert " ".join(marks("Ay, sir--'tis 10 o'clock:\n_no_")) == "Ay , sir - - ' tis 10 o'clock : _ no _"


def test_distinct_counts_n_grams_over_all_sequences():
    assert distinct(["abab"], 1) == 2 / 4
    assert distinct(["abab", "ab"], 2) == 2 / 4
    assert distinct(["ab"], 3) == 0
    with pytest.raises(Problem, match="not 0"):
        distinct(["ab"], 0)


@pytest.mark.parametrize(
    ("sequence", "found"),
    [
        ("xabab", False),  # twice
        ("xababab", True),
        ("abababx", False),  # not at the end
        ("xbababab", True),
        ("aaaaa", False),  # the shortest phrase is aa
        ("aaaaaa", True),
        ("abcabcabc", True),
        ("abcabdabc", False),
        ("", False),
    ],
)
def test_circles_end_in_a_phrase_three_times(sequence, found):
    assert circles(sequence) is found


def test_circles_with_other_bounds():
    assert circles("xxaaa", least=1)
    assert not circles("xxaa", least=1)
    assert circles("xabab", times=2)
    with pytest.raises(Problem, match="not 0 and 3"):
        circles("ab", least=0)


def test_a_circle_cut_in_the_middle_of_a_word_is_one():
    loop = "so the king and the king and the king and the ki"
    assert repetition([loop]) == 1
    assert repetition([loop, "so the king and the queen and the ki"]) == 0.5
    assert repetition(["the king\nand the king\nand the king "]) == 0
    assert repetition(["the king\nand the king\nand the king\nand "]) == 1
    with pytest.raises(Problem, match="one text"):
        repetition([])
