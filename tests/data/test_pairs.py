import itertools

import pytest

from etudes.core.errors import Problem
from etudes.data.pairs import TATOEBA, pairs, read_lines, split_pairs
from etudes.data.text import SPLITS


def some(n=600):
    return [(f"Sentence {i}.", f"Phrase {i % 500}\u202f!") for i in range(n)]


def test_no_sentence_of_either_language_is_in_two_splits():
    found = split_pairs([*some(), *some()], "cache")
    parts = [getattr(found, split) for split in SPLITS]
    for a, b in itertools.combinations(parts, 2):
        for side in (0, 1):
            assert not {pair[side] for pair in a} & {pair[side] for pair in b}
    everything = [pair for part in parts for pair in part]
    assert len(everything) == len(set(everything))
    assert len(found.train) > 5 * len(found.test) > 0
    assert all(french.endswith(" !") for _, french in everything)  # plain spaces
    assert found.source["fingerprint"] != split_pairs(some(599), "cache").source["fingerprint"]
    # Where no French sentence stands twice, nothing is lost.
    plain = split_pairs([(e, f"{f} {i}") for i, (e, f) in enumerate(some())], "cache")
    assert sum(len(getattr(plain, split)) for split in SPLITS) == 600


def test_pairs_are_read_from_a_mirror(tmp_path, monkeypatch):
    import datasets

    folder = tmp_path / "mirror" / "tatoeba" / "eng-fra" / "data"
    folder.mkdir(parents=True)
    rows = {"id": [*range(600)], "en": [e for e, _ in some()], "fr": [f for _, f in some()]}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "train-00000-of-00001.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    found = pairs("tatoeba-eng-fra")
    assert found.source["kind"] == "mirror"
    assert found.train == split_pairs(some(), "mirror").train
    datasets.Dataset.from_dict({"id": [1]}).to_parquet(folder / "train-00000-of-00001.parquet")
    with pytest.raises(Problem, match="columns en and fr"):
        pairs("tatoeba-eng-fra")


def test_pairs_are_read_from_the_archives_own_file(alone):
    with pytest.raises(Problem, match=r"fra\.txt"):
        pairs(TATOEBA.name)
    path = alone / "cache" / "fra.txt"
    path.parent.mkdir()
    lines = [f"{e}\t{f}" + "\tCC-BY 2.0" * (i % 2) for i, (e, f) in enumerate(some())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read_lines(path) == some()
    assert pairs(TATOEBA.name).source["kind"] == "cache"
    path.write_text("One\tUn\nTwo\n", encoding="utf-8")
    with pytest.raises(Problem, match="line 2"):
        read_lines(path)
    path.write_text("One\tUn\n", encoding="utf-8")
    with pytest.raises(Problem, match="too few"):
        pairs(TATOEBA.name)


def test_an_unknown_set_is_told():
    with pytest.raises(Problem, match="did you mean 'tatoeba-eng-fra'"):
        pairs("tatoeba-eng-fr")
