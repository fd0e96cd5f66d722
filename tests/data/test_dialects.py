"""Texts in dialects: a document is in one split in every language, and the mirror's layouts are read as they are."""

import itertools

import pytest

from etudes.core.errors import Problem
from etudes.data.dialects import LANGUAGES, RULES, SEED, SHARES, dialect_texts, drawn_documents, identification_lines
from etudes.data.sources.mirror import mirror as write_mirror
from etudes.data.text import SPLITS, split_of, texts


def write(folder, rows, split="train"):
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_articles_keep_their_split_in_every_language(mirror):
    for code in ("ita", "vec"):
        rows = [
            {"id": str(i), "iso_639_3": code, "iso_15924": "Latn", "text": f"{code} {i // 3} {i}", "url": f"/{i // 3}"}
            for i in range(180)
        ]
        write(mirror / "openlanguagedata" / "oldi_seed" / f"{code}_Latn", rows)
    found = {code: dialect_texts("oldi-seed", code) for code in ("it", "vec")}
    for split in SPLITS:
        where = {code: [work.split()[1] for work in getattr(d, split)] for code, d in found.items()}
        assert where["it"] == where["vec"]
        assert all(split_of(f"/{article}", SHARES) == split for article in where["it"])
        assert all(work.count("\n") == 2 for work in getattr(found["vec"], split))
    assert found["it"].source["fingerprint"] != found["vec"].source["fingerprint"]
    assert found["vec"].source["dataset"] == "oldi-seed-vec"


def test_a_mirror_of_a_mirror_keeps_a_folder_a_language(mirror, tmp_path_factory, monkeypatch):
    rows = [{"id": str(i), "text": f"line {i}", "url": f"/{i}"} for i in range(80)]
    for code in ("ita", "scn"):
        write(mirror / "openlanguagedata" / "oldi_seed" / f"{code}_Latn", rows)
    other = tmp_path_factory.mktemp("other")
    assert write_mirror(other, ["oldi-seed"]) == [other / "openlanguagedata" / "oldi_seed"]
    expected = dialect_texts("oldi-seed", "scn")
    monkeypatch.setenv("ETUDES_MIRROR", str(other))
    assert dialect_texts("oldi-seed", "scn").source == expected.source
    with pytest.raises(Problem, match="needs no mirror"):
        write_mirror(other, ["drawn-dialects"])


def test_messages_are_grouped_by_module_and_first_word(mirror):
    keys = [f"extensions-core/M{i}/i18n:word{i}-{j}" for i in range(60) for j in range(2)]
    keys += ["languages/i18n:tog-a", "languages/i18n:tog-b", "languages/i18n:upload"]
    write(
        mirror / "mediawiki" / "i18n-dialects" / "nap", [{"key": k, "lang": "nap", "text": f" {k}\n x"} for k in keys]
    )
    d = dialect_texts("i18n-dialects", "nap")
    works = [work for split in SPLITS for work in getattr(d, split)]
    assert len(works) == 62
    assert "languages/i18n:tog-a x\nlanguages/i18n:tog-b x" in works


def test_of_the_plays_those_in_venetian_are_split_by_play(mirror):
    plays = {
        "goldoni-i-rusteghi": "vec",
        "goldoni-le-baruffe-chiozzotte": "vec",
        "goldoni-il-campiello": "vec",
        "goldoni-la-locandiera": "mixed/ita",
    }
    rows = [{"play": p, "play_variety": v, "text": f"{p} {i}"} for i in range(2) for p, v in plays.items()]
    write(mirror / "dracor-org" / "itadracor" / "data", rows)
    d = dialect_texts("goldoni", "vec")
    assert d.train == ("goldoni-il-campiello 0\ngoldoni-il-campiello 1",)
    assert d.test == ("goldoni-i-rusteghi 0\ngoldoni-i-rusteghi 1",)
    assert len(d.validation) == 1
    with pytest.raises(Problem, match="vec"):
        dialect_texts("goldoni", "scn")


def test_lines_to_be_identified_have_their_language_by_number(mirror):
    folder = mirror / "noe-eva" / "ITDI_2022" / "data"
    write(folder, [{"text": "a", "label": "10"}, {"text": "b", "label": "9"}], "validation")
    write(folder, [{"text": "c", "label": "10"}, {"text": "d", "label": "5"}], "test")
    assert identification_lines() == {"vec": ["a", "c"], "scn": ["b"], "nap": ["d"]}
    assert identification_lines(1)["vec"] == ["a"]


def test_novels_and_prose_in_milanese_are_texts(mirror):
    novels = mirror / "COST-ELTeC" / "ELTeC-ita" / "data"
    for split in SPLITS:
        write(novels, [{"novel": split, "text": "uno"}, {"novel": split, "text": "due"}], split)
    write(mirror / "eaklykova" / "lombard_milanes_2021" / "data", [{"text": f"riga {i}"} for i in range(100)])
    assert texts("eltec-ita").test == ("uno\ndue",)
    assert texts("milanese").test[0].split("\n")[0] == "riga 95"


def test_made_up_dialects_are_their_rules_of_the_same_sentences():
    assert {*RULES} == {*LANGUAGES} >= {*SEED}
    italian = drawn_documents("it")
    for language, rules in RULES.items():
        expected = "\n".join(line.removesuffix(".") + " " for line in italian["document-7"])
        for there, here in rules:
            expected = expected.replace(there, here)
        assert drawn_documents(language)["document-7"] == [line.strip() + "." for line in expected.split("\n")]
    splits = [{*dialect_texts("drawn-dialects", "vec").__getattribute__(split)} for split in SPLITS]
    assert all(splits)
    assert not any(a & b for a, b in itertools.combinations(splits, 2))


@pytest.mark.parametrize(
    ("name", "language", "says"),
    [("oldi-sed", "vec", "oldi-seed"), ("oldi-seed", "nap", "nap"), ("itdi-2022", "vec", "single lines"),
     ("drawn-dialects", "xx", "xx"), ("i18n-dialects", "xx", "xx")],
)  # fmt: skip
def test_what_is_not_there_is_refused(name, language, says):
    with pytest.raises(Problem, match=says):
        dialect_texts(name, language)


def test_without_a_mirror_the_set_is_said_to_be_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path))
    with pytest.raises(Problem, match="oldi-seed"):
        dialect_texts("oldi-seed", "vec")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    (tmp_path / "openlanguagedata" / "oldi_seed" / "vec_Latn").mkdir(parents=True)
    (tmp_path / "openlanguagedata" / "oldi_seed" / "vec_Latn" / "train-0.parquet").write_text("no parquet")
    with pytest.raises(Problem, match="damaged"):
        dialect_texts("oldi-seed", "vec")
