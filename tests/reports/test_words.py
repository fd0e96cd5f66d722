import dataclasses

from etudes.core import catalogue
from etudes.reports import words

MIXUP = dataclasses.replace(catalogue.find("mixup"), words={"train/misses": "third classes", "test/error": "error"})


def test_a_metric_is_called_as_its_study_says():
    assert words.of(MIXUP, "train/misses") == "third classes"
    assert words.of(MIXUP, "test/error-recalibrated") == "test error recalibrated"


def test_the_numbers_with_words_lead_the_tables_in_their_order():
    assert words.main(MIXUP, ["parameters", "test/error", "train/misses"]) == ["train/misses", "test/error"]
    assert words.main(dataclasses.replace(MIXUP, words={}), ["test/error"]) == ["test/error"]


def test_a_claims_number_is_said_in_words():
    claims = list(MIXUP.claims.values())
    alone = dataclasses.replace(claims[0], number="test/error of mixup")
    assert words.number(MIXUP, alone) == "mixup: error"
    ratio = dataclasses.replace(alone, number="test/error of mixup over test/error of erm")
    assert words.number(MIXUP, ratio) == "error: mixup divided by erm"
    within = dataclasses.replace(alone, number="test/error of mixup minus train/misses of mixup")
    assert words.number(MIXUP, within) == "mixup: error minus third classes"
    assert words.number(MIXUP, claims[0]) == "error: mixup minus erm"
    assert words.number(MIXUP, claims[5]) == "third classes: mixup minus erm"
