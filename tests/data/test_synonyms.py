from pathlib import Path

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data import synonyms as module
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import fetch
from etudes.data.synonyms import FORMS, STOP, WordNet, thesaurus, with_synonyms, wordnet
from wordnet_files import write_wordnet


@pytest.fixture
def small(tmp_path):
    return WordNet(write_wordnet(tmp_path / "wordnet"))


def test_synonyms_are_those_of_all_senses_and_base_forms(small):
    assert small.synonyms("world") == ["cosmos", "universe"]
    assert small.synonyms("men") == ["human", "human being", "man"]  # irregular
    assert small.synonyms("loved") == ["enjoy", "love"]
    assert small.synonyms("saw") == ["see", "visualize"]
    assert small.synonyms("greatest") == ["big", "great", "large"]  # the place of an adjective is no part of it
    assert small.synonyms("seas") == ["ocean", "sea"]
    assert small.synonyms("nothing") == []


def test_a_thesaurus_has_only_the_given_words_and_no_stop_words(small):
    found = thesaurus(small, ["world", "universe", "men", "man", "see", "saw", "well", "the"])
    assert found == {"world": ["universe"], "universe": ["world"], "men": ["man"], "saw": ["see"]}
    assert "see" not in found  # its only synonym is none of the words
    assert {"the", "thou", "shall"} <= STOP
    assert all(word == word.lower() for word in STOP)


SYNONYMS = {"sea": ["ocean"], "wide": ["broad", "large"], "deep": ["low"]}


def test_one_word_is_replaced_wherever_it_stands_and_keeps_its_capital():
    made = with_synonyms("Sea and sea, the SEA!", 0.1, {"sea": ["ocean"]}, np.random.default_rng(0))
    assert made == "Ocean and ocean, the Ocean!"
    assert with_synonyms("", 0.5, SYNONYMS, np.random.default_rng(0)) == ""
    assert with_synonyms("no such word", 0.5, SYNONYMS, np.random.default_rng(0)) == "no such word"


@pytest.mark.parametrize(("share", "count"), [(0.0, 1), (0.1, 1), (0.34, 2), (0.5, 3), (1.0, 3)])
def test_the_number_replaced_is_the_papers(share, count):
    line = "the sea is wide, deep --"  # five words
    made = with_synonyms(line, share, SYNONYMS, np.random.default_rng(1)).replace(",", "").split()
    assert (
        sum(a != b for a, b in zip(made, line.replace(",", "").split(), strict=True))
        == min(max(1, int(share * 5)), 3)
        <= count
    )


def test_draws_are_the_generators_and_every_synonym_comes_up():
    line = "The sea is wide and deep"
    made = [with_synonyms(line, 1.0, SYNONYMS, np.random.default_rng(i)) for i in range(40)]
    assert made == [with_synonyms(line, 1.0, SYNONYMS, np.random.default_rng(i)) for i in range(40)]
    assert {m.split()[3] for m in made} == {"broad", "large"}
    single = [with_synonyms(line, 0.0, SYNONYMS, np.random.default_rng(i)) for i in range(200)]
    shares = [np.mean([word in m for m in single]) for word in ("ocean", "low")]
    assert shares == pytest.approx([1 / 3, 1 / 3], abs=0.1)


def test_files_that_are_not_wordnet_are_told(tmp_path):
    with pytest.raises(Problem, match="holds no whole WordNet"):
        WordNet(tmp_path / "absent")
    folder = write_wordnet(tmp_path / "wordnet")
    path = folder / "data.noun"
    path.write_bytes(path.read_bytes()[7:])
    with pytest.raises(Problem, match="no set of synonyms"):
        WordNet(folder).synonyms("world")
    (folder / "index.verb").unlink()
    with pytest.raises(Problem, match="holds no whole WordNet"):
        WordNet(folder)


def test_without_a_source_it_says_what_to_do(monkeypatch):
    def absent(*arguments):
        raise Problem("wordnet-base needs apt-get, which this machine lacks")

    monkeypatch.setattr(module, "fetch", absent)
    with pytest.raises(Problem, match=r"apt-get.*--variants"):
        wordnet()


def peer(folder: Path, monkeypatch):
    """nltk's reader of the same files, given the two that Debian packs elsewhere."""
    nltk = pytest.importorskip("nltk")
    reader = pytest.importorskip("nltk.corpus.reader.wordnet").WordNetCorpusReader
    (folder / "lexnames").write_text("".join(f"{i:02}\tname{i}\t1\n" for i in range(45)))
    monkeypatch.setattr(reader, "map_wn", lambda self, *arguments: {})
    monkeypatch.setattr(nltk.data, "path", [str(folder), *nltk.data.path])
    return reader(str(folder), None)


def agrees(own: WordNet, other, words: list[str]) -> bool:
    plain = lambda lemma: lemma.name().replace("_", " ").replace("-", " ").lower()  # noqa: E731
    return all(
        own.synonyms(word)
        == sorted({plain(lemma) for found in other.synsets(word) for lemma in found.lemmas()} - {word})
        for word in words
    )


@pytest.mark.filterwarnings("ignore")
def test_a_peer_reads_the_same(tmp_path, monkeypatch):
    folder = write_wordnet(tmp_path / "wordnet")
    words = ["world", "men", "loved", "loving", "saw", "ran", "greatest", "seas", "goes", "nothing", "well"]
    assert agrees(WordNet(folder), peer(folder, monkeypatch), words)


@pytest.mark.network
@pytest.mark.filterwarnings("ignore")
def test_a_peer_reads_the_same_in_all_of_wordnet(monkeypatch, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(fetch(module.CARRIER, cache_folder()), folder)
    own = WordNet(folder)
    every = sorted({word for kind in FORMS for word in own._index[kind]})
    words = [*every[::200], "loved", "men", "feet", "went", "axes"]
    assert agrees(own, peer(folder, monkeypatch), words)
