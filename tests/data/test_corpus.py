"""A corpus of one's own: every text has a licence, and what would spoil it is taken out and counted."""

import collections
import math

import pytest

from etudes.core.errors import Problem
from etudes.data.corpus import (
    ORDERS,
    WORDS,
    Identifier,
    Work,
    build,
    plain,
    read_folder,
    split_works,
    word_runs,
)
from etudes.data.dialects import drawn_documents

FIRST = "uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici"


def work(name, text, language="vec"):
    return Work(name, language, "public domain", text)


def parts(train, validation="la note xe longa e scura", test="el gato dorme inte la caxa"):
    return {"train": [work("a", train)], "validation": [work("b", validation)], "test": [work("c", test)]}


def write(folder, rows, texts=("one.txt", "two.txt")):
    folder.mkdir(exist_ok=True)
    (folder / "works.csv").write_text("file,language,licence\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    for name in texts:
        (folder / name).write_text(f"text of {name}\n", encoding="utf-8")
    return folder


def test_a_folder_is_read_with_languages_and_licences(tmp_path):
    found = read_folder(write(tmp_path, ["two.txt,roa,public domain", 'one.txt,it,"CC BY 4.0"']))
    assert found == [
        Work("two.txt", "roa", "public domain", "text of two.txt\n"),
        Work("one.txt", "it", "CC BY 4.0", "text of one.txt\n"),
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["one.txt,roa,", "two.txt,roa,x"], "line 2 .* has no licence"),
        (["one.txt,roa,x"], "two.txt does not stand in works.csv"),
        (["one.txt,roa,x", "three.txt,roa,x"], "three.txt cannot be read"),
    ],
)
def test_a_text_without_licence_or_line_or_file_is_refused(tmp_path, rows, says):
    with pytest.raises(Problem, match=says):
        read_folder(write(tmp_path, rows))


def test_a_folder_without_its_list_is_refused(tmp_path):
    with pytest.raises(Problem, match=r"works\.csv"):
        read_folder(tmp_path)


def test_marks_are_made_one_kind_and_accents_stay():
    assert plain(" l’amor  e‘l cuor\t«sì» ") == "l'amor e'l cuor \"sì\""
    assert plain("citta\u0300") == "città"
    assert plain(plain("’na roba")) == plain("’na roba")


def test_the_scores_are_naive_bayes_of_runs_of_characters():
    known = {"a": ["abab", "ba"], "b": ["bcbc"]}
    identifier = Identifier(known)

    def runs(text):
        text = f" {text.casefold()} "
        return [text[i : i + n] for n in ORDERS for i in range(len(text) - n + 1)]

    for number, lines in enumerate(known.values()):
        counts = collections.Counter(runs("\n".join(lines)))
        total = sum(counts.values()) + 0.1 * (1 << 17)
        expected = sum(math.log((counts[run] + 0.1) / total) for run in runs("abcd"))
        assert identifier.scores("abcd")[number] == pytest.approx(expected)


def test_made_up_dialects_are_told_apart():
    lines = {
        code: [line for lines in drawn_documents(code).values() for line in lines] for code in ("it", "vec", "scn")
    }
    identifier = Identifier({code: found[:400] for code, found in lines.items()})
    for code, found in lines.items():
        assert sum(identifier.language(line) == code for line in found[400:]) > 0.95 * len(found[400:])
    with pytest.raises(Problem, match="two or more"):
        Identifier({"it": ["uno"]})


def test_what_spoils_a_corpus_is_left_out_and_counted():
    identifier = Identifier(
        {
            "it": ["il gatto dorme nella casa con gli altri"] * 3,
            "vec": ["el gato dorme inte la caxa", "la note xe longa e scura"],
        }
    )
    train = "\n".join(
        [
            "El gato  dorme inte la caxa",
            "il gatto dorme nella casa con gli altri",
            "la caxa",
            "la caxa",
            "el gato inte la caxa",
        ]
    )
    found = build(parts(train), "vec", identifier)
    assert found.train[0].text == "la caxa\nla caxa\nel gato inte la caxa"  # short lines may well be said twice
    assert (found.lines, found.repeated, found.foreign, found.overlapping) == (7, 1, 1, 0)
    assert build(parts(train), "vec").foreign == 0


def test_training_lines_that_share_thirteen_words_in_a_row_with_what_is_held_out_are_left_out():
    shares = "prima " + " ".join(FIRST.split()[:WORDS])
    not_quite = "prima " + " ".join(FIRST.split()[: WORDS - 1]) + " dopo"
    found = build(parts(f"{shares}\n{not_quite}", test=FIRST), "vec")
    assert found.train[0].text == not_quite
    assert found.overlapping == 1
    assert found.test[0].text == FIRST


def test_runs_of_words_are_as_many_as_begin_in_time():
    assert len(word_runs(FIRST)) == 2
    assert word_runs("uno due tre", 2) == word_runs("UNO  due tre", 2)
    assert word_runs("uno due", 3) == set()


def test_works_are_split_whole_and_every_part_has_one():
    works = [work(f"work {i}", str(i)) for i in range(200)]
    found = split_works(works)
    assert sorted(w.name for part in found.values() for w in part) == sorted(w.name for w in works)
    assert 140 < len(found["train"]) < 180
    assert all(len(part) == 1 for part in split_works(works[:3]).values())
    with pytest.raises(Problem, match="three works"):
        split_works(works[:2])


def test_works_in_another_language_are_none_of_the_corpus():
    mixed = parts("la note xe longa")
    mixed["train"].append(work("d", "la notte", "it"))
    assert [w.name for w in build(mixed, "vec").train] == ["a"]
    with pytest.raises(Problem, match="'scn'"):
        build(mixed, "scn")
