import pytest

from etudes.core.errors import Problem
from etudes.data.treebank import GENRES, SEQUOIA, align, genres, sentences

TEXT = "Le plan du maire, l'ami des Vosgiens, va-t-il au Nord ?"
PAIRS = (
    "Le/DET plan/NOUN de/ADP le/DET maire/NOUN ,/PUNCT l'/DET ami/NOUN de/ADP les/DET Vosgiens/PROPN ,/PUNCT va/VERB "
    "-t-il/PRON à/ADP le/DET Nord/PROPN ?/PUNCT"
)
TOKENS, TAGS = zip(*(pair.split("/") for pair in PAIRS.split()), strict=True)


def test_words_stand_in_the_text_with_their_tags():
    found = align(TEXT, TOKENS, TAGS)
    told = [(TEXT[word.begin : word.end], word.tag) for word in found.words]
    assert told == [
        ("Le", "DET"), ("plan", "NOUN"), ("du", "ADP"), ("maire", "NOUN"), ("ami", "NOUN"), ("des", "ADP"),
        ("Vosgiens", "PROPN"), ("va", "VERB"), ("au", "ADP"), ("Nord", "PROPN"),
    ]  # fmt: skip
    assert found.text == TEXT


def test_what_the_text_does_not_have_is_left_out():
    found = align("Un mot connu.", ["Un", "autre", "mot", "connu", "."], ["DET", "ADJ", "NOUN", "ADJ", "PUNCT"])
    assert [word.tag for word in found.words] == ["DET", "NOUN", "ADJ"]
    parts = align("Le mot-clé", ["Le", "mot", "-clé"], ["DET", "NOUN", "X"])  # a word with a hyphen behind it is one
    assert [word.tag for word in parts.words] == ["DET", "NOUN"]
    assert align("durant", ["de", "le", "rant"], ["ADP", "DET", "X"]).words == ()  # no contraction in front of a letter


def test_own_sentences_have_words_of_all_kinds():
    found, source = sentences("own")
    assert source["kind"] == "embedded"
    assert {word.tag for sentence in found for word in sentence.words} >= {"DET", "NOUN", "VERB", "PROPN", "ADP"}
    assert found[0].text == "Le maire ouvre la porte de la salle."


def test_sequoia_is_read_from_a_mirror(tmp_path, monkeypatch):
    import datasets

    folder = tmp_path / "mirror" / SEQUOIA.hub / "data"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    rows = {"text": [TEXT, "Oui."], "source": ["news", "emea"], "tokens": [TOKENS, ["Oui", "."]],
            "upos": [TAGS, ["INTJ", "PUNCT"]]}  # fmt: skip
    for split in ("train", "test"):
        datasets.Dataset.from_dict(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    found, source = sentences("sequoia", "news")
    assert [sentence.text for sentence in found] == [TEXT, TEXT]
    assert source["kind"] == "mirror"
    assert "2 sentences of news" in source["says"]
    assert len(sentences("sequoia")[0]) == 4
    with pytest.raises(Problem, match="no sentences of source 'radio'"):
        sentences("sequoia", "radio")
    for split in ("train", "test"):
        datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    with pytest.raises(Problem, match="needs the columns source, text, tokens, upos"):
        sentences("sequoia")


def test_genres_are_those_of_sequoia_s_splits_and_no_text_comes_twice(tmp_path, monkeypatch):
    import datasets

    folder = tmp_path / "mirror" / SEQUOIA.hub / "data"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))

    def write(split, **rows):
        table = {"text": list(rows), "source": list(rows.values())}
        table |= {"tokens": [[text] for text in rows], "upos": [["X"]] * len(rows)}
        datasets.Dataset.from_dict(table).to_parquet(folder / f"{split}-00000-of-00001.parquet")

    write("train", Oui="wikipedia", Non="emea")
    write("validation", oui="emea", Peut="europarl")
    write("test", Jamais="news_est_republicain", non="emea", Peut="emea")
    found, source = genres()
    wanted = {"train": ["Oui", "Non"], "validation": ["Peut"], "test": ["Jamais"]}
    assert {split: texts for split, (texts, _) in found.items()} == wanted
    labels = {split: [GENRES[y] for y in labels] for split, (_, labels) in found.items()}
    assert labels == {"train": ["wikipedia", "emea"], "validation": ["europarl"], "test": ["news_est_republicain"]}
    assert "4 sentences of 4 genres" in source["says"]
    write("test", Jamais="radio")
    with pytest.raises(Problem, match="radio"):
        genres()


def test_what_cannot_be_had(alone):
    with pytest.raises(Problem, match="set ETUDES_MIRROR"):
        genres()
    with pytest.raises(Problem, match="set ETUDES_MIRROR"):
        sentences("sequoia")
    with pytest.raises(Problem, match="treebank"):
        sentences("gsd")
