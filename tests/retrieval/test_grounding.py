from etudes.retrieval.grounding import find_unsupported, names, numbers


def test_numbers_are_the_same_in_digits_and_words():
    assert numbers("1,020 metres, 4.80 €, 9 h 05, nineteen boats") == {1020, 4.8, 9, 5, 19}
    assert numbers("dix-sept kilomètres, 2 347 m") == {17, 2347}
    assert numbers("one of them") == set()


def test_names_begin_with_a_capital():
    assert names("The lamp was lit by Marta Holm.") == {"Marta", "Holm"}
    assert names("Tobias Lund came, and I went.") == {"Tobias", "Lund"}


def test_a_sentence_whose_numbers_or_names_stand_nowhere_is_found():
    passages = ["Knead for nine minutes.", "The cable was replaced in 1931 by Élise Aubin."]
    said = "The bread is kneaded for 4 days. It takes 9 minutes. Elise Aubin replaced it; Halvorsen helped."
    assert [(said[a:b], missing) for (a, b), missing in find_unsupported(said, passages)] == [
        ("The bread is kneaded for 4 days.", ["4"]),
        ("Elise Aubin replaced it; Halvorsen helped.", ["Halvorsen"]),
    ]
    assert find_unsupported("Yes, it is nine.", passages) == []
