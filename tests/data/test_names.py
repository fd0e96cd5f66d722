import collections
import itertools

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data.names import FAMILIES, SPLITS, Names, drawn_names, names, plain, split_names

ROWS = tuple(
    row
    for language, count in (("Czech", 40), ("Greek", 20), ("Russian", 200))
    for i in range(count)
    for row in [(f"{language[:2]}{chr(97 + i // 26)}{chr(97 + i % 26)}", language)]
)


def made(rows):
    return Names("made", tuple(rows), tuple(sorted({language for _, language in rows})), {}, {})


@pytest.mark.parametrize(
    ("written", "same"),
    [("Śliwa", "sliwa"), ("Núñez ", "nunez"), ("Groß", "gross"), ("Michałowski", "michalowski"), ("O'Neal", "o'neal")],
)
def test_a_plain_name_has_no_accents_and_no_capitals(written, same):
    assert plain(written) == same == plain(same)
    assert plain(f"  {written}\u00a0 x") == f"{same} x"


def test_distinct_names_keep_the_first_spelling_in_each_language():
    d = made([("Abel", "Greek"), ("Ábel", "Greek"), ("Abel", "Czech"), ("Zuza", "Czech"), ("ZUZA", "Czech")])
    assert d.distinct() == (("Abel", "Greek"), ("Abel", "Czech"), ("Zuza", "Czech"))


def test_no_name_is_in_two_splits_and_every_language_is_in_all():
    shared = [(f"Sh{chr(97 + i)}", language) for i in range(12) for language in ("Russian", "Greek")]
    rows = [*ROWS, *shared]
    parts = split_names(rows, 0.15, 0.25, np.random.default_rng(0))
    assert sorted(itertools.chain(*parts.values())) == sorted(rows)
    for a, b in itertools.combinations(SPLITS, 2):
        assert not {plain(name) for name, _ in parts[a]} & {plain(name) for name, _ in parts[b]}
    counts = {split: collections.Counter(language for _, language in part) for split, part in parts.items()}
    # Greek has 20 names and 12 shared with Russian, which count for Greek, the rarer of the two.
    assert counts["test"]["Greek"] == 8
    assert counts["validation"]["Greek"] == 5
    assert counts["test"]["Czech"] == 10
    again = split_names(rows, 0.15, 0.25, np.random.default_rng(0))
    assert parts == again != split_names(rows, 0.15, 0.25, np.random.default_rng(1))


def test_lines_that_are_split_one_by_one_leak():
    rows = [*ROWS] * 4
    parts = split_names(rows, 0.15, 0.25, np.random.default_rng(0), together=False)
    assert sum(map(len, parts.values())) == len(rows)
    seen = {name for name, _ in parts["train"]}
    assert np.mean([name in seen for name, _ in parts["test"]]) > 0.9


def test_what_cannot_be_split_is_told():
    with pytest.raises(Problem, match="Greek has 2 names"):
        split_names([*ROWS[:40], ("Xa", "Greek"), ("Xb", "Greek")], 0.15, 0.25, np.random.default_rng(0))
    with pytest.raises(Problem, match="held out"):
        split_names(ROWS, 0.5, 0.5, np.random.default_rng(0))


def test_names_are_read_from_a_mirror(tmp_path, monkeypatch):
    import datasets

    folder = tmp_path / "mirror" / "spro" / "names" / "data"
    folder.mkdir(parents=True)

    def mirror(**columns):
        datasets.Dataset.from_dict(columns).to_parquet(folder / "train-00000-of-00001.parquet")

    mirror(name=[name for name, _ in ROWS], language=[language for _, language in ROWS])
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    d = names("surnames")
    assert d.rows == ROWS
    assert d.languages == ("Czech", "Greek", "Russian")
    assert d.families == {language: FAMILIES[language] for language in d.languages}
    assert d.source["kind"] == "mirror"
    assert d.source["says"].startswith("260 rows, 260 names, 0 of them in several languages")
    mirror(name=["Abel", "Abel"], language=["Czech", "Dutch"])
    assert "1 of them in several" in names("surnames").source["says"]
    mirror(name=["Abel"], language=["Klingon"])
    with pytest.raises(Problem, match="Klingon"):
        names("surnames")
    mirror(name=["Abel", " "], language=["Czech", "Czech"])
    with pytest.raises(Problem, match="without a name"):
        names("surnames")
    mirror(surname=["Abel"])
    with pytest.raises(Problem, match="columns name and language"):
        names("surnames")


def test_without_a_mirror_surnames_cannot_be_had(alone):
    with pytest.raises(Problem, match="spro/names"):
        names("surnames")
    with pytest.raises(Problem, match="drawn-names"):
        names("tiny-shakespeare")


def test_drawn_names_are_always_the_same_and_have_families(alone):
    d = names("drawn-names")
    assert d.rows == drawn_names()
    assert len(d.rows) == 1060
    assert collections.Counter(d.families.values()) == {"a": 2, "b": 2, "c": 2}
    several = collections.Counter(name for name, _ in d.distinct())
    assert 20 < sum(count > 1 for count in several.values()) < len(several) / 5
    assert len(d.distinct()) < len(d.rows)
    families = {family: {letter for name, one in d.rows if one[0] == family for letter in name} for family in "abc"}
    assert families["a"] != families["b"]
