"""Tables: files in the layout of their authors are read as they are written, and the drawn one has its chances."""

import csv

import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data.sources import SOURCES
from etudes.data.tables import SHARES, drawn_chances, table

BAN = [("yes" if i % 4 == 0 else "no", "yes", 18 + i, "some college", "no", "no", "female") for i in range(40)]
SIGNALS = SOURCES["smoker-signals"].columns


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "rdatasets" / "AER-SmokeBan" / "data"
    write(folder / "SmokeBan.csv", SOURCES["smoke-ban"].columns, [(i + 1, *row) for i, row in enumerate(BAN)])
    people = [(i, 20 + i, *range(i, i + 21), i % 2) for i in range(30)]
    write(tmp_path / "cache" / "playground-series-s3e24" / "train.csv", SIGNALS, people)
    return tmp_path


def write(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def every(found):
    return [(row, int(label)) for split in SHARES for row, label in zip(
        getattr(found, split).values, getattr(found, split).labels, strict=True)]  # fmt: skip


def test_the_survey_is_read_with_its_values_as_they_are_written(mirror):
    found = table("smoke-ban")
    assert (found.target, found.columns) == ("smoker", ("ban", "age", "education", "afam", "hispanic", "gender"))
    assert found.numeric == (False, True, False, False, False, False)
    expected = [((ban, str(age), *rest), int(smoker == "yes")) for smoker, ban, age, *rest in BAN]
    assert sorted(every(found)) == sorted(expected)
    assert [len(getattr(found, split)) for split in SHARES] == [20, 4, 16]
    assert found.source["kind"] == "originals"


def test_kaggles_file_is_read_without_its_ids(mirror):
    found = table("smoker-signals")
    assert found.target == "smoking"
    assert found.columns == SIGNALS[1:-1]
    assert all(found.numeric)
    assert sorted(every(found)) == sorted(
        (tuple(map(str, (20 + i, *range(i, i + 21)))), i % 2) for i in range(30)
    )  # fmt: skip
    assert "159,256" not in found.source["says"]


def test_splits_and_fingerprint_follow_from_the_rows_alone(mirror):
    first, again = table("smoke-ban"), table("smoke-ban")
    assert first.source == again.source
    assert first.test.values == again.test.values
    changed = [(i + 1, *(BAN[i] if i else ("no", *BAN[i][1:]))) for i in range(40)]
    write(mirror / "rdatasets/AER-SmokeBan/data/SmokeBan.csv", SOURCES["smoke-ban"].columns, changed)
    assert table("smoke-ban").source["fingerprint"] != first.source["fingerprint"]


@pytest.mark.parametrize("line", ["1,maybe,yes,30,hs,no,no,male", "1,yes,yes,30,hs,no", "1,yes,yes,,hs,no,no,male"])
def test_a_damaged_line_is_named(mirror, line):
    path = mirror / "rdatasets/AER-SmokeBan/data/SmokeBan.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(Problem, match="line 42 of"):
        table("smoke-ban")


def test_what_is_not_there_is_said_in_a_sentence(mirror, monkeypatch):
    with pytest.raises(Problem, match="no table 'moods'"):
        table("moods")
    write(mirror / "cache" / "playground-series-s3e24" / "train.csv", SIGNALS[:-1], [])
    with pytest.raises(Problem, match="no column 'smoking'"):
        table("smoker-signals")
    (mirror / "cache" / "playground-series-s3e24" / "train.csv").unlink()
    with pytest.raises(Problem, match=r"lacks train\.csv"):
        table("smoker-signals")
    (mirror / "cache" / "playground-series-s3e24").rmdir()
    with pytest.raises(Problem, match="no source of 'smoker-signals'"):
        table("smoker-signals")


def test_a_few_rows_have_no_splits(mirror):
    path = mirror / "rdatasets/AER-SmokeBan/data/SmokeBan.csv"
    write(path, SOURCES["smoke-ban"].columns, [(i, *BAN[i]) for i in range(9)])
    with pytest.raises(Problem, match="9 rows"):
        table("smoke-ban")


def test_drawn_people_smoke_as_often_as_their_chances_say():
    found = table("drawn-smokers")
    assert [len(getattr(found, split)) for split in SHARES] == [5000, 1000, 4000]
    values = [row for row, _ in every(found)]
    labels = np.array([label for _, label in every(found)])
    chances = drawn_chances(values)
    for low in (0.0, 0.2, 0.5):
        some = (chances >= low) & (chances < low + 0.3)
        spread = np.sqrt((chances[some] * (1 - chances[some])).sum())
        assert abs((labels[some] - chances[some]).sum()) < 3 * spread


def test_the_chance_of_a_drawn_row_is_the_written_formula():
    man = ("male", "30", "15", "130", "40", "yes")
    woman = ("female", "30", "13", "100", "20", "no")
    expected = [1 / (1 + np.exp(-(-4.8 + 1.5 + 1.5 + 1.2 + 1.5 + 0.8 + 1.5))), 1 / (1 + np.exp(4.8))]
    assert drawn_chances([man, woman]) == pytest.approx(expected)


def test_what_is_in_the_blood_of_drawn_people_goes_together():
    gender, age, hemoglobin, fat, gtp, _ = np.array(table("drawn-smokers").train.values).T
    logs = [hemoglobin.astype(float), *(np.log(column.astype(float) + 1) for column in (fat, gtp))]
    women = gender == "female"
    assert min(np.corrcoef([column[women] for column in logs])[np.triu_indices(3, 1)]) > 0.4
    assert np.corrcoef(age.astype(float), logs[1])[0, 1] > 0.3
    assert abs(np.corrcoef(age.astype(float), women)[0, 1]) < 0.1
