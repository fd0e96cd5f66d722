from etudes.retrieval.terms import language, plain, terms


def test_a_text_s_language_is_told_by_its_commonest_words():
    assert language("Combien coûte l'entrée du musée ?") == "french"
    assert language("How much does it cost?") == "english"
    assert language("Quanto costa il biglietto per gli studenti?") == "italian"
    assert language("42") == "english"


def test_words_of_a_language_lose_endings_and_accents():
    assert terms("Combien coûte l'entrée pour les étudiants ?") == terms("le coût, une entrée, un étudiant")
    assert terms("What do the keepers say?") == ["keeper", "say"]
    assert plain("Œuvre ﬁxe, dé\u00adjà") == "oeuvre fixe, deja"


def test_where_a_script_has_no_spaces_pairs_of_letters_are_compared():
    assert set(terms("เครื่องสูบน้ำ")) & set(terms("ล้างเครื่องสูบน้ำทุกวัน"))
